"""Answers graded per second, by the package's checker against math_verify called plainly in a loop, and with answers that hang.

    RL_DISTILL_DATA=FOLDER python scripts/bench/verify.py [--json FILE] [--answers 2000] [--hanging-every 100] [--repeats 3]

Real answers of models to GSM8K and MATH problems, as far as the folder has them, and made ones, which are all different and all
need the symbolic comparison. `rl_distill` is `rewards.Accuracy`: cheap checks first, then `--workers` processes with a deadline;
what it remembers of earlier turns is forgotten before each. `math_verify` parses and compares every answer in one process, with
the library's own timers. In the end one answer in a hundred (`--hanging-every`) never ends: it holds a worker until its deadline,
so that all of them take at least the deadline x their number / the workers, with which what they add is compared.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from turns import above_zero, at_least_one, in_turn, json_file, machine, peers, write

OURS, PLAIN, HANGING = "rl_distill", "math_verify", "some hang"
Pair = tuple[str, str]  # gold answer, response


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=at_least_one, default=2000, help="of each set, if it has as many")
    parser.add_argument("--hanging-every", type=at_least_one, default=100, help="one answer of how many never ends")
    parser.add_argument("--workers", type=at_least_one, default=2, help="processes of the package's checker")
    parser.add_argument("--deadline", type=above_zero, default=2.0, help="seconds for a comparison")
    parser.add_argument("--repeats", type=at_least_one, default=3, help="turns that are counted")
    parser.add_argument("--json", type=json_file, help="file to write")
    options = parser.parse_args()
    sets = {name: found[: options.answers] for name, found in answer_sets(options.answers).items()}
    checker = (options.workers, options.deadline)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, pairs in sets.items():
        with peers({OURS: (ours, pairs, *checker), PLAIN: (plain, pairs)}, threads=1) as up:
            found[name] = in_turn(up, options.repeats)
    clean = list(islice(made(), options.answers))
    some_hang = with_hanging(clean, options.hanging_every)
    with peers({"clean": (ours, clean, *checker), HANGING: (ours, some_hang, *checker)}, threads=1) as up:
        hung = in_turn(up, options.repeats)
    hanging = len(clean) // options.hanging_every
    waiting = options.deadline * hanging / options.workers
    added = hung[HANGING]["seconds"] - hung["clean"]["seconds"]
    print(table(found, {name: len(pairs) for name, pairs in sets.items()}))
    if hanging:
        print(f"\n{hanging} of {len(clean)} answers hang: {added:.1f} s more, of it {waiting:.1f} s their deadlines")
        print(f"ratio to what the deadlines alone would add: {added / waiting:.2f}")
    result = {"machine": machine(1), "answers": options.answers, "workers": options.workers, "deadline": options.deadline}
    result |= {"medians": found, "hanging": {"answers": hanging, "medians": hung, "added": added, "deadlines": waiting}}
    write(options.json, result)


def answer_sets(made_up: int) -> dict[str, Sequence[Pair]]:
    """By name, with as many of the last as are asked for."""
    folder = Path(os.environ.get("RL_DISTILL_DATA", "."))
    real = {"GSM8K": _gsm8k(folder / "gsm8k_model_solutions.jsonl"), "MATH": _math(folder / "math_sampled_solutions.jsonl")}
    return {name: pairs for name, pairs in real.items() if pairs} | {"made, all symbolic": list(islice(made(), made_up))}


def made() -> Iterator[Pair]:
    r"""Fractions, half of them right but not reduced: (\frac{1}{2}, \frac{3}{6}), ..."""
    for place in range(1, 10**6):
        top, bottom, times = place, place + 1, 2 + place % 5
        yield rf"\frac{{{top}}}{{{bottom}}}", rf"so \boxed{{\frac{{{top * times + place % 2}}}{{{bottom * times}}}}}"


def with_hanging(pairs: Sequence[Pair], every: int) -> list[Pair]:
    """The last of each `every` is a tower of powers that the library works out digit by digit."""
    return [
        (gold, rf"\boxed{{9^{{9^{{9^{{{9 + place // every}}}}}}}}}" if place % every == every - 1 else response)
        for place, (gold, response) in enumerate(pairs)
    ]


def _gsm8k(path: Path) -> list[Pair]:
    """They end in `A: answer`, which is written as a box, as a student is asked to."""
    return [
        (row["ground_truth"].rpartition("A: ")[2], text + rf"\boxed{{{answer}}}")
        for row in _rows(path)
        for text, mark, answer in (one["text"].rpartition("A: ") for one in row["solutions"])
        if mark
    ]


def _math(path: Path) -> list[Pair]:
    return [(row["gold"], one["text"]) for row in _rows(path) for one in row["samples"]]


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        print(f"left out: there is no {path}; RL_DISTILL_DATA names the folder that has it", file=sys.stderr)
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def ours(pairs: Sequence[Pair], workers: int, deadline: float) -> Callable[[], Mapping[str, float]]:
    from multiprocessing.util import Finalize

    from rl_distill.rewards import Accuracy, accuracy
    from rl_distill.rewards.deadline_pool import close_pools

    Finalize(None, close_pools, exitpriority=1)  # a peer is itself a child process, which waits for its own before atexit's turn
    return partial(_graded, Accuracy(workers=workers, deadline=deadline), accuracy._known, pairs)


def _graded(checker: Any, known: dict[Any, Any], pairs: Sequence[Pair]) -> Mapping[str, float]:
    known.clear()
    started = time.perf_counter()
    verdicts = checker.grade(pairs)
    seconds = time.perf_counter() - started
    methods = Counter(verdict.method for verdict in verdicts)
    correct = sum(verdict.status == "correct" for verdict in verdicts)
    return {"seconds": seconds, "correct": correct, "symbolic": methods["math_verify"], "timeout": methods["timeout"]}


def plain(pairs: Sequence[Pair]) -> Callable[[], Mapping[str, float]]:
    from math_verify import parse, verify

    def turn() -> Mapping[str, float]:
        return {"correct": sum(verify(parse(rf"\boxed{{{gold}}}"), parse(response)) for gold, response in pairs)}

    return turn


def table(found: Mapping[str, Mapping[str, Mapping[str, float]]], sizes: Mapping[str, int]) -> str:
    from rl_distill.markdown_table import markdown

    header = ("answers", "correct", "symbolic", "answers/s", "math_verify: correct", "answers/s", "ratio")
    rows = []
    for name, one in found.items():
        mine, theirs, answers = one[OURS], one[PLAIN], sizes[name]
        cells = (f"{mine['correct']:,.0f}", f"{mine['symbolic']:,.0f}", f"{answers / mine['seconds']:,.0f}")
        other = (f"{theirs['correct']:,.0f}", f"{answers / theirs['seconds']:,.0f}")
        rows.append((f"{answers:,} {name}", *cells, *other, f"{theirs['seconds'] / mine['seconds']:.2f}"))
    return markdown(header, rows)


if __name__ == "__main__":
    main()
