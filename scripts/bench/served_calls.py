"""Answers a second of a curation's teacher client against what its server gives to the plainest loop around the `openai` package.

    python scripts/bench/served_calls.py experiments/curation/served.yaml --requests 320 --repeats 5

Both send the same requests of the recipe, seeds included, with as many under way at a time; they take turns, each first in every
other round, after one round that warms the server and is not counted. Ours also admits, checks, stores and counts every answer.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from openai import AsyncOpenAI
from turns import at_least_one, json_file, machine, write

from rl_distill.curation.generate import generate
from rl_distill.curation.openai_teacher import OpenAiTeacherConfig, arguments_of
from rl_distill.curation.pipeline import Curation, requests_to, store_settings
from rl_distill.curation.recipe import Asking, CurationRecipe, load_curation
from rl_distill.curation.store import ResponseStore
from rl_distill.curation.teacher import TeacherRequest
from rl_distill.curation.teachers import build_teacher


def ours(asking: Asking, requests: Sequence[TeacherRequest], seed: int) -> tuple[float, int]:
    """(seconds, generated tokens)."""
    teacher = build_teacher(asking.teacher, asking.limits.retry)
    with tempfile.TemporaryDirectory() as folder, ResponseStore(Path(folder), store_settings(asking, teacher, seed)) as store:
        began = time.perf_counter()
        made = generate(teacher, requests, store, asking.limits, lambda note: None)
        return time.perf_counter() - began, int(made.spent.completion_tokens)


def plain(teacher: OpenAiTeacherConfig, requests: Sequence[TeacherRequest]) -> tuple[float, int]:
    """(seconds, generated tokens)."""
    return asyncio.run(_plain(teacher, requests))


async def _plain(teacher: OpenAiTeacherConfig, requests: Sequence[TeacherRequest]) -> tuple[float, int]:
    (endpoint,) = teacher.endpoints
    client: Any = AsyncOpenAI(base_url=endpoint.base_url, api_key="none", max_retries=0, timeout=teacher.request_timeout)
    left, tokens = iter(requests), 0

    async def work() -> None:
        nonlocal tokens
        for request in left:
            answer = await client.chat.completions.create(**arguments_of(teacher.model, request))
            tokens += answer.usage.completion_tokens

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(endpoint.concurrency)))
    seconds = time.perf_counter() - began
    await client.close()
    return seconds, tokens


def drawn_requests(recipe: CurationRecipe, asking: Asking, count: int) -> list[TeacherRequest]:
    """Of all problems, in a random order that is always the same."""
    with tempfile.TemporaryDirectory() as folder:
        pool = Curation(replace(recipe, folder=folder), lambda note: None).pool()
    requests = requests_to(asking, [group.problem for group in pool], recipe.seed)
    return Random(0).sample(requests, min(count, len(requests)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--requests", type=at_least_one, default=320)
    parser.add_argument("--repeats", type=at_least_one, default=5)
    parser.add_argument("--json", type=json_file, help="file to write")
    given = parser.parse_args()
    recipe = load_curation(given.recipe, given.overrides)
    asking = recipe.generate
    if asking is None or not isinstance(asking.teacher, OpenAiTeacherConfig):
        parser.error(f"{given.recipe} asks no `openai` teacher")
    requests, teacher = drawn_requests(recipe, asking, given.requests), asking.teacher
    rates: dict[str, list[float]] = {"plain": [], "ours": []}
    plain(teacher, requests)
    for turn in range(given.repeats):
        for who in sorted(rates, reverse=bool(turn % 2)):
            seconds, tokens = plain(teacher, requests) if who == "plain" else ours(asking, requests, recipe.seed)
            rates[who].append(len(requests) / seconds)
            print(f"{who}: {rates[who][-1]:.1f} answers/s, {tokens / seconds:,.0f} tokens/s", flush=True)
    ratios = [one / other for one, other in zip(rates["ours"], rates["plain"], strict=True)]
    print(f"median of {given.repeats}: plain {median(rates['plain']):.1f}/s, ours {median(rates['ours']):.1f}/s")
    print(f"ours / plain: {median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})")
    write(given.json, {"machine": machine(1), "answers_per_second": rates, "ratio_to_plain": median(ratios)})


if __name__ == "__main__":
    main()
