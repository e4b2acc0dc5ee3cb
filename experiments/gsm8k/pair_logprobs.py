"""How likely right and wrong answers are under each student of runs of sft_redi.yaml: the same pairs for all, none left out.

run: python experiments/gsm8k/pair_logprobs.py runs/gsm8k-seed0 runs/gsm8k-seed1 runs/gsm8k-seed2 --figure dynamics.png

The curves of `metrics.jsonl` are means over the few pairs of each step; these are means over all pairs, of the training part and
the held-out part, from the finished stages and the checkpoints between. A cell is the mean over runs (seeds) and, in brackets,
their range. The second table says whose answers moved: mean change from the SFT student, by the model that wrote them.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from safetensors.torch import load_file

from rl_distill.algorithms.pairs import contrast_samples
from rl_distill.learning.scorer import sampled_logprobs
from rl_distill.markdown_table import markdown
from rl_distill.models.loading import load_model, load_tokenizer, max_context
from rl_distill.recipe import Recipe, load_recipe
from rl_distill.rollout.collector import Prompter
from rl_distill.training.tokenized import Tokenized
from rl_distill.trajectory import Trajectory

Authors = dict[tuple[str, str | None], tuple[float, int]]  # (model, status) -> mean log-prob per token, number of answers
START = "sft"
PARTS = ("train", "heldout")


class Point(NamedTuple):
    """A student on its way: mean log-prob per token of chosen and rejected answers, in nats."""

    stage: str
    step: int
    part: str
    chosen: float
    rejected: float
    right_order: float  # share of pairs whose chosen answer is the likelier one

    @property
    def margin(self) -> float:
        return self.chosen - self.rejected


class Answers:
    """The answers of a part as the last stage's student reads them."""

    def __init__(self, run: Path, recipe: Recipe, part: str) -> None:
        source, student = recipe.stages[-1].source, str(run / "stages" / START / "student")
        tokenizer = load_tokenizer(student)
        self.pad_id, self.max_tokens = tokenizer.pad_token_id, source.max_tokens
        prompter = Prompter(tokenizer=tokenizer, format=recipe.student.prompt, max_context=max_context(student))
        groups = Tokenized(replace(source.problems, part=part).groups(), prompter, field="source")
        self.groups = [groups[index] for index in range(len(groups))]

    def pairs(self) -> list[tuple[Trajectory, Trajectory]]:
        found = [contrast_samples(group) for group in self.groups]
        return [(one.trajectory, two.trajectory) for one, two in filter(None, found) if self.fits(one.trajectory, two.trajectory)]

    def fits(self, *attempts: Trajectory) -> bool:
        return max(len(attempt.token_ids) for attempt in attempts) <= self.max_tokens

    def means(self, model: Any, attempts: Sequence[Trajectory]) -> list[float]:
        """Mean log-prob per token of each attempt."""
        rows = sampled_logprobs(model, attempts, pad_id=self.pad_id, temperature=1.0, max_tokens=4096, chunk_tokens=4096)
        return [sum(row) / attempt.num_sampled for row, attempt in zip(rows, attempts, strict=True)]


def students(run: Path, recipe: Recipe) -> Iterator[tuple[str, int, bool, Any]]:
    """Stage, step, whether it is the last one, and the model: the SFT student, then checkpoints and end of every later stage."""
    for name in (stage.name for stage in recipe.stages):
        folder = run / "stages" / name / "student"
        end = json.loads((run / "stages" / name / "result.json").read_text())["step"]
        for checkpoint in sorted((run / "checkpoints" / name).glob("step-*")) if name != START else []:
            step = int(checkpoint.name.removeprefix("step-"))
            if step < end:
                model = load_model(str(folder))
                model.load_state_dict(load_file(checkpoint / "weights.safetensors"), strict=False)  # a tied head is not saved
                yield name, step, False, model
        yield name, 0 if name == START else end, True, load_model(str(folder))


def measure(run: Path) -> tuple[list[Point], dict[str, Authors]]:
    """Points of all students; and of each stage's last one mean log-prob and count of held-out answers by author and verdict."""
    recipe = load_recipe(run / "recipe.yaml")
    answers = {part: Answers(run, recipe, part) for part in PARTS}
    points, authors = [], {}
    for stage, step, is_end, model in students(run, recipe):
        for part, read in answers.items():
            pairs = read.pairs()
            values = read.means(model, [attempt for pair in pairs for attempt in pair])
            chosen, rejected = values[::2], values[1::2]
            order = mean(float(right > wrong) for right, wrong in zip(chosen, rejected, strict=True))
            points.append(Point(stage, step, part, mean(chosen), mean(rejected), order))
        if is_end:
            authors[stage] = by_author(answers["heldout"], model)
    return points, authors


def by_author(answers: Answers, model: Any) -> Authors:
    """Mean log-prob per token and number of all answers, by the model that wrote them and their verdict."""
    attempts = [attempt for group in answers.groups for attempt in group.trajectories if answers.fits(attempt)]
    found = defaultdict(list)
    for attempt, value in zip(attempts, answers.means(model, attempts), strict=True):
        found[attempt.model, attempt.status].append(value)
    return {key: (mean(values), len(values)) for key, values in found.items()}


def ends_table(runs: Sequence[list[Point]], alarms: Mapping[str, Sequence[str]]) -> str:
    header = ("stage", "pairs", "chosen", "rejected", "margin", "right order", "collapse alarm at step")
    rows = []
    for stage in dict.fromkeys(point.stage for point in runs[0]):
        for part in PARTS:
            last = [[point for point in points if (point.stage, point.part) == (stage, part)][-1] for points in runs]
            cells = [spread([getattr(point, name) for point in last]) for name in ("chosen", "rejected", "margin", "right_order")]
            rows.append((stage, part, *cells, ", ".join(alarms.get(stage, ())) or "-"))
    return markdown(header, rows)


def authors_table(runs: Sequence[Mapping[str, Any]]) -> str:
    keys = sorted(runs[0][START])
    stages = [stage for stage in runs[0] if stage != START]
    rows = [
        (
            f"{model}, {status}",
            str(runs[0][START][model, status][1]),
            *(spread([found[stage][model, status][0] - found[START][model, status][0] for found in runs]) for stage in stages),
        )
        for model, status in keys
    ]
    return markdown(("held-out answers of", "count", *stages), rows)


def spread(values: Sequence[float]) -> str:
    text = f"{mean(values):.3f}"
    return text if len(values) == 1 else f"{text} ({min(values):.2f} - {max(values):.2f})"


def collapses(runs: Sequence[Path]) -> dict[str, list[str]]:
    """Step of the first collapse alarm of each stage in each run; "none" where it did not fire."""
    found = defaultdict(list)
    for run in runs:
        alarms = json.loads((run / "summary.json").read_text())["alarms"]
        for stage in load_recipe(run / "recipe.yaml").stages:
            steps = [alarm["step"] for alarm in alarms if (alarm["stage"], alarm["alarm"]) == (stage.name, "collapse")]
            found[stage.name].append(str(steps[0] + 1) if steps else "none")
    return {stage: steps for stage, steps in found.items() if set(steps) != {"none"}}


def draw(runs: Sequence[list[Point]], path: Path) -> None:
    """Change of chosen, rejected and margin since the SFT student, over steps; the band is the range over runs.

    The scale is linear up to the alarm's 0.3 nat and logarithmic beyond.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    stages = [stage for stage in dict.fromkeys(point.stage for point in runs[0]) if stage != START]
    figure, axes = pyplot.subplots(2, 3, figsize=(13, 7), layout="constrained", sharex=True, sharey=True)
    for row, part in zip(axes, PARTS, strict=True):
        for axis, value in zip(row, ("chosen", "rejected", "margin"), strict=True):
            for place, stage in enumerate(stages):
                steps, columns = changes(runs, part, value, stage)
                axis.plot(steps, [mean(column) for column in columns], color=f"C{place}", marker=".", label=stage)
                axis.fill_between(steps, list(map(min, columns)), list(map(max, columns)), color=f"C{place}", alpha=0.2)
            axis.set_yscale("symlog", linthresh=0.3, linscale=2)
            axis.set_title(f"{value}, {'training' if part == 'train' else 'held-out'} pairs")
            axis.grid(alpha=0.3)
        row[0].axhline(-0.3, color="black", linestyle=":", linewidth=1, label="collapse alarm")
        row[0].set_ylabel("change of mean log-prob, nats per token")
    ticks = (-10, -3, -1, -0.3, -0.1, 0, 0.1, 0.3, 1, 3)
    axes[0][0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    for axis in axes[1]:
        axis.set_xlabel("step")
    axes[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def changes(runs: Sequence[list[Point]], part: str, value: str, stage: str) -> tuple[list[int], list[tuple[float, ...]]]:
    """Steps, and for each the change since the SFT student in every run."""
    lines = [[point for point in points if point.part == part and point.stage in (START, stage)] for points in runs]
    steps = [point.step for point in lines[0]]
    moved = [[getattr(point, value) - getattr(line[0], value) for point in line] for line in lines]
    return steps, list(zip(*moved, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders of one recipe, each with its own seed")
    parser.add_argument("--figure", type=Path, help="PNG to draw the curves into")
    given = parser.parse_args()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        measured = list(processes.map(measure, given.runs))
    print(ends_table([points for points, _ in measured], collapses(given.runs)), end="\n\n")
    print(authors_table([authors for _, authors in measured]))
    if given.figure:
        draw([points for points, _ in measured], given.figure)


if __name__ == "__main__":
    main()
