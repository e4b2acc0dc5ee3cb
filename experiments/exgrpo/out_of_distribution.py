"""Students of a warm-up run on problems that none was trained on: longer chains, other operands, the reversed question.

run: python experiments/exgrpo/out_of_distribution.py runs/warm-up-rules
"""

import argparse
from pathlib import Path

from rl_distill.analysis.table import markdown
from rl_distill.evaluation.evaluator import Evaluation, EvaluationResult, Evaluator
from rl_distill.models.loading import load_model, load_tokenizer
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.rollout.collector import Prompter
from rl_distill.rollout.engine import Sampling
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.text import PromptFormat

NUM_PROBLEMS = 128
SETS = {
    "held out": Arithmetic(split="heldout", num_problems=NUM_PROBLEMS),
    "6 terms": Arithmetic(split="heldout", levels=(4,), num_problems=NUM_PROBLEMS),
    "7 terms": Arithmetic(split="heldout", levels=(5,), num_problems=NUM_PROBLEMS),
    "operands 1 and 10 to 12": Arithmetic(split="heldout", operands=(1, 10, 11, 12), num_problems=NUM_PROBLEMS),
    "reversed": Arithmetic(split="heldout", question="undo", num_problems=NUM_PROBLEMS),
}
SAMPLING = Sampling(temperature=1.0, max_tokens=64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    options = parser.parse_args()
    students = sorted(path.parent for path in (options.run / "stages").glob("*/student"))
    rows = []
    for stage in students:
        found = [_evaluated(str(stage / "student"), problems, options.seed) for problems in SETS.values()]
        rows.append((stage.name, *map(_cell, found)))
    print(markdown(("arm", *SETS), rows))


def _cell(result: EvaluationResult) -> str:
    return f"{result.accuracy.mean:.3f} ({result.accuracy.low:.2f} - {result.accuracy.high:.2f})"


def _evaluated(student: str, problems: Arithmetic, seed: int) -> EvaluationResult:
    tokenizer, model = load_tokenizer(student), load_model(student)
    prompter = Prompter(tokenizer=tokenizer, format=PromptFormat(), max_context=model.config.max_position_embeddings)
    settings = Evaluation(problems=problems, num_samples=2, sampling=SAMPLING)
    return Evaluator(settings, prompter, seed).evaluate(HfEngine(model, tokenizer, HfEngineConfig(), name=student))[0]


if __name__ == "__main__":
    main()
