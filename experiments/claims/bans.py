"""The reflective student of `flexible.yaml` with words forbidden while it answers: the flexible ones, or as many others.

run: python experiments/claims/bans.py runs/claims/flexible-0

Others are numbers, for there are no other words here, and any number is far more frequent than a flexible word. So the control
forbids one number in one answer, another in another, answers and numbers drawn at random, until as many words are struck out as
by the ban on flexible words. Writes `bans.json` into the run's folder: accuracy by what was forbidden, the words struck out, the
answers they stood in.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from claims import FLEXIBLE
from measured import words

from rl_distill.evaluation.evaluator import Evaluator, summarize
from rl_distill.models.loading import load_model, load_tokenizer
from rl_distill.recipe import load_recipe
from rl_distill.rollout.collector import Prompter
from rl_distill.rollout.engine import generate_checked
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.seeding import addressed_seed
from rl_distill.trajectory import Group

STUDENT = "sft_reflective"
Ban = tuple[str, ...]  # words forbidden in an answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run of flexible.yaml")
    parser.add_argument("--seed", type=int, default=0, help="of the random ban")
    options = parser.parse_args()
    student = Student(options.run)
    free = student.answers([()] * len(student.requests))
    texts = [answer.response for group in free for answer in group.trajectories]
    flexible = [FLEXIBLE] * len(texts)
    found = {"nothing": _told(free, texts, [()] * len(texts)), "flexible": _told(student.answers(flexible), texts, flexible)}
    random = as_many(texts, int(found["flexible"]["words"]), options.seed)
    found["random"] = _told(student.answers(random), texts, random)
    (options.run / "bans.json").write_text(json.dumps(found, indent=1) + "\n")


def as_many(texts: Sequence[str], count: int, seed: int) -> list[Ban]:
    """For each answer the numbers that are forbidden in it; together they occur `count` times, or once or twice more."""
    random, bans, struck = Random(addressed_seed(seed, "random ban")), [set[str]() for _ in texts], 0
    places = [(answer, word) for answer, text in enumerate(texts) for word in words(text) if word.isdecimal()]
    random.shuffle(places)
    for answer, word in places:
        if struck >= count:
            break
        if word not in bans[answer]:
            bans[answer].add(word)
            struck += words(texts[answer]).count(word)
    return [tuple(sorted(ban)) for ban in bans]


class Student:
    """Answers the held-out problems of its run, by the seeds it was measured by."""

    def __init__(self, run: Path) -> None:
        recipe, folder = load_recipe(run / "recipe.yaml"), str(run / "stages" / STUDENT / "student")
        assert recipe.evaluation is not None, "flexible.yaml has an evaluation"
        tokenizer, model = load_tokenizer(folder), load_model(folder)
        prompter = Prompter(tokenizer=tokenizer, format=recipe.student.prompt, max_context=model.config.max_position_embeddings)
        self._evaluator = Evaluator(recipe.evaluation, prompter, recipe.seed)
        self._engine = HfEngine(model, tokenizer, HfEngineConfig(), name=folder)
        self.requests = self._evaluator.requests()

    def answers(self, bans: Sequence[Ban]) -> list[Group]:
        """Graded, by problem; one ban for each answer."""
        requests = [
            replace(request, sampling=replace(request.sampling, banned=ban))
            for request, ban in zip(self.requests, bans, strict=True)
        ]
        return self._evaluator.graded(generate_checked(self._engine, requests))


def _told(graded: Sequence[Group], free: Sequence[str], bans: Sequence[Ban]) -> dict[str, float]:
    """Accuracy under a ban; how many words of the free answers it strikes out, and in how many of them."""
    struck = [sum(word in ban for word in words(text)) for text, ban in zip(free, bans, strict=True)]
    return {"accuracy": summarize(graded).accuracy.mean, "words": sum(struck), "answers": sum(map(bool, struck))}


if __name__ == "__main__":
    main()
