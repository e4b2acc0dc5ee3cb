"""How likely chosen and rejected answers are under each student of a run of sft_redi.yaml: the same pairs for all, none left out.

run: python experiments/gsm8k/pair_logprobs.py runs/gsm8k-sft-redi

The curves of `metrics.jsonl` are means over the few pairs of each step; this is the mean over all, of the training part and the
held-out part, with a 95 % interval of the margin over pairs. Students: base, every finished stage, and the checkpoints between.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from safetensors.torch import load_file

from rl_distill.algorithms.pairs import contrast_samples
from rl_distill.analysis.table import markdown
from rl_distill.learning.scorer import sampled_logprobs
from rl_distill.models.loading import load_model, load_tokenizer, max_context
from rl_distill.recipe import BASE, Recipe, load_recipe
from rl_distill.rollout.collector import Prompter
from rl_distill.training.tokenized import Tokenized
from rl_distill.trajectory import Trajectory

HEADER = ("student", "step", "pairs", "chosen", "rejected", "margin", "95 % interval", "margin > 0")


def main(run: Path) -> None:
    """Print the table of a run folder."""
    recipe = load_recipe(run / "recipe.yaml")
    rows = []
    for name, step, student, weights in students(run, recipe):
        model, tokenizer = load_model(str(student)), load_tokenizer(str(student))
        if weights is not None:
            model.load_state_dict(load_file(weights), strict=False)  # a tied head is not among the saved parameters
        for part in ("train", "heldout"):
            rows.append((name, step, *row(model, tokenizer, attempts(recipe, tokenizer, part, max_context(str(student))), part)))
    print(markdown(HEADER, rows))


def students(run: Path, recipe: Recipe) -> Iterator[tuple[str, str, Path, Path | None]]:
    """Name, step, folder, and the checkpoint's weights where the student is one on the way."""
    for name in (BASE, *(stage.name for stage in recipe.stages)):
        folder = run / "stages" / name / "student"
        saved = sorted((run / "checkpoints" / name).glob("step-*")) if name.startswith("redi") else []
        for checkpoint in saved[:1]:
            yield name, str(int(checkpoint.name.removeprefix("step-"))), folder, checkpoint / "weights.safetensors"
        yield name, "end", folder, None


def attempts(recipe: Recipe, tokenizer: Any, part: str, context: int) -> list[Trajectory]:
    """Chosen, rejected, chosen, rejected ... of all pairs of a part of the answers that the last stage learns from."""
    source = recipe.stages[-1].source
    problems = replace(source.problems, part=part)
    pairs = [group for group in problems.groups() if contrast_samples(group)]
    prompter = Prompter(tokenizer=tokenizer, format=recipe.student.prompt, max_context=context)
    groups = Tokenized(pairs, prompter, field="source")
    made = [[sample.trajectory for sample in contrast_samples(groups[index])] for index in range(len(groups))]
    return [attempt for pair in made if max(len(one.token_ids) for one in pair) <= source.max_tokens for attempt in pair]


def row(model: Any, tokenizer: Any, trajectories: list[Trajectory], part: str) -> tuple[str, ...]:
    """The table's cells from `pairs` on."""
    columns = sampled_logprobs(
        model, trajectories, pad_id=tokenizer.pad_token_id, temperature=1.0, max_tokens=4096, chunk_tokens=4096
    )
    means = [sum(column) / trajectory.num_sampled for column, trajectory in zip(columns, trajectories, strict=True)]
    chosen, rejected = means[::2], means[1::2]
    margins = [right - wrong for right, wrong in zip(chosen, rejected, strict=True)]
    half = 1.96 * stdev(margins) / len(margins) ** 0.5
    return (
        f"{len(margins)} {part}",
        f"{mean(chosen):.3f}",
        f"{mean(rejected):.3f}",
        f"{mean(margins):+.3f}",
        f"{mean(margins) - half:+.3f} - {mean(margins) + half:+.3f}",
        f"{sum(margin > 0 for margin in margins) / len(margins):.2f}",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
