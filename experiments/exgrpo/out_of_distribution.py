"""Students of runs on problems that none was trained on: longer chains, other operands, the reversed question.

run: python experiments/exgrpo/out_of_distribution.py runs/grid-rules-0 runs/grid-rules-1 runs/grid-rules-2
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from rl_distill.evaluation.evaluator import Evaluation, EvaluationResult, Evaluator
from rl_distill.markdown_table import markdown
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
STUDENT_T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # 97.5 % quantile, by number of runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs of one recipe that differ in their seed")
    parser.add_argument("--stages", nargs="+", metavar="S", help="whose students; none is all of them")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    options = parser.parse_args()
    stages = options.stages or sorted(path.parent.name for path in (options.runs[0] / "stages").glob("*/student"))
    rows = []
    for stage in stages:
        students = [str(run / "stages" / stage / "student") for run in options.runs]
        found = [[_evaluated(student, problems, options.seed) for student in students] for problems in SETS.values()]
        rows.append((stage, *map(_cell, found)))
        print(*rows[-1], sep=" | ", flush=True)
    print(f"\n{len(options.runs)} runs, 95 % interval {'over runs' if len(options.runs) > 1 else 'over problems'}\n")
    print(markdown(("arm", *SETS), rows))


def _cell(results: Sequence[EvaluationResult]) -> str:
    if len(results) == 1:
        found = results[0].accuracy
        return f"{found.mean:.3f} ({found.low:.2f} - {found.high:.2f})"
    means = [result.accuracy.mean for result in results]
    return f"{fmean(means):.3f} ± {STUDENT_T[len(means)] * stdev(means) / len(means) ** 0.5:.3f}"


def _evaluated(student: str, problems: Arithmetic, seed: int) -> EvaluationResult:
    tokenizer, model = load_tokenizer(student), load_model(student)
    prompter = Prompter(tokenizer=tokenizer, format=PromptFormat(), max_context=model.config.max_position_embeddings)
    settings = Evaluation(problems=problems, num_samples=2, sampling=SAMPLING)
    return Evaluator(settings, prompter, seed).evaluate(HfEngine(model, tokenizer, HfEngineConfig(), name=student))[0]


if __name__ == "__main__":
    main()
