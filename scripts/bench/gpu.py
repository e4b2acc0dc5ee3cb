"""What a GPU reaches: training against its FLOP/s, sampling against its bandwidth, weight syncs, a GRPO step against TRL's.

    python scripts/bench/gpu.py [--json FILE] [--only learner rollout sync grpo] [--flops 989e12]
    python scripts/bench/gpu.py --device cpu --tiny        # a rehearsal: every part runs, no figure means anything

Models of the shapes of Qwen2.5 0.5B and 1.5B with random weights, in bfloat16; nothing is downloaded. MFU is the FLOPs of
`rl_distill.training.flops` over the seconds and `--flops`, the card's dense bfloat16 rate (989e12: H100 and H200); what
checkpointing computes again is left out of it. The learner is the one of a single process, and a DeepSpeed rank alone on its card
at each ZeRO stage of `--zero`. A decoding step reads every weight once: the limit is the rows times the bandwidth of a copy, as
measured here, over their bytes. The GRPO iteration is that of grpo_step.py. Each part runs in a process of its own, which frees
the card.

Without a GPU it ends with exit code 2.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from bench_student import VOCABULARY, Shape, make_student, qwen2
from turns import above_zero, at_least_one, in_turn, json_file, machine, peers, write

Turn = Callable[[], Mapping[str, float]]

SHAPES = {"0.5B": Shape(896, 4864, 24, 14, 2, 151_936), "1.5B": Shape(1536, 8960, 28, 12, 2, 151_936)}
TINY = {"tiny": Shape(64, 128, 2, 4, 2, VOCABULARY)}


class Sizes(NamedTuple):
    """How much of everything: tokens of a row and of a step, rows and tokens of sampling, completions of a GRPO iteration, and
    of a pass of TRL's."""

    contexts: tuple[int, ...]
    step_tokens: int
    rows: tuple[int, ...]
    response: int
    completions: int
    trl_micro: tuple[int, ...]


FULL = Sizes((4096, 16_384), 65_536, (16, 128), 256, 128, (8, 32))
REHEARSAL = Sizes((128, 256), 512, (4, 8), 16, 16, (8, 16))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a small model and small sizes")
    parser.add_argument("--only", nargs="+", choices=("learner", "rollout", "sync", "grpo"), help="parts; none is all")
    parser.add_argument("--engines", nargs="+", choices=("hf", "vllm"), default=["hf", "vllm"])
    parser.add_argument(
        "--zero", type=int, nargs="*", choices=(0, 1, 2, 3), default=[2, 3], help="stages of the DeepSpeed learner"
    )
    parser.add_argument("--flops", type=above_zero, default=989e12, help="the card's dense bfloat16 FLOP/s")
    parser.add_argument("--repeats", type=at_least_one, default=3, help="turns that are counted")
    parser.add_argument("--json", type=json_file, help="file to write")
    options = parser.parse_args()
    if options.device == "cuda" and not _has_gpu():
        print("needs a GPU that torch can use; --device cpu --tiny rehearses without one", file=sys.stderr)
        raise SystemExit(2)
    shapes, sizes = (TINY, REHEARSAL) if options.tiny else (SHAPES, FULL)
    parts = options.only or ["learner", "rollout", "sync", "grpo"]
    found: dict[str, dict[str, Mapping[str, float]]] = {}
    with TemporaryDirectory() as folder:
        jobs = {part: list(PARTS[part](shapes, sizes, options, Path(folder))) for part in parts}
        for part, of_part in jobs.items():
            found[part] = {}
            for name, setup in of_part:
                with peers({name: setup}, threads=1) as up:
                    found[part][name] = in_turn(up, options.repeats)[name]
                print(f"{part}: {name}: {found[part][name]['seconds']:.3f} s", file=sys.stderr, flush=True)
    for part, rows in found.items():
        print(f"{part}\n\n{table(rows)}\n")
    card = _card(options.device)
    write(
        options.json, {"machine": machine(1), "card": card, "rehearsal": options.tiny, "flops": options.flops, "medians": found}
    )


def learner_jobs(shapes: Mapping[str, Shape], sizes: Sizes, options: Any, folder: Path) -> Any:
    for name, shape in shapes.items():
        for context in sizes.contexts:
            job = (learner, shape, context, max(context, sizes.step_tokens), options.device, options.flops)
            yield f"{name}, rows of {context:,}", (*job, None)
            for stage in options.zero:
                yield f"{name}, rows of {context:,}, ZeRO {stage}", (*job, stage)


def rollout_jobs(shapes: Mapping[str, Shape], sizes: Sizes, options: Any, folder: Path) -> Any:
    for name, shape in shapes.items():
        for engine in options.engines:
            for rows in sizes.rows:
                student = (shape, folder / name, options.device)
                yield f"{name}, {engine}, {rows} rows", (rollout, *student, engine, rows, sizes.response)


def sync_jobs(shapes: Mapping[str, Shape], sizes: Sizes, options: Any, folder: Path) -> Any:
    for name, shape in shapes.items():
        for engine in options.engines:
            yield f"{name}, {engine}", (sync, shape, folder / name, options.device, engine)


def grpo_jobs(shapes: Mapping[str, Shape], sizes: Sizes, options: Any, folder: Path) -> Any:
    """The iteration of grpo_step.py with the smallest of these students, on this device."""
    import grpo_step

    name, shape = next(iter(shapes.items()))
    student = make_student(folder / "endless" / name, shape)
    job = (student, sizes.completions, "bfloat16" if options.device == "cuda" else "float32")
    yield f"{name}, {grpo_step.OURS}", (grpo_step.ours, *job, 16_384, 0.0, options.device)
    for micro in sizes.trl_micro:
        yield f"{name}, TRL, micro-batch {micro}", (grpo_step.trl, *job, micro, 0.0, options.device)


PARTS = {"learner": learner_jobs, "rollout": rollout_jobs, "sync": sync_jobs, "grpo": grpo_jobs}


def learner(shape: Shape, context: int, step_tokens: int, device: Any, flops: float, stage: int | None) -> Turn:
    """Optimizer steps of `step_tokens` in rows of `context`, one row a pass; `stage` is of ZeRO, None without DeepSpeed."""
    import torch

    from rl_distill.algorithms import ALGORITHMS
    from rl_distill.learning.local_learner import LocalLearner
    from rl_distill.learning.step_plan import plan_step
    from rl_distill.models.vocabulary import arithmetic_tokenizer
    from rl_distill.training.flops import training_flops
    from rl_distill.training.model_shape import counted_shape
    from rl_distill.trajectory import Sample, Trajectory

    config = replace(_learner_config(device), micro_batch_tokens=context, gradient_checkpointing=True)
    if stage is None:
        made: Any = LocalLearner(model(shape, device), arithmetic_tokenizer(), ALGORITHMS["sft"](), config)
    else:
        made = _only_rank(model(shape, device), config, stage)
    chance = torch.Generator().manual_seed(0)
    samples = [
        Sample(
            trajectory=Trajectory(
                problem_id=str(row),
                messages=(),
                token_ids=tuple(torch.randint(0, shape.vocabulary, (context,), generator=chance).tolist()),
                sampled=(False,) + (True,) * (context - 1),
                model="bench",
                origin="teacher",
            )
        )
        for row in range(step_tokens // context)
    ]
    rows = len(samples)
    counts = {"tokens": rows * context, "squares": rows * context**2, "logits": rows * (context - 1)}
    work = training_flops(counted_shape(lambda: model(shape, "meta")), **counts, checkpointing=False)

    def turn() -> Mapping[str, float]:
        started = time.perf_counter()
        (share,) = plan_step(samples, made.terms, num_processes=1, max_tokens=context)
        made.step_share(share)  # reads its metrics, so the device has finished
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "tokens": rows * context,
            "tokens/s": rows * context / seconds,
            "mfu": work / seconds / flops,
            **_memory(),
        }

    return turn


def rollout(shape: Shape, folder: Path, device: Any, name: str, rows: int, response: int) -> Turn:
    """Rows decoded together that all become `response` tokens long."""
    from rl_distill.rollout.engine import Request, Sampling, generate_checked

    engine = _engine(shape, folder, device, name, rows)
    sampling = Sampling(max_tokens=response, banned=())
    requests = [
        Request(
            problem_id=str(row // 8),
            messages=(),
            token_ids=tuple(range(8 + row // 8, 72 + row // 8)),
            sampling=sampling,
            seed=row,
        )
        for row in range(rows)
    ]
    weights = 2 * sum(weight.numel() for weight in model(shape, "meta").parameters())
    limit = copy_bandwidth(device) * rows / weights

    def turn() -> Mapping[str, float]:
        started = time.perf_counter()
        tokens = sum(attempt.num_sampled for attempt in generate_checked(engine, requests))
        seconds = time.perf_counter() - started
        rate = tokens / seconds
        return {"seconds": seconds, "tokens": tokens, "tokens/s": rate, "limit": limit, "of the limit": rate / limit, **_memory()}

    return turn


def sync(shape: Shape, folder: Path, device: Any, name: str) -> Turn:
    """A learner's weights into an engine of this process, digests compared."""
    import torch

    from rl_distill.algorithms import ALGORITHMS
    from rl_distill.learning.local_learner import LocalLearner
    from rl_distill.models.vocabulary import arithmetic_tokenizer
    from rl_distill.rollout.engine import load_checked

    engine, versions = _engine(shape, folder, device, name, 8), iter(range(1, 10**6))
    made = LocalLearner(
        model(shape, device), arithmetic_tokenizer(), ALGORITHMS["sft"](), _learner_config(device), publish_dtype=torch.bfloat16
    )

    def turn() -> Mapping[str, float]:
        started = time.perf_counter()
        update = made.publish(next(versions))
        published = time.perf_counter()
        load_checked(engine, update)
        ended = time.perf_counter()
        rate = update.num_bytes / (ended - started)
        return {"seconds": ended - started, "publish": published - started, "load": ended - published, "bytes/s": rate}

    return turn


def model(shape: Shape, device: str) -> Any:
    """Random weights; on the device `meta` none."""
    import torch

    with torch.device(device):
        return qwen2(shape, max_position_embeddings=32_768, tie_word_embeddings=True)


def copy_bandwidth(device: str, mib: int = 1024) -> float:
    """Bytes/s that a copy reads and writes, the best of a few."""
    import torch

    source = torch.ones((mib if device == "cuda" else 64) * 2**18, device=device)
    target, best = torch.empty_like(source), float("inf")
    for _ in range(5):
        _wait(device)
        started = time.perf_counter()
        target.copy_(source)
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * source.nbytes / best


def _engine(shape: Shape, folder: Path, device: Any, name: str, rows: int) -> Any:
    from rl_distill.models.loading import save_pretrained
    from rl_distill.models.vocabulary import arithmetic_tokenizer
    from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig

    tokenizer = arithmetic_tokenizer()
    if name == "hf":
        config = HfEngineConfig(max_concurrent=max(2, rows), dtype="bfloat16", device=device)
        return HfEngine(model(shape, device), tokenizer, config, name="bench")
    from rl_distill.rollout.vllm_config import VllmEngineConfig
    from rl_distill.rollout.vllm_engine import VllmEngine

    if not folder.exists():
        save_pretrained(model(shape, device).bfloat16().cpu(), tokenizer, folder)
    memory: dict[str, Any] = {"gpu_memory_fraction": 0.5} if device == "cuda" else {"kv_cache_gib": 1.0, "enforce_eager": True}
    return VllmEngine(folder, tokenizer, VllmEngineConfig(max_sequences=rows, max_model_len=2048, **memory), name="bench")


def _only_rank(student: Any, config: Any, stage: int) -> Any:
    """A DeepSpeed learner of one rank, which computes on the GPU if there is one."""
    from rl_distill.algorithms import ALGORITHMS
    from rl_distill.cluster.process_setup import free_address
    from rl_distill.learning.deepspeed_learner import DeepspeedRank, Sharding, join
    from rl_distill.learning.loss_term import LossTerm
    from rl_distill.models.vocabulary import arithmetic_tokenizer

    join(0, 1, *free_address(), timeout_seconds=60)
    terms = [LossTerm(algorithm=ALGORITHMS["sft"]())]
    return DeepspeedRank(student, arithmetic_tokenizer(), terms, config, Sharding(stage=stage), total_steps=None)


def _learner_config(device: Any) -> Any:
    from rl_distill.learning.learner import LearnerConfig

    return LearnerConfig(learning_rate=1e-6, schedule="constant", warmup_steps=0, precision="bfloat16", device=device)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _card(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "none"


def _wait(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def _memory() -> dict[str, float]:
    import torch

    return {"gpu_gib": torch.cuda.max_memory_allocated() / 2**30} if torch.cuda.is_available() else {}


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    from rl_distill.markdown_table import markdown

    columns = list(dict.fromkeys(key for one in rows.values() for key in one if key != "peak_mib"))
    cells = [(name, *(f"{one[key]:,.4g}" if key in one else "-" for key in columns)) for name, one in rows.items()]
    return markdown(("", *columns), cells)


if __name__ == "__main__":
    main()
