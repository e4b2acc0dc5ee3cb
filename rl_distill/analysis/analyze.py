"""What `rl-distill analyze` does: read one or two sets of responses, measure, write JSON, Markdown and figures."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rl_distill import __version__
from rl_distill.analysis.analysis_page import page
from rl_distill.analysis.behavior_judge import BehaviorJudge, judge_behaviors, load_judge
from rl_distill.analysis.behavior_report import behavior_differences, behavior_report
from rl_distill.analysis.behaviors import Rubric, load_rubric
from rl_distill.analysis.budget import budget_curve, budget_end, budgets, length_report
from rl_distill.analysis.class_rates import class_report, comparison
from rl_distill.analysis.list_language import language_report
from rl_distill.analysis.rates import DRAWS, Resampling
from rl_distill.analysis.readings import read
from rl_distill.analysis.sample_figures import plot_classes, plot_lengths
from rl_distill.analysis.samples import SampleSet, Unit, check_same_problems, common_unit, length, read_samples
from rl_distill.analysis.token_classes import TokenClasses, load_classes
from rl_distill.errors import InputError, RunError

SCHEMA = 1  # of analysis.json; raised when a key changes its meaning
SEED = 0  # of the bootstrap


def analyze(
    sources: Sequence[str],
    out: Path,
    *,
    classes: Path | None = None,
    moved: tuple[str, str] | None = None,
    judge: Path | None = None,
    note: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Analyze one set of responses, or two to the same problems; returns what `analysis.json` holds.

    Args:
        sources: as `samples.read_samples` takes them.
        out: folder of `analysis.json`, `analysis.md` and the figures.
        classes: a file of token classes in place of the package's.
        moved: two checkpoints whose log-probs are compared on the first set.
        judge: recipe of a judge of behaviors (`behavior_judge.BehaviorJudge`); its answers are kept in `out`/judge.
        note: is told, a line at a time, how judging goes.

    Raises:
        InputError: samples or classes are not there or not fit, two sets answer different problems, `out` cannot be written.
        RunError: judging ended early; all else is written, and the same call goes on.
    """
    if len(set(sources)) < len(sources):
        raise InputError("SAMPLES2", f"is {sources[1]!r} once more", "compare with other answers, or give one set")
    lists, jury = load_classes(classes), None if judge is None else load_judge(judge)
    rubric = load_rubric(jury.rubric if jury else None)
    sets = [read_samples(source) for source in sources]
    if len(sets) == 2:
        check_same_problems(sets[0], sets[1])
    unit = common_unit(sets)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "rl_distill": __version__,
        "samples": [_counted(one) for one in sets],
        "length_unit": unit,
        "bootstrap": {"draws": DRAWS, "seed": SEED, "over": "problems"},
        "token_classes": _token_classes(sets, lists, unit),
        "lengths": {one.name: length_report(one.responses, unit) for one in sets},
        "budget": _budget(sets, unit),
        "budget_ends": {one.name: budget_end(one.responses, unit) for one in sets},
    }
    report["behavior_keywords"] = _keywords(sets, rubric, unit)
    if moved:
        report["moved"] = _moved(sets[0], lists, *moved)
    if jury:
        report["judge_failure"] = "not judged yet"
    _write(report, sets, out)
    if jury:
        _judge(report, sets, jury, out, note)
    return report


def _judge(
    report: dict[str, Any], sets: Sequence[SampleSet], jury: BehaviorJudge, out: Path, note: Callable[[str], None]
) -> None:
    """Add what a judge finds to a report that is written already: whatever befalls the judge, the rest is kept."""
    try:
        report["behaviors"] = _behaviors(sets, jury, report["length_unit"], out / "judge", note)
        del report["judge_failure"]
    except (InputError, RunError) as error:
        report["judge_failure"] = str(error)
        note(f"behaviors are not judged; all else is in {out}")
        raise
    finally:
        _write_page(report, out)


def _counted(samples: SampleSet) -> dict[str, Any]:
    """What a set holds, so that nothing is left out in silence."""
    statuses = Counter(one.status or "not judged" for one in samples.responses)
    return {
        "name": samples.name,
        "files": dict(samples.files),
        "problems": len(samples.prompts),
        "responses": len(samples.responses),
        "verdicts": dict(statuses),
        "unfinished": sum(not one.finished for one in samples.responses),
        "empty": sum(not one.text.strip() for one in samples.responses),
    }


def _token_classes(sets: Sequence[SampleSet], lists: TokenClasses, unit: Unit) -> dict[str, Any]:
    labels, matcher = list(lists.classes), lists.matcher()
    problems = Resampling(list(sets[0].prompts), SEED)
    readings = [read(one.responses, matcher, unit) for one in sets]
    found: dict[str, Any] = {
        "version": lists.version,
        "sha256": lists.digest,
        "language": language_report(sets, lists.language, matcher),
        "sets": {one.name: class_report(some, labels, problems) for one, some in zip(sets, readings, strict=True)},
    }
    if len(sets) == 2:
        found["second_minus_first"] = comparison(readings[0], readings[1], labels, problems)
    return found


def _budget(sets: Sequence[SampleSet], unit: Unit) -> dict[str, Any]:
    at = budgets([length(response, unit) for one in sets for response in one.responses])
    return {one.name: budget_curve(one.responses, at, unit) for one in sets}


def _keywords(sets: Sequence[SampleSet], rubric: Rubric, unit: Unit) -> dict[str, Any]:
    problems, matcher = Resampling(list(sets[0].prompts), SEED), rubric.keywords()
    return {
        "version": rubric.version,
        "sha256": rubric.digest,
        "sets": {one.name: class_report(read(one.responses, matcher, unit), rubric.ids, problems) for one in sets},
    }


def _behaviors(
    sets: Sequence[SampleSet], jury: BehaviorJudge, unit: Unit, store: Path, note: Callable[[str], None]
) -> dict[str, Any]:
    judged = judge_behaviors(jury, sets, store, note)
    problems = Resampling(list(sets[0].prompts), SEED)
    found: dict[str, Any] = {
        "judge": jury.model.model,
        "version": judged[0].rubric.version,
        "sha256": judged[0].rubric.digest,
        "sets": {one.name: behavior_report(some, one, unit, problems) for one, some in zip(sets, judged, strict=True)},
    }
    if len(sets) == 2:
        found["second_minus_first"] = behavior_differences((judged[0], judged[1]), (sets[0], sets[1]), unit, problems)
    return found


def _moved(samples: SampleSet, lists: TokenClasses, first: str, second: str) -> dict[str, Any]:
    from rl_distill.analysis.moved_report import moved_report
    from rl_distill.analysis.moved_tokens import moved_tokens

    found = moved_tokens(samples.responses, first, second, lists.matcher())
    problems = Resampling(list(samples.prompts), SEED)
    return {"first": first, "second": second, "samples": samples.name, **moved_report(found, lists.classes, problems)}


def _write(report: dict[str, Any], sets: Sequence[SampleSet], out: Path) -> None:
    _write_page(report, out)
    unit = report["length_unit"]
    by_status = [
        (one.name, {status: [length(r, unit) for r in one.responses if r.status == status] for status in ("correct", "wrong")})
        for one in sets
    ]
    plot_lengths(by_status, list(report["budget"].items()), unit, out / "lengths.png")
    plot_classes(list(report["token_classes"]["sets"].items()), unit, out / "classes.png")


def _write_page(report: Mapping[str, Any], out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "analysis.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (out / "analysis.md").write_text(page(report), encoding="utf-8")
    except OSError as error:
        raise InputError("--output", f"{str(out)!r} cannot be written ({error.strerror})", "choose another folder") from None
