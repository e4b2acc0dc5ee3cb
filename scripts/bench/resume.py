"""Seconds to save a learner and to go on from it, against writing and reading as many bytes.

    python scripts/bench/resume.py [--json FILE] [--layers 2 8 32] [--folder FOLDER] [--only local plain]

Weights and AdamW's moments of models of 3.8 million weights a layer, in float32. Saving is what a run does: the state
by parameter, checksums, fsync of every file, a rename (`Checkpoints.save`). Restoring checks every byte against its checksum and
then loads. `plain` writes the same bytes as one file with fsync, and reads it into memory. Nobody reads from the page cache: what
was written is dropped from it first. `deepspeed` is one rank of ZeRO 1 in a process of its own.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from turns import MIB, at_least_one, in_turn, json_file, machine, peers, write

LOCAL, DEEPSPEED, PLAIN = "local", "deepspeed", "plain"
HIDDEN = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=at_least_one, nargs="+", default=[2, 8, 32], help="of each model")
    parser.add_argument("--folder", type=Path, help="where checkpoints go, on the disk in question; none is the temporary one")
    parser.add_argument("--only", nargs="+", choices=(LOCAL, DEEPSPEED, PLAIN), default=[LOCAL, DEEPSPEED, PLAIN])
    parser.add_argument("--repeats", type=at_least_one, default=3, help="turns that are counted")
    parser.add_argument("--json", type=json_file, help="file to write")
    options = parser.parse_args()
    if options.folder and options.folder.exists() and not options.folder.is_dir():
        parser.error(f"--folder: {options.folder} is a file")
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    found: dict[int, dict[str, dict[str, float]]] = {}
    for layers in options.layers:
        with TemporaryDirectory(dir=options.folder) as folder:
            setups = {name: (SETUPS[name], Path(folder) / name, layers) for name in options.only}
            with peers(setups, threads=1) as up:
                found[layers] = in_turn(up, options.repeats)
    print(table(found))
    write(options.json, {"machine": machine(1), "hidden": HIDDEN, "layers": found})


def shape(layers: int) -> Any:
    from rl_distill.models.loading import Architecture

    return Architecture(hidden_size=HIDDEN, intermediate_size=4 * HIDDEN, num_layers=layers, num_heads=8, num_key_value_heads=2)


def state_bytes(layers: int) -> int:
    """Of the weights and two moments of each."""
    from rl_distill.models.vocabulary import arithmetic_tokenizer

    return 3 * sum(weight.nbytes for weight in shape(layers).build(arithmetic_tokenizer()).parameters())


def local(folder: Path, layers: int) -> Callable[[], Mapping[str, float]]:
    from rl_distill.algorithms import ALGORITHMS
    from rl_distill.learning.learner import LearnerConfig
    from rl_distill.learning.local_learner import LocalLearner
    from rl_distill.models.vocabulary import arithmetic_tokenizer

    tokenizer = arithmetic_tokenizer()
    config = LearnerConfig(schedule="constant", warmup_steps=0, device="cpu")
    return _turns(LocalLearner(shape(layers).build(tokenizer), tokenizer, ALGORITHMS["sft"](), config), folder, layers)


def deepspeed(folder: Path, layers: int) -> Callable[[], Mapping[str, float]]:
    from rl_distill.algorithms import ALGORITHMS
    from rl_distill.cluster.process_setup import free_address
    from rl_distill.learning.deepspeed_learner import DeepspeedRank, Sharding, join
    from rl_distill.learning.learner import LearnerConfig
    from rl_distill.learning.loss_term import LossTerm
    from rl_distill.models.vocabulary import arithmetic_tokenizer

    tokenizer = arithmetic_tokenizer()
    join(0, 1, *free_address(), timeout_seconds=60)
    terms, config = [LossTerm(algorithm=ALGORITHMS["sft"]())], LearnerConfig(schedule="constant", warmup_steps=0)
    learner = DeepspeedRank(shape(layers).build(tokenizer), tokenizer, terms, config, Sharding(stage=1), total_steps=None)
    return _turns(learner, folder, layers)


def _turns(learner: Any, folder: Path, layers: int) -> Callable[[], Mapping[str, float]]:
    from rl_distill.learning.checkpoint import Checkpoints

    checkpoints, size, steps = Checkpoints(folder, keep_last=1), state_bytes(layers), iter(range(1, 10**6))

    def restore() -> None:
        newest = checkpoints.latest(print)
        assert newest is not None, "it has just been saved"
        learner.load(newest)

    return lambda: _saved_and_restored(lambda: checkpoints.save(next(steps), {}, learner.save), restore, folder, size)


def plain(folder: Path, layers: int) -> Callable[[], Mapping[str, float]]:
    folder.mkdir()
    content = os.urandom(state_bytes(layers))

    def save() -> None:
        with (folder / "state").open("wb") as file:
            file.write(content)
            os.fsync(file.fileno())

    return lambda: _saved_and_restored(save, (folder / "state").read_bytes, folder, len(content))


def _saved_and_restored(save: Callable[[], Any], restore: Callable[[], Any], folder: Path, size: int) -> Mapping[str, float]:
    started = time.perf_counter()
    save()
    saved = time.perf_counter() - started
    for path in (path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    started = time.perf_counter()
    restore()
    return {"save": saved, "restore": time.perf_counter() - started, "bytes": float(size)}


SETUPS = {LOCAL: local, DEEPSPEED: deepspeed, PLAIN: plain}


def table(found: Mapping[int, Mapping[str, Mapping[str, float]]]) -> str:
    from rl_distill.markdown_table import markdown

    header = ("layers", "MiB", "", "save, s", "MiB/s", "of plain", "restore, s", "MiB/s", "of plain")
    rows = []
    for layers, peers_found in found.items():
        for name, one in peers_found.items():
            size, cells = one["bytes"] / MIB, []
            for phase in ("save", "restore"):
                share = f"{peers_found[PLAIN][phase] / one[phase]:.2f}" if PLAIN in peers_found else "-"
                cells += [f"{one[phase]:.3f}", f"{size / one[phase]:,.0f}", share]
            rows.append((str(layers), f"{size:,.0f}", name, *cells))
    return markdown(header, rows)


if __name__ == "__main__":
    main()
