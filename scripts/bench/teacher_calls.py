"""Requests a second of our teacher client against the limits of the server that it asks.

    python scripts/bench/teacher_calls.py [--json FILE]

The server is the one of the tests, in a process of its own: it answers at once, or after some time, or refuses what passes a
limit in a sliding window. Beside it: a bare asyncio client that writes such requests to as many sockets and reads the answers.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from chat_server import chat_server  # noqa: E402
from teacher_calls import asked, settings_of, teacher_at  # noqa: E402
from turns import json_file, machine, write  # noqa: E402

from rl_distill.curation.generate import Generation, generate  # noqa: E402
from rl_distill.curation.store import ResponseStore  # noqa: E402


def ours(url: str, num_requests: int, concurrency: int, **limits: float) -> tuple[float, int, float]:
    """(requests a second, calls that were refused, milliseconds of this process's core for each request)."""
    requests = asked([f"question {number}" for number in range(num_requests)])
    with tempfile.TemporaryDirectory() as folder:
        teacher = teacher_at(url, concurrency=concurrency, request_timeout=60.0, **limits)
        with ResponseStore(Path(folder), settings_of(teacher)) as store:
            began, core = time.perf_counter(), time.process_time()
            made = generate(teacher, requests, store, Generation(), lambda note: None)
            seconds, core = time.perf_counter() - began, time.process_time() - core
            refused = sum(len(response.attempts) - 1 for response in made.responses())
    return num_requests / seconds, refused, 1000 * core / num_requests


async def bare(url: str, num_requests: int, concurrency: int) -> float:
    """Requests a second of the plainest client that there is."""
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    body = json.dumps(
        {"model": "tiny", "messages": [{"role": "user", "content": "question"}], "max_tokens": 20, "seed": 1}
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    left = iter(range(num_requests))

    async def work() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in left:
            writer.write(head + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            json.loads(await reader.readexactly(length))
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return num_requests / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=json_file, help="file to write")
    given = parser.parse_args()
    rates: dict[str, float] = {}
    with chat_server() as server:
        rates["at once, bare"] = asyncio.run(bare(server.base_url, 3000, 32))
        print(f"server answers at once, 32 at a time: bare client {rates['at once, bare']:.0f}/s", end=", ")
        rate, _, core = ours(server.base_url, 1500, 32)
        rates["at once"] = rate
        print(f"ours {rate:.0f}/s with {core:.1f} ms of the core a call")
    for seconds, concurrency in ((1.0, 32), (1.0, 200)):
        with chat_server(seconds=seconds) as server:
            rate, _, _ = ours(server.base_url, 6 * concurrency, concurrency)
            limit = concurrency / seconds
            rates[f"after {seconds:g} s, {concurrency} at a time"] = rate
            print(f"answers take {seconds:g} s, {concurrency} at a time: {rate:.1f}/s of {limit:.0f}/s ({rate / limit:.0%})")
    for per_second in (10, 50):
        with chat_server(per_window=per_second * 10, window=10.0) as server:
            rate, refused, _ = ours(server.base_url, per_second * 20, 64, requests_per_minute=per_second * 60)
            rates[f"{per_second}/s allowed"] = rate
            print(f"server allows {per_second}/s: {rate:.2f}/s ({rate / per_second:.0%}), {refused} refused")
            rate, refused, _ = ours(server.base_url, per_second * 20, 64)
            rates[f"{per_second}/s allowed, not told"] = rate
            print(f"server allows {per_second}/s, client not told: {rate:.2f}/s ({rate / per_second:.0%}), {refused} refused")
    write(given.json, {"machine": machine(1), "calls_per_second": rates, "core_ms": core})


if __name__ == "__main__":
    main()
