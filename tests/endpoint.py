"""An endpoint on the loopback interface that answers by the seed and fails in many ways, and a llama.cpp server."""

import json
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WAYS = ("429", "500", "reset", "timeout", "malformed", "truncated", "empty")
SENT: dict[str, tuple[Any, ...]] = {
    "429 by the millisecond": (429, {}, {"retry-after-ms": "40"}),
    "429 by a reset": (429, {}, {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30ms"}),
    "429 by itself": (429, b""),
    "503 that asks to wait": (503, b"<html><title>Busy</title></html>", {"Retry-After": "0.05"}),
    "502 by a gateway": (502, b"<html><title>Bad gateway</title></html>", {"Content-Type": "text/html"}),
    "200 that is overloaded": (200, {"error": {"message": "The model is overloaded \ud83d", "code": 529}}),
    "200 that asks to come again": (200, {"error": "Please try again later"}),
    "a web page": (200, b"<!DOCTYPE html><title>Sign in</title>", {"Content-Type": "text/html"}),
    "nothing": (200, b""),
    "a list": (200, []),
    "very deep": (200, b"[" * 50_000),
    "not UTF-8": (200, b"\xff\xfe\x00"),
    "null choices": (200, {"choices": None}),
    "choices in an object": (200, {"choices": {"0": {}}}),
    "a null message": (200, {"choices": [{"message": None, "finish_reason": None}]}),
    "a number for a text": (200, {"choices": [{"message": {"content": 7}}]}),
    "a failed choice": (200, {"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "Gone"}}]}),
}
"""Further ways to fail: status, body and headers."""
SLOW = 4.0
"""Seconds of silence in a `timeout`."""


class Endpoint:
    """Generates a text or survey answer from each request's seed, and counts what it generated.

    Args:
        share: fraction of the requests that fail, before anything is generated, in one of `ways`.
        respond: replaces the generated answer: status, body (an object or bytes) and headers, from request and key.
        logprobs: include log-probabilities in survey answers.
    """

    def __init__(
        self,
        share: float = 0.0,
        ways: tuple[str, ...] = WAYS,
        respond: Callable[[dict[str, Any], str], tuple[Any, ...]] | None = None,
        logprobs: bool = True,
        port: int = 0,
    ) -> None:
        self.share, self.ways, self.respond, self.logprobs = share, ways, respond, logprobs
        self.generated: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.asked: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        """Path and headers of each request."""
        self.now, self.most = 0, 0
        self.connections: set[socket.socket] = set()
        self._random = random.Random(1)
        self.lock = threading.Lock()
        self.start(port)

    def start(self, port: int) -> None:
        endpoint = self

        class Handler(_Handler):
            of = endpoint

        self.server = _Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def fault(self) -> str | None:
        with self.lock:
            way = self._random.choice(self.ways) if self._random.random() < self.share else None
            if way:
                self.failed[way] += 1
            return way

    def stop(self) -> None:
        """Behave as if the process had died: nobody listens, and open connections break."""
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that went away; they are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    of: Endpoint
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.of.connections.add(self.connection)

    def finish(self) -> None:
        self.of.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        endpoint = self.of
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Authorization", "")
        with endpoint.lock:
            endpoint.asked.append(body)
            endpoint.times.append(time.monotonic())
            endpoint.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            endpoint.now += 1
            endpoint.most = max(endpoint.most, endpoint.now)
        try:
            way = endpoint.fault()
            if way:
                self._fail(way, key)
            elif endpoint.respond:
                self._send(*endpoint.respond(body, key))
            else:
                with endpoint.lock:
                    endpoint.generated[identity(body)] += 1
                self._send(200, answer(body, endpoint.logprobs))
        finally:
            with endpoint.lock:
                endpoint.now -= 1

    def _fail(self, way: str, key: str) -> None:
        said = {"error": {"message": f"something is wrong with {key}"}}
        match way:
            case _ if way in SENT:
                self._send(*SENT[way])
            case "429":
                self._send(429, said, {"Retry-After": "0.05"})
            case "500":
                self._send(500, said)
            case "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            case "timeout":
                time.sleep(SLOW)
                self.close_connection = True
            case "malformed":
                self._raw(200, f'{{"choices": [{{"message": "{key}'.encode())
            case "truncated":
                whole = json.dumps({"choices": [{"message": {"content": key}}]}).encode()
                self._raw(200, whole[:20], length=len(whole))
                self.close_connection = True
            case _:
                self._send(200, {"choices": [], "note": key})

    def _send(self, status: int, body: dict[str, Any] | bytes, headers: dict[str, str] | None = None) -> None:
        self._raw(status, body if isinstance(body, bytes) else json.dumps(body).encode(), headers=headers)

    def _raw(self, status: int, raw: bytes, length: int | None = None, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        sent = {"Content-Type": "application/json", "Content-Length": str(len(raw) if length is None else length)}
        for name, value in {**sent, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)


def identity(body: dict[str, Any]) -> str:
    """What distinguishes a request from every other: its seed and prompt."""
    return f"{body['seed']} {json.dumps(body['messages'])}"


def answer(body: dict[str, Any], logprobs: bool) -> dict[str, Any]:
    """What a model might answer."""
    prompt, seed = body["messages"][0]["content"], body["seed"]
    story = re.search(r"life story of (\w+)", prompt)
    if story:
        text = f" {story[1]} is your name. " + "You have worked for what you and your people have. " * 4
    elif "logprobs" in body or "Answer with one number" in prompt:
        text = str(seed % 11)
    else:
        text = f" This is what I think, and its number is {seed}."
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    if logprobs and "logprobs" in body:
        near = [{"token": str(n), "logprob": -0.1 - abs(n - seed % 11)} for n in range(11)]
        choice["logprobs"] = {"content": [{**near[seed % 11], "top_logprobs": near}]}
    usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(text) // 4 + 1}
    return {"object": "chat.completion", "choices": [choice], "usage": usage}


def free_port() -> int:
    """A port on which nobody listens."""
    with closing(socket.socket()) as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


_LLAMA = """
import sys, time, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.port, p.hostnames = sys.argv[1], int(sys.argv[2]), ["127.0.0.1"]
p.n_parallel = 2
p.n_ctx = 4096 * p.n_parallel
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(p)
sys.stdin.read()
"""


def llama(gguf: Path, port: int) -> "subprocess.Popen[bytes]":
    """Start a llama.cpp server with this model in its own process, which ends when its stdin is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", _LLAMA, str(gguf), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
