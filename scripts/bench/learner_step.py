"""One optimizer step on GSM8K's lengths, ours against TRL's SFTTrainer and DPOTrainer.

    python scripts/bench/learner_step.py [--json FILE] [--trl-micro 1 2 8] [--repeats 3]

The student of grpo_step.py and traces of random words whose questions and answers are as long as those of GSM8K's 7,473 training
problems (quantiles below). Every peer takes the same traces in the same optimizer steps. TRL pads a micro-batch to its longest
row and is tried at several sizes; ours cuts by tokens and sorts by length. REDI has no peer: it is set beside TRL's DPO, which
reads a reference model as our DPO does and REDI does not.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from bench_student import VOCABULARY, make_student
from trl_peer import one_step, trl_settings
from turns import at_least_one, in_turn, json_file, machine, peers, write

# Twentieths of the distribution, in words, signs and single digits.
QUESTION = (11, 29, 33, 36, 38, 40, 42, 44, 46, 49, 51, 54, 56, 59, 62, 65, 70, 75, 83, 94, 206)
ANSWER = (33, 59, 67, 74, 79, 85, 90, 96, 101, 107, 114, 120, 128, 136, 145, 153, 164, 178, 198, 232, 464)
RATE = 1e-5
COMPARED = {"sft": ("sft",), "redi": ("dpo",), "dpo": ("dpo",)}  # ours: TRL's


class Pair(NamedTuple):
    """Token ids of a question, a right answer and a wrong one: half as long again in the mean, its length drawn by itself."""

    prompt: list[int]
    right: list[int]
    wrong: list[int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--traces", type=at_least_one, default=64, help="of an optimizer step; pairs for REDI and DPO are half as many"
    )
    parser.add_argument("--trl-micro", type=at_least_one, nargs="+", default=[1, 2, 8], help="TRL's batch sizes, in traces")
    parser.add_argument("--micro-tokens", type=at_least_one, default=4096, help="our micro_batch_tokens")
    parser.add_argument("--threads", type=at_least_one, default=2, help="of torch, for each in its turn")
    parser.add_argument("--repeats", type=at_least_one, default=3, help="turns that are counted")
    parser.add_argument("--only", choices=tuple(COMPARED), nargs="+", default=list(COMPARED), help="of our algorithms")
    parser.add_argument("--json", type=json_file, help="file to write")
    options = parser.parse_args()
    if options.traces % 2:
        parser.error(f"--traces: {options.traces} traces are no pairs; give an even number")
    for size in options.trl_micro:
        if options.traces % size:
            parser.error(f"--trl-micro: {size} does not divide the {options.traces} traces of an optimizer step")
    if options.only != ["sft"] and all(size % 2 for size in options.trl_micro):
        parser.error("--trl-micro: DPO's pairs are two traces each; give an even size too")
    with TemporaryDirectory() as folder:
        student = make_student(Path(folder) / "student")
        setups: dict[str, tuple[Any, ...]] = {
            f"rl_distill {name}": (ours, student, name, options.traces, options.micro_tokens) for name in options.only
        }
        for name in dict.fromkeys(peer for mine in options.only for peer in COMPARED[mine]):
            setups |= {
                f"trl {name}, micro-batch {size}": (trl, student, name, options.traces, size)
                for size in options.trl_micro
                if size % 2 == 0 or name == "sft"  # a pair is two traces
            }
        with peers(setups, options.threads) as up:
            found = in_turn(up, options.repeats)
    best = {
        name: min(timings["seconds"] for label, timings in found.items() if label.startswith(f"trl {name},"))
        for name in ("sft", "dpo")
        if any(label.startswith(f"trl {name},") for label in found)
    }
    ratios = {name: best[COMPARED[name][0]] / found[f"rl_distill {name}"]["seconds"] for name in options.only}
    print(table(found))
    print("\nratio to TRL at its best micro-batch: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()))
    write(options.json, {"machine": machine(options.threads), "traces": options.traces, "medians": found, "ratio_vs_trl": ratios})


def pairs(count: int) -> list[Pair]:
    chance = np.random.default_rng(0)

    def text(quantiles: Sequence[int], factor: float = 1.0) -> list[int]:
        length = np.interp(chance.random(), np.linspace(0, 1, len(quantiles)), quantiles) * factor
        return [int(token) for token in chance.integers(8, VOCABULARY, round(length))]

    return [Pair(text(QUESTION), text(ANSWER), text(ANSWER, 1.5)) for _ in range(count)]


def ours(student: Path, name: str, traces: int, micro_tokens: int) -> Callable[[], Mapping[str, float]]:
    from rl_distill.algorithms import ALGORITHMS
    from rl_distill.algorithms.base import Need
    from rl_distill.learning.learner import LearnerConfig
    from rl_distill.learning.local_learner import LocalLearner
    from rl_distill.learning.loss_term import LossTerm
    from rl_distill.learning.scorer import ModelScorer, ScorerConfig
    from rl_distill.models.loading import load_model, load_tokenizer
    from rl_distill.training.loop import credited
    from rl_distill.trajectory import Group, Message, Problem, Score, Trajectory, Verdict

    tokenizer, algorithm = load_tokenizer(str(student)), ALGORITHMS[name]()
    config = LearnerConfig(learning_rate=RATE, schedule="constant", warmup_fraction=0.0, micro_batch_tokens=micro_tokens)
    learner = LocalLearner(load_model(str(student)), tokenizer, algorithm, config)
    settings = ScorerConfig(pad_id=0, temperature=1.0, max_tokens=micro_tokens, chunk_tokens=4096, precision="float32")
    reference = ModelScorer(load_model(str(student)), settings) if Need.REFERENCE_LOGPROBS in algorithm.needs else None
    end = tokenizer.eos_token_id

    def attempt(problem: str, prompt: list[int], answer: list[int], status: Any) -> Trajectory:
        return Trajectory(
            problem_id=problem,
            messages=(Message("user", ""), Message("assistant", "")),
            token_ids=(*prompt, *answer, end),
            sampled=(*(False for _ in prompt), *(True for _ in answer), True),
            model="teacher",
            origin="teacher",
            score=Score(value=float(status == "correct"), verdict=Verdict(status=status, method="bench")),
        )

    count = traces if name == "sft" else traces // 2
    groups = []
    for place, (prompt, right, wrong) in enumerate(pairs(count)):
        problem = Problem(id=str(place), prompt="", answer="", source="bench")
        attempts = (attempt(str(place), prompt, right, "correct"), attempt(str(place), prompt, wrong, "wrong"))
        groups.append(Group(problem=problem, trajectories=attempts))
    term = LossTerm(algorithm=algorithm, temperature=1.0)

    def turn() -> Mapping[str, float]:
        started = time.perf_counter()
        credit = credited(term, groups, reference=reference, teacher=None, learner=learner, mini_batches=1)
        scored = time.perf_counter()
        metrics = learner.step(credit.samples).metrics
        ended = time.perf_counter()
        tokens = sum(len(sample.trajectory.token_ids) for sample in credit.samples)
        return {
            "credit": scored - started,
            "train": ended - scored,
            "tokens": float(tokens),
            "padding": metrics["learner/padding_fraction"],
        }

    return turn


def trl(student: Path, name: str, traces: int, micro: int) -> Callable[[], Mapping[str, float]]:
    """The trainer is stopped after each optimizer step and goes on from where it stands in the next turn."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    from rl_distill.models.loading import load_model, load_tokenizer

    tokenizer, model = load_tokenizer(str(student)), load_model(str(student))
    micro, count = (micro, traces) if name == "sft" else (micro // 2, traces // 2)
    rows = [{key: _words(ids) for key, ids in zip(("prompt", "chosen", "rejected"), pair, strict=True)} for pair in pairs(count)]
    seen: dict[str, float] = {}

    common = trl_settings(student.parent / f"trl-{name}-{micro}", micro=micro, rows=count, rate=RATE)
    common |= {"max_length": None, "bf16": False}
    keywords: dict[str, Any] = {"model": model, "processing_class": tokenizer, "callbacks": [one_step()]}
    if name == "sft":
        data = Dataset.from_list([{"prompt": row["prompt"], "completion": f" {row['chosen']}"} for row in rows])
        trainer: Any = SFTTrainer(args=SFTConfig(**common), train_dataset=data, **keywords)
    else:
        data = Dataset.from_list([{key: f" {text}" for key, text in row.items()} for row in rows])
        trainer = DPOTrainer(args=DPOConfig(**common), train_dataset=data, **keywords)
    collator = trainer.data_collator

    def counted(examples: Any) -> Any:
        batch = collator(examples)
        seen["places"] = seen.get("places", 0.0) + batch["attention_mask"].numel()
        seen["tokens"] = seen.get("tokens", 0.0) + float(batch["attention_mask"].sum())
        return batch

    trainer.data_collator = counted

    def turn() -> Mapping[str, float]:
        seen.clear()
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
        return {"credit": 0.0, "train": seconds, "tokens": seen["tokens"], "padding": 1 - seen["tokens"] / seen["places"]}

    return turn


def _words(token_ids: Sequence[int]) -> str:
    return " ".join(f"w{index}" for index in token_ids)


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    from rl_distill.markdown_table import markdown

    header = ("", "credit, s", "train, s", "step, s", "tokens", "tokens/s", "padding", "MiB")
    rows = [
        (
            name,
            f"{timings['credit']:.2f}",
            f"{timings['train']:.2f}",
            f"{timings['seconds']:.2f}",
            f"{timings['tokens']:,.0f}",
            f"{timings['tokens'] / timings['seconds']:,.0f}",
            f"{timings['padding']:.1%}",
            f"{timings['peak_mib']:,.0f}",
        )
        for name, timings in found.items()
    ]
    return markdown(header, rows)


if __name__ == "__main__":
    main()
