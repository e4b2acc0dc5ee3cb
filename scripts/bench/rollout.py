"""Tokens sampled per second on skewed lengths: our engine against transformers' generate, its continuous batching, and vLLM.

    python scripts/bench/rollout.py [--json FILE] [--completions 256] [--repeats 3] [--only rl_distill vllm]

The student and the lengths of grpo_step.py. Every engine gets all requests at once and ends each where its length says; generate
drops no finished row, as it is used in trainers. `--concurrent` rows are decoded together in each. The roofline is measured in
turn with the others: the model's own matrix products for that many rows by themselves, and its cache read at the bandwidth of a
copy. `steady` is our engine on rows that are all equally long, which is what the roofline describes.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench_student import EOS, make_student
from grpo_step import GROUP, LONGEST, drawn_lengths, prompts
from turns import at_least_one, in_turn, json_file, machine, peers, write

OURS, STEADY, ROOFLINE, GENERATE, CONTINUOUS, VLLM = "rl_distill", "steady", "roofline", "generate", "continuous batching", "vllm"
STEADY_PROMPT, STEADY_TOKENS = 16, 128
Turn = Callable[[], Mapping[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=at_least_one, default=256)
    parser.add_argument("--concurrent", type=at_least_one, default=128, help="rows that are decoded together")
    parser.add_argument("--threads", type=at_least_one, default=2, help="of torch, for each in its turn")
    parser.add_argument("--repeats", type=at_least_one, default=3, help="turns that are counted")
    parser.add_argument("--only", nargs="+", choices=tuple(SETUPS), default=list(SETUPS))
    parser.add_argument("--json", type=json_file, help="file to write")
    options = parser.parse_args()
    if options.concurrent < 2:
        parser.error("--concurrent: the engine decodes at least 2 rows together")
    if options.completions % GROUP:
        parser.error(f"--completions: {options.completions} is no multiple of {GROUP}, the attempts of a prompt")
    with TemporaryDirectory() as folder:
        student = make_student(Path(folder) / "student")
        setups = {name: (SETUPS[name], student, options.completions, options.concurrent) for name in options.only}
        with peers(setups, options.threads) as up:
            found = in_turn(up, options.repeats)
    rates = {name: one["tokens"] / one["seconds"] for name, one in found.items()}
    print(table(found, rates))
    ratios = {
        f"{OURS} / {name}": rates[OURS] / rates[name] for name in (GENERATE, CONTINUOUS, VLLM) if {OURS, name} <= set(rates)
    }
    if {STEADY, ROOFLINE} <= set(rates):
        ratios[f"{STEADY} / {ROOFLINE}"] = rates[STEADY] / rates[ROOFLINE]
    print("\n" + ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()))
    write(options.json, {"machine": machine(options.threads), "medians": found, "tokens_per_second": rates, "ratios": ratios})


def jobs(completions: int) -> list[tuple[list[int], int]]:
    """Prompt and length of each completion, groups from one prompt."""
    questions = prompts(completions // GROUP)
    return [(questions[place // GROUP], int(length)) for place, length in enumerate(drawn_lengths(completions))]


def ours(student: Path, completions: int, concurrent: int) -> Turn:
    return _engine(student, jobs(completions), concurrent)


def steady(student: Path, completions: int, concurrent: int) -> Turn:
    return _engine(student, [(list(range(8, 8 + STEADY_PROMPT)), STEADY_TOKENS)] * concurrent, concurrent)


def _engine(student: Path, asked: list[tuple[list[int], int]], concurrent: int) -> Turn:
    from rl_distill.models.loading import load_model, load_tokenizer
    from rl_distill.rollout.engine import Request, Sampling, generate_checked
    from rl_distill.rollout.hf_engine import HfEngine, HfEngineConfig
    from rl_distill.trajectory import Message

    engine = HfEngine(
        load_model(str(student)), load_tokenizer(str(student)), HfEngineConfig(max_concurrent=concurrent), name="student"
    )
    requests = [
        Request(
            problem_id=str(place),
            messages=(Message("user", ""),),
            token_ids=tuple(prompt),
            sampling=Sampling(max_tokens=length),
            seed=place,
        )
        for place, (prompt, length) in enumerate(asked)
    ]
    return lambda: {"tokens": float(sum(one.num_sampled for one in generate_checked(engine, requests)))}


def roofline(student: Path, completions: int, concurrent: int) -> Turn:
    """A decoding step's matrix products for `concurrent` rows, one after another, and its cache read once."""
    import torch

    from rl_distill.models.loading import load_model

    model = load_model(str(student))
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name]
    inputs = {weight.shape[1]: torch.randn(concurrent, weight.shape[1]) for weight in matrices}
    config = model.config
    head = config.hidden_size // config.num_attention_heads
    context = STEADY_PROMPT + STEADY_TOKENS // 2
    cache = torch.randn(concurrent, config.num_hidden_layers, 2, config.num_key_value_heads, context, head)
    copy = torch.empty_like(cache)

    @torch.no_grad()
    def turn() -> Mapping[str, float]:
        steps = 20
        started = time.perf_counter()
        for _ in range(steps):
            for weight in matrices:
                torch.mm(inputs[weight.shape[1]], weight.T)
        products = time.perf_counter() - started
        for _ in range(steps):
            copy.copy_(cache)
        read = (time.perf_counter() - started - products) / 2  # a copy reads and writes
        return {"tokens": float(steps * concurrent), "seconds": products + read, "products": products, "cache": read}

    return turn


def generate(student: Path, completions: int, concurrent: int) -> Turn:
    """In batches of `concurrent`, padded; a row that has its length waits for the longest of its batch."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    from rl_distill.models.loading import load_model

    model, asked = load_model(str(student)).eval(), jobs(completions)

    class AtItsLength(StoppingCriteria):  # type: ignore[misc, unused-ignore]
        def __init__(self, begun: int, limits: Any) -> None:
            self._begun, self._limits = begun, limits
            self.eos_token_id = EOS

        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            return input_ids.shape[1] - self._begun >= self._limits

    def turn() -> Mapping[str, float]:
        tokens = 0
        for begin in range(0, len(asked), concurrent):
            batch = asked[begin : begin + concurrent]
            width = max(len(prompt) for prompt, _ in batch)
            ids = torch.tensor([[EOS] * (width - len(prompt)) + prompt for prompt, _ in batch])
            limits = torch.tensor([length for _, length in batch])
            model.generate(
                input_ids=ids,
                attention_mask=(ids != EOS).long(),
                do_sample=True,
                top_k=0,
                max_new_tokens=LONGEST,
                stopping_criteria=StoppingCriteriaList([AtItsLength(width, limits)]),
            )
            tokens += int(limits.sum())
        return {"tokens": float(tokens)}

    return turn


def continuous(student: Path, completions: int, concurrent: int) -> Turn:
    """Its manager takes requests with lengths of their own; `generate_batch` would give all of them one."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    from rl_distill.models.loading import load_model

    model, asked = load_model(str(student)).eval(), jobs(completions)
    settings = GenerationConfig(do_sample=True, top_k=0, eos_token_id=EOS, pad_token_id=EOS, max_new_tokens=LONGEST)
    sizes = ContinuousBatchingConfig(page_size=32, num_blocks=concurrent * (LONGEST + 32) // 32, max_batch_tokens=2048)

    def turn() -> Mapping[str, float]:
        manager = model.init_continuous_batching(generation_config=settings, continuous_batching_config=sizes)
        manager.start()
        try:
            for place, (prompt, length) in enumerate(asked):
                manager.add_request(prompt, request_id=f"r{place}", max_new_tokens=length)
            tokens, waiting = 0, len(asked)
            while waiting:
                found = manager.get_result(timeout=1)
                if found is None:
                    if not manager.is_running():
                        raise SystemExit("transformers' continuous batching stopped; its message stands above")
                elif found.is_finished():
                    tokens, waiting = tokens + len(found.generated_tokens), waiting - 1
        finally:
            manager.stop(block=True)
        return {"tokens": float(tokens)}

    return turn


def vllm(student: Path, completions: int, concurrent: int) -> Turn:
    """The library itself, as a user calls it, in this process."""
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_KVCACHE_SPACE": "1"}
    from vllm import LLM, SamplingParams

    model = LLM(str(student), dtype="float32", max_num_seqs=concurrent, max_model_len=1024, enforce_eager=True, seed=0)
    asked = jobs(completions)
    inputs = [{"prompt_token_ids": prompt} for prompt, _ in asked]
    settings = [SamplingParams(max_tokens=length, ignore_eos=True, detokenize=False) for _, length in asked]

    def turn() -> Mapping[str, float]:
        found = model.generate(inputs, settings, use_tqdm=False)
        return {"tokens": float(sum(len(one.outputs[0].token_ids) for one in found))}

    return turn


SETUPS: dict[str, Callable[[Path, int, int], Turn]] = {
    OURS: ours,
    GENERATE: generate,
    CONTINUOUS: continuous,
    VLLM: vllm,
    STEADY: steady,
    ROOFLINE: roofline,
}


def table(found: Mapping[str, Mapping[str, float]], rates: Mapping[str, float]) -> str:
    from rl_distill.markdown_table import markdown

    rows = [
        (name, f"{one['tokens']:,.0f}", f"{one['seconds']:.2f}", f"{rates[name]:,.0f}", f"{one['peak_mib']:,.0f}")
        for name, one in found.items()
    ]
    return markdown(("", "tokens", "s", "tokens/s", "MiB"), rows)


if __name__ == "__main__":
    main()
