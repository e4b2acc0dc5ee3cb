"""The teacher's own attempts as a JSON-lines file of groups, which `sft` and `kd` learn from.

run: python experiments/distillation/teacher_traces.py --teacher runs/distillation-teacher/final
"""

import argparse
import json
from pathlib import Path

from rl_distill.models.loading import load_model, load_tokenizer
from rl_distill.problems.arithmetic import Arithmetic
from rl_distill.records import group_to_dict
from rl_distill.rewards import Accuracy, WeightedRewards, score_groups
from rl_distill.rollout.collector import Prompter
from rl_distill.rollout.engine import Sampling, generate_checked
from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
from rl_distill.text import PromptFormat
from rl_distill.trajectory import Group

SAMPLING = Sampling(temperature=1.0, max_tokens=40)  # as the student samples in routes.yaml
ACCURACY = Accuracy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="runs/distillation-teacher/final", help="folder of the teacher")
    parser.add_argument("--out", type=Path, default=Path("runs/distillation-traces.jsonl"), help="file to write")
    parser.add_argument("--count", type=int, default=1600, help="traces, each of a problem of its own")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    options = parser.parse_args()
    groups = traces(options.teacher, options.count, options.seed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("".join(json.dumps(group_to_dict(group)) + "\n" for group in groups))
    attempts = [attempt for group in groups for attempt in group.trajectories]
    right = sum(attempt.status == "correct" for attempt in attempts)
    generated, read = sum(one.num_sampled for one in attempts), sum(len(one.token_ids) for one in attempts)
    print(f"{options.out}: {len(attempts)} traces, {right} correct, {generated} generated tokens, {read} with their prompts")


def traces(teacher: str, count: int, seed: int) -> list[Group]:
    """One graded attempt of the teacher at each of so many problems."""
    tokenizer, model = load_tokenizer(teacher), load_model(teacher)
    prompter = Prompter(tokenizer=tokenizer, format=PromptFormat(), max_context=model.config.max_position_embeddings)
    problems = Arithmetic(split="train", seed=4, num_problems=count).groups()
    prompts = prompter.prompts(problems, SAMPLING, field="problems", verifiers=[ACCURACY])
    engine = HfEngine(model, tokenizer, HfEngineConfig(), name="distillation-teacher")
    attempts = generate_checked(engine, [prompt.request(SAMPLING, seed, "traces") for prompt in prompts])
    found = [Group(problem=prompt.problem, trajectories=(one,)) for prompt, one in zip(prompts, attempts, strict=True)]
    return score_groups(found, WeightedRewards((ACCURACY,)))


if __name__ == "__main__":
    main()
