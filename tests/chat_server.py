"""A chat-completions server in a process of its own that misbehaves as the question tells it to.

A chain of the micro-world ("9 + 2 - 8 = ?") is solved, wrongly by one seed in three. With a JSON schema it judges: a solution is
right that says so. About probes it says what `probe_replies.py` has, as a teacher or, called "base", as a student. A question
"3 apples: 429, cut, ok" is answered with HTTP 429 at its first call, a broken connection at its second, well from then on; one
without a colon is answered well. It speaks HTTP itself, as no server library would send what it sends.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

import probe_replies

ERRORS = {
    "400": "bad",
    "401": "no such key",
    "403": "forbidden",
    "404": "no such model",
    "422": "odd",
    "429": "slow down",
    "500": "oops",
}
BODIES = {"garbage": b"<html>it works</html>", "unlike": b'{"hello": 1}', "nothing": b"", "deep": b"[" * 100_000}
JUDGED = re.compile("# Solution|# The student's explanation")  # what a judge is shown
QUOTA = {"error": {"message": "out of money", "type": "insufficient_quota", "code": "insufficient_quota"}}


@dataclass(frozen=True)
class ChatServer:
    """A running server."""

    base_url: str
    process: "subprocess.Popen[str]"

    def calls(self) -> list[dict[str, Any]]:
        """What it was asked, in order: `question`, `body`, `key`, `began`, and `under_way` at the time."""
        with urlopen(self.base_url.removesuffix("/v1") + "/calls") as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found


@contextmanager
def chat_server(*, seconds: float = 0.0, per_window: int = 0, window: float = 60.0, model: str = "tiny") -> Iterator[ChatServer]:
    """A server on a free port.

    Args:
        seconds: that an answer takes.
        per_window: calls that it answers in any `window` seconds, the others get 429; 0: no limit.
    """
    command = [
        sys.executable,
        __file__,
        f"--seconds={seconds}",
        f"--per-window={per_window}",
        f"--window={window}",
        f"--model={model}",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield ChatServer(f"http://127.0.0.1:{port}/v1", process)
        finally:
            process.kill()


class _Service:
    def __init__(self, seconds: float, per_window: int, window: float, model: str) -> None:
        self.seconds, self.per_window, self.window, self.model = seconds, per_window, window, model
        self.calls: list[dict[str, Any]] = []
        self.asked: Counter[str] = Counter()
        self.recent: deque[float] = deque()
        self.under_way = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                names = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
                body = await reader.readexactly(int(names.get(b"content-length", 0)))
                if head.startswith(b"GET /calls"):
                    _send(writer, 200, self.calls)
                elif await self.answer(writer, json.loads(body), names.get(b"authorization", b"").decode()) == "close":
                    break
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, writer: asyncio.StreamWriter, body: dict[str, Any], key: str) -> str:
        if not body["messages"]:  # some clients look at the headers first
            _send(writer, 400, {"error": {"message": "nothing was asked"}})
            return "keep"
        question = body["messages"][-1]["content"]
        self.under_way += 1
        call = {"question": question, "body": body, "key": key, "began": time.monotonic(), "under_way": self.under_way}
        self.calls.append(call)
        try:
            if self.is_too_much():
                _send(writer, 429, {"error": {"message": "slow down"}}, "Retry-After: 0.2\r\n")
                return "keep"
            steps = "" if JUDGED.search(question) else question.partition(":")[2]
            plan = [step.strip() for step in steps.split(",")] if steps else ["ok"]
            behavior = plan[min(self.asked[question], len(plan) - 1)]
            self.asked[question] += 1
            await asyncio.sleep(self.seconds)
            return await self.behave(writer, behavior, body, key)
        finally:
            self.under_way -= 1

    def is_too_much(self) -> bool:
        now = time.monotonic()
        while self.recent and self.recent[0] <= now - self.window:
            self.recent.popleft()
        if self.per_window and len(self.recent) >= self.per_window:
            return True
        self.recent.append(now)
        return False

    async def behave(self, writer: asyncio.StreamWriter, behavior: str, body: dict[str, Any], key: str) -> str:
        """Whether to "keep" the connection or to "close" it."""
        if behavior in ERRORS:
            _send(writer, int(behavior), {"error": {"message": ERRORS[behavior]}})
        elif behavior in BODIES:
            _send_bytes(writer, 200, BODIES[behavior])
        elif behavior == "quota":
            _send(writer, 429, QUOTA)
        elif behavior == "quoting":
            _send(writer, 401, {"error": {"message": f"incorrect key: {key}"}})
        elif behavior in ("hang", "drip", "cut", "close"):
            await _break_off(writer, behavior)
            return "close"
        else:
            _send(writer, 200, self.completion(behavior, body))
        return "keep"

    def completion(self, behavior: str, body: dict[str, Any]) -> dict[str, Any]:
        question, seed = body["messages"][-1]["content"], body.get("seed")
        text = {"empty": " ", "json": '{"correct": true}', "same": "always this", "filtered": ""}.get(
            behavior, f"{question} {seed}"
        )
        if question.endswith(" = ?"):
            text = solved(question, seed)
        if (said := probe_replies.reply(body["messages"], is_student=self.model == "base")) is not None:
            text = said
        if shown := JUDGED.split(question)[1:]:
            text = json.dumps({"reason": "so it is", "correct": "right" in shown[0]})
        finish = {"length": "length", "filtered": "content_filter", "odd_end": "abort"}.get(behavior, "stop")
        if behavior.startswith("needs"):  # so many tokens
            finish = "stop" if body["max_tokens"] >= int(behavior[5:]) else "length"
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        if behavior == "reasoning":
            choice["message"]["reasoning_content"] = "hm"
        if body.get("logprobs") and behavior != "no_logprobs":
            likely = [{"token": "abc"[place], "logprob": -0.5 - place} for place in range(body.get("top_logprobs") or 0)]
            kept = likely[:1] if behavior == "few_logprobs" else likely
            choice["logprobs"] = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": kept}]}
        answer = {"id": "c-1", "model": "other" if behavior == "other_model" else self.model, "choices": [choice]}
        if behavior != "no_usage":
            answer["usage"] = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return answer


def solved(question: str, seed: int) -> str:
    terms = question.removesuffix(" = ?").replace(" - ", " -").replace(" + ", " ").split()
    return f"<think> {question} </think> \\boxed{{{sum(map(int, terms)) + (seed % 3 == 0)}}}"


async def _break_off(writer: asyncio.StreamWriter, behavior: str) -> None:
    if behavior == "hang":
        await asyncio.sleep(3600)
    if behavior == "drip":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)
    if behavior == "cut":
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"choices": [{"mess')
        await writer.drain()


def _send(writer: asyncio.StreamWriter, status: int, value: Any, headers: str = "") -> None:
    _send_bytes(writer, status, json.dumps(value).encode(), f"Content-Type: application/json\r\n{headers}")


def _send_bytes(writer: asyncio.StreamWriter, status: int, body: bytes, headers: str = "") -> None:
    writer.write(f"HTTP/1.1 {status} Status\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)


async def _main() -> None:
    parser = argparse.ArgumentParser()
    for name, kind in (("seconds", float), ("per-window", int), ("window", float), ("model", str)):
        parser.add_argument(f"--{name}", type=kind)
    arguments = parser.parse_args()
    service = _Service(arguments.seconds, arguments.per_window, arguments.window, arguments.model)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, limit=2**24)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
