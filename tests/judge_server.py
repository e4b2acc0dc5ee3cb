"""A chat-completions server in the test process that answers as a function of the test says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[str, int], str | tuple[str, str]]  # question and seed to a text, or to a text and a finish reason


@dataclass
class JudgeServer:
    """A running server; `reply` may be changed while it runs.

    bodies  of all requests, in order of arrival
    """

    reply: Reply
    base_url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        said = self.reply(body["messages"][-1]["content"], body["seed"])
        text, finish = said if isinstance(said, tuple) else (said, "stop")
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        return {"id": "c", "model": "judge", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}


@contextmanager
def judge_server(reply: Reply) -> Iterator[JudgeServer]:
    """On a free port, until the block ends."""
    running = JudgeServer(reply)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body.get("messages"):
                running.bodies.append(body)
                status, answer = 200, json.dumps(running.completion(body)).encode()
            else:  # some clients look at the headers first
                status, answer = 400, b'{"error": {"message": "nothing was asked"}}'
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            with suppress(ConnectionError):  # who asked does not wait for ever
                self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Tests are quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        running.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()
