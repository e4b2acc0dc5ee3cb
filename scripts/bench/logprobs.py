"""Log-probs over a large vocabulary, in chunks against all at once: seconds and peak memory of a forward and a backward pass.

    python scripts/bench/logprobs.py [--json FILE] [--tokens 2048 4096 16384] [--chunk 512] [--hidden 64]

151,936 words as Qwen2.5 has, float32, a model whose body costs next to nothing. `plain` takes the log-softmax of all logits,
`trl` is TRL's `selective_log_softmax` of all logits, `rl_distill` is `policy_output`, which also gives the entropy. Each size
runs in processes of its own, in turn. Where logits, their log-softmax and their gradient would not fit in free memory,
those that hold all logits are left out: their memory grows by the same amount for each token, and the last column extends that.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from turns import MIB, at_least_one, in_turn, json_file, machine, peers, write

VOCABULARY, ROW = 151_936, 512
COPIES = 3  # logits, log-softmax, gradient
PLAIN, TRL, OURS = "plain", "trl", "rl_distill"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=at_least_one, nargs="+", default=[2048, 4096, 16384], help="positions, ascending")
    parser.add_argument("--chunk", type=at_least_one, default=512, help="our logprob_chunk_tokens")
    parser.add_argument("--hidden", type=at_least_one, default=64, help="size of the states; Qwen2.5-0.5B's is 896")
    parser.add_argument("--threads", type=at_least_one, default=2, help="of torch, for each in its turn")
    parser.add_argument("--repeats", type=at_least_one, default=3, help="turns that are counted")
    parser.add_argument("--json", type=json_file, help="file to write")
    options = parser.parse_args()
    if wrong := [tokens for tokens in options.tokens if tokens % ROW]:
        parser.error(f"--tokens: {wrong[0]} is no multiple of {ROW}, the length of a row")
    sizes: dict[int, dict[str, dict[str, float]]] = {}
    for tokens in options.tokens:
        whole = (PLAIN, TRL) if COPIES * tokens * VOCABULARY * 4 < 0.8 * _free() else ()
        setups = {name: (made, name, tokens, options.chunk, options.hidden) for name in (*whole, OURS)}
        with peers(setups, options.threads) as up:
            before = {name: peer.resident for name, peer in up.items()}
            sizes[tokens] = in_turn(up, options.repeats)
        for name, timings in sizes[tokens].items():
            timings["extra_mib"] = timings["peak_mib"] - before[name]
    print(table(sizes))
    write(options.json, {"machine": machine(options.threads), "chunk": options.chunk, "hidden": options.hidden, "sizes": sizes})


def made(name: str, tokens: int, chunk: int, hidden: int) -> Callable[[], Mapping[str, float]]:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from rl_distill.models.logprobs import policy_output

    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config)
    ids = torch.randint(0, VOCABULARY, (tokens // ROW, ROW + 1))
    mask = torch.ones_like(ids, dtype=torch.bool)

    def logprobs() -> Any:
        if name == OURS:
            return policy_output(model, ids, mask, mask, chunk_tokens=chunk).logprobs[:, 1:]
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        if name == TRL:
            from trl.trainer.utils import selective_log_softmax

            return selective_log_softmax(logits, ids[:, 1:])
        return logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]

    def turn() -> Mapping[str, float]:
        started = time.perf_counter()
        found = logprobs()
        read = time.perf_counter()
        found.mean().backward()
        ended = time.perf_counter()
        model.zero_grad(set_to_none=True)
        return {"forward": read - started, "backward": ended - read, "mean": float(found.mean().detach())}

    return turn


def _free() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def table(sizes: Mapping[int, Mapping[str, Mapping[str, float]]]) -> str:
    from rl_distill.markdown_table import markdown

    header = ("tokens", "", "forward, s", "backward, s", "s", "MiB beside the model", "times ours: s", "MiB")
    rows = []
    for tokens, found in sizes.items():
        ours = found[OURS]
        for name in (PLAIN, TRL, OURS):
            if name in found:
                one = found[name]
                seconds = (f"{one[key]:.2f}" for key in ("forward", "backward", "seconds"))
                ratio = (f"{one['seconds'] / ours['seconds']:.2f}", f"{one['extra_mib'] / ours['extra_mib']:.1f}")
                rows.append((f"{tokens:,}", name, *seconds, f"{one['extra_mib']:,.0f}", *ratio))
            elif line := _line(sizes, name):
                mib = line * tokens
                rows.append(
                    (f"{tokens:,}", f"{name}, extended", "-", "-", "-", f"{mib:,.0f}", "-", f"{mib / ours['extra_mib']:.1f}")
                )
    return markdown(header, rows)


def _line(sizes: Mapping[int, Mapping[str, Mapping[str, float]]], name: str) -> float | None:
    """MiB for a token, from the largest size that ran; at least what two copies of the logits take."""
    found = [(tokens, peers[name]["extra_mib"]) for tokens, peers in sizes.items() if name in peers]
    return max(found[-1][1] / found[-1][0], 2 * VOCABULARY * 4 / MIB) if found else None


if __name__ == "__main__":
    main()
