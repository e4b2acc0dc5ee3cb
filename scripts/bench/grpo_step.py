"""One iteration of GRPO, ours against TRL's GRPOTrainer: the same weights, prompts, response lengths, precision and rate.

    python scripts/bench/grpo_step.py [--json FILE] [--trl-micro 16 128] [--repeats 3]

A Qwen2 of 3.2 million weights that never ends a response by itself; each response ends at a length drawn beforehand (log-normal:
median 60, mean about 95, at most 512, as a trained student's are), so that both sample and train on the same number of tokens.
TRL pads a batch to its longest row and generates all completions in one call; it is tried at several micro-batches, and the ratio
is to its best. `--flat` is the share of groups whose attempts all get the same reward. Peers run in turn; figures are medians.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from bench_student import EOS, VOCABULARY, make_student
from trl_peer import one_step, trl_settings
from turns import at_least_one, in_turn, json_file, machine, peers, write

PROMPT, LONGEST, GROUP = 32, 512, 8
RATE = 1e-5
OURS = "rl_distill"
PHASES = ("generate", "score", "train", "sync", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=at_least_one, default=128, help=f"of an iteration, {GROUP} for each prompt")
    parser.add_argument(
        "--trl-micro", type=int, nargs="+", default=[16, 128], help="TRL's per-device batch sizes; 0: without TRL"
    )
    parser.add_argument("--micro-tokens", type=at_least_one, default=4096, help="our micro_batch_tokens")
    parser.add_argument("--flat", type=float, default=0.0, help="share of the groups with equal rewards")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=at_least_one, default=2, help="of torch, for each in its turn")
    parser.add_argument("--repeats", type=at_least_one, default=3, help="turns that are counted")
    parser.add_argument("--json", type=json_file, help="file to write")
    options = parser.parse_args()
    if options.completions % GROUP:
        parser.error(f"--completions: {options.completions} is no multiple of {GROUP}, the attempts of a prompt")
    if not 0 <= options.flat <= 1:
        parser.error(f"--flat: {options.flat} is no share; give 0 to 1")
    for size in options.trl_micro:
        if size < 0 or size and options.completions % size:
            parser.error(f"--trl-micro: {size} does not divide the {options.completions} completions of an iteration")
    with TemporaryDirectory() as folder:
        student = make_student(Path(folder) / "student")
        job = (student, options.completions, options.precision)
        setups: dict[str, tuple[Any, ...]] = {OURS: (ours, *job, options.micro_tokens, options.flat)}
        setups |= {f"trl, micro-batch {size}": (trl, *job, size, options.flat) for size in options.trl_micro if size}
        with peers(setups, options.threads) as up:
            found = in_turn(up, options.repeats)
            resident = {name: peer.resident for name, peer in up.items()}
    tokens = int(drawn_lengths(options.completions).sum())
    best = min((timings["seconds"] for name, timings in found.items() if name != OURS), default=None)
    ratio = best / found[OURS]["seconds"] if best else None
    print(table(found, tokens, resident))
    print(f"\nratio to TRL at its best micro-batch: {ratio:.2f}" if ratio else "")
    result = {"machine": machine(options.threads), "completions": options.completions, "tokens": tokens, "flat": options.flat}
    write(options.json, result | {"precision": options.precision, "medians": found, "ratio_vs_trl": ratio})


def drawn_lengths(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Of the responses, the same in every iteration."""
    drawn = np.random.default_rng(0).lognormal(np.log(60), 1.0, count)
    return np.clip(drawn, 4, LONGEST).astype(np.int64)


def prompts(count: int) -> list[list[int]]:
    """Token ids of prompts of 8 to 32 tokens, in their order."""
    chance = np.random.default_rng(1)
    return [chance.integers(8, VOCABULARY, int(chance.integers(8, PROMPT + 1))).tolist() for _ in range(count)]


def rewards_of(answers: Sequence[Sequence[int]], flat: float) -> list[float]:
    """As good as none to compute; equal in the first groups, different within the others."""
    equal = round(flat * len(answers) / GROUP) * GROUP
    return [float(place < equal or sum(token_ids) % 2) for place, token_ids in enumerate(answers)]


def ours(
    student: Path, completions: int, precision: Any, micro_tokens: int, flat: float = 0.0, device: Any = "cpu"
) -> Callable[[], Mapping[str, float]]:
    from rl_distill.algorithms import Grpo
    from rl_distill.learning.learner import LearnerConfig
    from rl_distill.learning.local_learner import LocalLearner
    from rl_distill.learning.loss_term import LossTerm
    from rl_distill.models.loading import load_model, load_tokenizer
    from rl_distill.rollout.engine import Request, Sampling, generate_checked, torch_dtype
    from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
    from rl_distill.training.loop import credited
    from rl_distill.training.weight_sync import SyncChecks, WeightSync, tolerance_of
    from rl_distill.trajectory import Group, Message, Problem, Score

    tokenizer = load_tokenizer(str(student))
    config = LearnerConfig(learning_rate=RATE, schedule="constant", warmup_fraction=0.0, precision=precision)
    config = replace(config, micro_batch_tokens=micro_tokens, device=device)
    algorithm = Grpo(kl_coef=0.0)
    term = LossTerm(algorithm=algorithm, temperature=1.0)
    learner = LocalLearner(load_model(str(student)), tokenizer, algorithm, config, publish_dtype=torch_dtype(precision))
    engine = HfEngine(load_model(str(student)), tokenizer, HfEngineConfig(dtype=precision, device=device), name="student")
    problems = [Problem(id=str(place), prompt="", answer="", source="bench") for place in range(completions // GROUP)]
    requests = [
        Request(
            problem_id=problem.id,
            messages=(Message("user", ""),),
            token_ids=tuple(token_ids),
            sampling=Sampling(max_tokens=int(length)),
            seed=place * GROUP + number,
        )
        for place, (problem, token_ids) in enumerate(zip(problems, prompts(len(problems)), strict=True))
        for number, length in enumerate(drawn_lengths(completions)[place * GROUP : (place + 1) * GROUP])
    ]
    sync = WeightSync(learner, engine, requests[0], SyncChecks(), tolerance_of(SyncChecks(), precision, precision))
    sync.bring(0)
    version = 0

    def turn() -> Mapping[str, float]:
        nonlocal version
        version += 1
        started = time.perf_counter()
        attempts = generate_checked(engine, [replace(one, seed=one.seed + version * completions) for one in requests])
        sampled = time.perf_counter()
        rewards = rewards_of([one.token_ids[-one.num_sampled :] for one in attempts], flat)
        scored = [replace(one, score=Score(value=value, verdict=None)) for one, value in zip(attempts, rewards, strict=True)]
        groups = [
            Group(problem=problem, trajectories=tuple(scored[place * GROUP : (place + 1) * GROUP]))
            for place, problem in enumerate(problems)
        ]
        credit = credited(term, groups, reference=None, teacher=None, learner=learner, mini_batches=1)
        ready = time.perf_counter()
        metrics = learner.step(credit.samples).metrics
        trained = time.perf_counter()
        sync.bring(version)
        ended = time.perf_counter()
        return {
            "generate": sampled - started,
            "score": ready - sampled,
            "train": trained - ready,
            "sync": ended - trained,
            "sampled": float(sum(one.num_sampled for one in attempts)),
            "trained": metrics["batch/tokens"],
        }

    return turn


def trl(
    student: Path, completions: int, precision: str, micro: int, flat: float = 0.0, device: str = "cpu"
) -> Callable[[], Mapping[str, float]]:
    """One iteration is one optimizer step; the trainer is stopped after it and goes on from where it stands in the next turn."""
    from datasets import Dataset
    from transformers import StoppingCriteria, StoppingCriteriaList
    from trl import GRPOConfig, GRPOTrainer

    from rl_distill.models.loading import load_model, load_tokenizer

    tokenizer, model = load_tokenizer(str(student)), load_model(str(student))
    rows = [" ".join(f"w{index}" for index in token_ids) for token_ids in prompts(completions // GROUP)]
    clock: dict[str, float] = {}

    class AtItsLength(StoppingCriteria):  # type: ignore[misc, unused-ignore]
        """Row by row; a finished row is padded with EOS, which ends it for the trainer."""

        def __init__(self, begun: int) -> None:
            import torch

            self._begun, self._limits = begun, torch.as_tensor(drawn_lengths(completions), device=device)
            self.eos_token_id = EOS

        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            return input_ids.shape[1] - self._begun >= self._limits[: len(input_ids)]

    generate = model.generate

    def timed_generate(*arguments: Any, **keywords: Any) -> Any:
        ids = keywords["input_ids"] if "input_ids" in keywords else arguments[0]
        started = time.perf_counter()
        found = generate(*arguments, **keywords, stopping_criteria=StoppingCriteriaList([AtItsLength(ids.shape[1])]))
        clock["generate"] = clock.get("generate", 0.0) + time.perf_counter() - started
        return found

    model.generate = timed_generate

    class Scored(GRPOTrainer):  # type: ignore[misc, unused-ignore]
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            started = time.perf_counter()
            found = super()._generate_and_score_completions(inputs)
            clock["scored"] = clock.get("scored", 0.0) + time.perf_counter() - started
            clock["sampled"] = clock.get("sampled", 0.0) + float(found["completion_mask"].sum())
            return found

    def rewards(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        return rewards_of(completion_ids, flat)

    settings = GRPOConfig(
        **trl_settings(student.parent / f"trl-{micro}", micro=micro, rows=completions, rate=RATE, device=device),
        num_generations=GROUP,
        max_completion_length=LONGEST,
        beta=0.0,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        bf16=precision == "bfloat16",
        shuffle_dataset=False,
    )
    data = Dataset.from_dict({"prompt": rows})
    trainer = Scored(
        model=model, args=settings, train_dataset=data, processing_class=tokenizer, reward_funcs=[rewards], callbacks=[one_step()]
    )

    def turn() -> Mapping[str, float]:
        clock.clear()
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
        train = seconds - clock["scored"]
        return {
            "generate": clock["generate"],
            "score": clock["scored"] - clock["generate"],
            "train": train,
            "sync": 0.0,
            "sampled": clock["sampled"],
            "trained": clock["sampled"],
        }

    return turn


def table(found: Mapping[str, Mapping[str, float]], tokens: int, resident: Mapping[str, float]) -> str:
    from rl_distill.markdown_table import markdown

    header = (
        "",
        *(f"{phase}, s" if phase != "seconds" else "iteration, s" for phase in PHASES),
        "tokens/s",
        "MiB",
        "of it before",
    )
    rows = [
        (
            name,
            *(f"{timings[phase]:.2f}" for phase in PHASES),
            f"{tokens / timings['seconds']:,.0f}",
            f"{timings['peak_mib']:,.0f}",
            f"{resident[name]:,.0f}",
        )
        for name, timings in found.items()
    ]
    return markdown(header, rows)


if __name__ == "__main__":
    main()
