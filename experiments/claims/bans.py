"""The students of `flexible.yaml` with words forbidden while they answer: the flexible ones, or as frequent others.

run: python experiments/claims/bans.py runs/claims/flexible-0

Others are numbers, drawn at random until they occur as often in the reflective student's answers: there are no other words here.
Writes `bans.json` into the run's folder: accuracy by student and by what was forbidden.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from claims import FLEXIBLE

from rl_distill.evaluation.evaluator import Evaluator
from rl_distill.models.loading import load_model, load_tokenizer
from rl_distill.recipe import Recipe, load_recipe
from rl_distill.rollout.collector import Prompter
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.seeding import addressed_seed

STUDENTS = ("sft_reflective", "sft_plain", "grpo")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run of flexible.yaml")
    parser.add_argument("--seed", type=int, default=0, help="of the run, and of the random ban")
    options = parser.parse_args()
    recipe = load_recipe(options.run / "recipe.yaml")
    others = _as_frequent(options.run, options.seed)
    bans = {"nothing": (), "flexible": FLEXIBLE, "random": others}
    found = {
        student: {name: _accuracy(recipe, options.run / "stages" / student / "student", banned) for name, banned in bans.items()}
        for student in STUDENTS
    }
    (options.run / "bans.json").write_text(json.dumps({**found, "random": others}, indent=1) + "\n")


def _as_frequent(run: Path, seed: int) -> tuple[str, ...]:
    """Numbers that occur at least as often as the flexible words do, together."""
    rows = map(json.loads, (run / "stages" / STUDENTS[0] / "evaluation.jsonl").open(encoding="utf-8"))
    counts = Counter(word for row in rows for word in row["response"].replace("}", " ").replace("{", " ").split())
    wanted, numbers = sum(counts[word] for word in FLEXIBLE), sorted(word for word in counts if word.isdecimal())
    Random(addressed_seed(seed, "random ban")).shuffle(numbers)
    chosen: list[str] = []
    while numbers and sum(counts[word] for word in chosen) < wanted:
        chosen.append(numbers.pop())
    return tuple(chosen)


def _accuracy(recipe: Recipe, student: Path, banned: Sequence[str]) -> float:
    """On the run's own held-out problems, by its own seeds."""
    settings = recipe.evaluation
    assert settings is not None, "flexible.yaml has an evaluation"
    tokenizer, model = load_tokenizer(str(student)), load_model(str(student))
    prompter = Prompter(tokenizer=tokenizer, format=recipe.student.prompt, max_context=model.config.max_position_embeddings)
    settings = replace(settings, sampling=replace(settings.sampling, banned=tuple(banned)))
    engine = HfEngine(model, tokenizer, HfEngineConfig(), name=str(student))
    return Evaluator(settings, prompter, recipe.seed).evaluate(engine)[0].accuracy.mean


if __name__ == "__main__":
    main()
