"""How real models' graded answers differ: accuracy, length and classes of words by model, with 95 % intervals over problems.

run: python experiments/gsm8k/answers_by_model.py -o runs/answers_by_model

Reads the four models' answers to 900 problems of GSM8K (problem set `gsm8k_solutions`, found through RL_DISTILL_DATA) without
their calculator annotations, and, where a file of graded samples is given, those of its model too. Each model's answers are
written as groups and analyzed as `rl-distill analyze` does, into a folder of the model's own; a table sums them up.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rl_distill.analysis.analyze import SEED, analyze
from rl_distill.analysis.rates import Event, Resampling, shown
from rl_distill.analysis.samples import length, read_samples
from rl_distill.analysis.token_classes import load_classes
from rl_distill.markdown_table import markdown
from rl_distill.problems.graded_samples import GradedSamples
from rl_distill.problems.gsm8k import Gsm8kSolutions
from rl_distill.records import group_to_dict
from rl_distill.trajectory import Group

LEFT_OUT = "arithmetic_world"  # a class of words of the embedded world, which real text does not speak of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, metavar="FILE", help="graded samples of one more model (question, gold, samples)")
    parser.add_argument("--samples-model", default="samples", metavar="NAME", help="what that model is called")
    parser.add_argument("-o", "--output", type=Path, default=Path("answers_by_model"), metavar="FOLDER")
    options = parser.parse_args()
    files = _by_model(Gsm8kSolutions(calculator=False).groups(), options.output)
    if options.samples:
        files += _by_model(GradedSamples(path=str(options.samples), model=options.samples_model).groups(), options.output)
    labels = [label for label in load_classes().classes if label != LEFT_OUT]
    header = ("model", "problems", "answers", "accuracy", "words", "cut off", *labels)
    table = markdown(header, [_row(file, labels) for file in files])
    (options.output / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)


def _by_model(groups: Sequence[Group], folder: Path) -> list[Path]:
    """Write each model's answers into a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    models = dict.fromkeys(attempt.model for group in groups for attempt in group.trajectories)
    files = []
    for model in models:
        own = (replace(group, trajectories=tuple(one for one in group.trajectories if one.model == model)) for group in groups)
        files.append(folder / f"{model}.jsonl")
        lines = [json.dumps(group_to_dict(group)) for group in own if group.trajectories]
        files[-1].write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return files


def _row(file: Path, labels: Sequence[str]) -> tuple[str, ...]:
    report: Mapping[str, Any] = analyze([str(file)], file.with_suffix(""))
    samples = read_samples(str(file))
    problems = Resampling(list(samples.prompts), SEED)
    right = [Event(one.problem_id, float(one.status == "correct"), 1.0) for one in samples.responses]
    words = [Event(one.problem_id, float(length(one, "words")), 1.0) for one in samples.responses]
    found = report["token_classes"]["sets"][str(file)]
    (counted,) = report["samples"]
    return (
        file.stem,
        f"{counted['problems']:,}",
        f"{counted['responses']:,}",
        shown(problems.share(right)._asdict(), 3),
        shown(problems.ratio(words)._asdict(), 1),
        f"{counted['unfinished']:,}",
        *(shown(found[label]["all"]["per_thousand"]["whole"], 1) for label in labels),
    )


if __name__ == "__main__":
    main()
