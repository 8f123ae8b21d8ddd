"""The simulated judge behind HTTP: an OpenAI-compatible server on loopback, with the faults that real ones have."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

from equiloss.errors import InputError
from judge.simulate.batches import Batches
from judge.simulate.quirks import logprobs_of, refuse_form
from judge.simulate.replies import Simulation, uniform

HTTP_FAULTS = ("429", "500", "503", "reset", "slow", "html", "hang")
CONTENT_FAULTS = ("refusal", "malformed", "truncated")
BATCH_FAULTS = ("batch-error", "batch-expired")
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_HTML = b"<html><body>502 Bad Gateway</body></html>"


@dataclass
class Service:
    """How the server behaves around the simulated judge. Latencies in seconds; `faults` are rates by kind.

    latency_sigma: log-normal spread of the latency. server: which server's peculiarities to imitate. rpm, tpm: limits
    that are enforced and announced in headers. batch_s: how long a batch takes. key: the API key that it wants.
    """

    simulation: Simulation = field(default_factory=Simulation)
    latency_s: float = 0.0
    latency_sigma: float = 0.0
    faults: dict[str, float] = field(default_factory=dict[str, float])
    retry_after_s: float = 1.0
    server: str = "openai"
    rpm: int | None = None
    tpm: int | None = None
    batch_s: float = 0.0
    stop_after: int | None = None
    key: str | None = None
    record: bool = False

    def __post_init__(self) -> None:
        for kind, rate in self.faults.items():
            if kind not in HTTP_FAULTS + BATCH_FAULTS:
                raise InputError(
                    f"--fault {kind} is not known", f"known: {', '.join(HTTP_FAULTS + CONTENT_FAULTS + BATCH_FAULTS)}"
                )
            if not 0 <= rate <= 1:
                raise InputError(f"--fault {kind}={rate:g} is not a share from 0 to 1", "e.g. --fault 500=0.02")


class Server:
    """A running server: what it was asked, and its URL once it listens."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.port = 0
        self.counts: dict[str, int] = {}
        self.judgements = 0
        self.bodies: list[dict[str, Any]] = []
        self.batches = Batches(service.simulation, service.faults, service.batch_s)
        self.most_at_once = 0
        self.stopped = asyncio.Event()
        self._attempts: dict[bytes, int] = {}
        self._at_once = 0
        self._first_request = self._last_reply = 0.0
        self._window: list[tuple[float, int]] = []
        self._connections: set[_Connection] = set()

    @property
    def url(self) -> str:
        """The base URL for a client."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def listen(self, port: int = 0) -> asyncio.Server:
        """Listen on a loopback port (0: a free one)."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", port, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def count(self, what: str) -> None:
        """Count an event, and stop when enough judgements were given."""
        if what == "requests":
            self._first_request = self._first_request or time.monotonic()
        elif what == "200":
            self._last_reply = time.monotonic()
        self.counts[what] = self.counts.get(what, 0) + 1
        if what == "200" and self.service.stop_after is not None and self.counts[what] >= self.service.stop_after:
            asyncio.get_running_loop().call_later(0.05, self.stopped.set)

    def stats(self) -> dict[str, Any]:
        """What was counted since the last look, and the seconds from the first request to the last reply."""
        found = {"counts": self.counts, "span_s": self._last_reply - self._first_request}
        self.counts = {}
        self._first_request = self._last_reply = 0.0
        return found

    def attempt_of(self, body: bytes) -> int:
        """How often exactly this body came before."""
        key = hashlib.blake2b(body, digest_size=12).digest()
        attempt = self._attempts.get(key, 0)
        self._attempts[key] = attempt + 1
        return attempt

    def over_limit(self, tokens: int) -> bool:
        """Whether a request exceeds the limits per minute; counts it when it does not."""
        service = self.service
        if service.rpm is None and service.tpm is None:
            return False
        now = time.monotonic()
        self._window = [one for one in self._window if one[0] > now - 60]
        if service.rpm is not None and len(self._window) >= service.rpm:
            return True
        if service.tpm is not None and sum(one[1] for one in self._window) + tokens > service.tpm:
            return True
        self._window.append((now, tokens))
        return False

    def limit_headers(self) -> dict[str, str]:
        """The `x-ratelimit-*` headers of the limits that are set."""
        service, headers = self.service, dict[str, str]()
        used = sum(one[1] for one in self._window)
        reset = f"{max(0.0, 60 - time.monotonic() + self._window[0][0]):.3f}s" if self._window else "0s"
        for kind, limit, spent in (("requests", service.rpm, len(self._window)), ("tokens", service.tpm, used)):
            if limit is not None:
                headers[f"x-ratelimit-limit-{kind}"] = str(limit)
                headers[f"x-ratelimit-remaining-{kind}"] = str(max(0, limit - spent))
                headers[f"x-ratelimit-reset-{kind}"] = reset
        return headers

    def busy(self, change: int) -> None:
        """Count requests in flight."""
        self._at_once += change
        self.most_at_once = max(self.most_at_once, self._at_once)

    def attach(self, connection: _Connection, on: bool) -> None:
        """Keep track of open connections."""
        (self._connections.add if on else self._connections.discard)(connection)

    def hang_up(self) -> None:
        """Close all open connections."""
        for connection in list(self._connections):
            connection.close()


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, kept alive. Requests on it are answered one after the other."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.attach(self, True)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._server.attach(self, False)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            length = int(headers.get("content-length", "0"))
            if headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if len(self._buffer) < end + 4 + length:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            method, path, *_ = head[0].split(" ")
            self._route(method, path.partition("?")[0], headers, body)

    def _route(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        server = self._server
        if server.service.key is not None and headers.get("authorization") != f"Bearer {server.service.key}":
            self._send(401, _error("Incorrect API key provided", "invalid_api_key"))
        elif method == "POST" and path in ("/v1/chat/completions", "/chat/completions"):
            self._chat(body)
        elif method == "GET" and path == "/simulation":
            self._send(200, server.stats())
        elif method == "GET" and path.endswith("/models"):
            names = list(server.service.simulation.models) or ["simulated"]
            rows = [{"id": name, "object": "model", "created": 0, "owned_by": "equiloss"} for name in names]
            self._send(200, {"object": "list", "data": rows})
        elif "/files" in path or "/batches" in path:
            status, document = server.batches.handle(method, path, headers, body)
            server.count(f"batch {status}")
            self._send(status, document)
        else:
            self._send(404, _error(f"no such endpoint: {method} {path}", "not_found"))

    def _chat(self, raw: bytes) -> None:
        server, service = self._server, self._server.service
        server.count("requests")
        attempt = server.attempt_of(raw)
        try:
            body: Any = json.loads(raw)
        except ValueError:
            return self._send(400, _error("the body is not JSON", "invalid_json"))
        if not isinstance(body, dict):
            return self._send(400, _error("the body is not an object", "invalid_json"))
        document = cast("dict[str, Any]", body)
        if service.record:
            server.bodies.append(document)
        seed, key = service.simulation.seed, hashlib.blake2b(raw, digest_size=12).hexdigest()
        if refused := refuse_form(service.server, document):
            server.count(str(refused[0]))
            return self._send(*refused)
        tokens = len(raw) // 4
        if server.over_limit(tokens):
            server.count("429")
            return self._limited(service.retry_after_s)
        if kind := self._fault(seed, key, attempt):
            server.count(kind)
            return self._fail(kind)
        latency = service.latency_s
        if service.latency_sigma:
            lot = min(max(uniform(seed, "latency", key, attempt), 1e-9), 1 - 1e-9)
            latency *= math.exp(service.latency_sigma * math.sqrt(2) * _erfinv(2 * lot - 1))
        # The reply is made before the wait, so that the latency holds what making it took.
        started = time.perf_counter()
        answer = json.dumps(self._completion(document, key)).encode()
        rest = max(0.0, latency - (time.perf_counter() - started))
        server.busy(1)
        asyncio.get_running_loop().call_later(rest, self._finish, answer)
        return None

    def _finish(self, answer: bytes) -> None:
        self._server.busy(-1)
        self._server.count("200")
        self._server.judgements += 1
        self._write(200, answer, self._server.limit_headers())

    def _completion(self, body: dict[str, Any], key: str) -> dict[str, Any]:
        service = self._server.service
        reply = service.simulation.reply(body)
        text = reply["content"] or ""
        message = {"role": "assistant", "content": reply["content"], "refusal": reply.get("refusal")}
        if service.server == "llama-cpp":
            message.pop("refusal")
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": reply["finish_reason"]}
        if body.get("logprobs") and service.server != "ollama":
            choice["logprobs"] = {"content": logprobs_of(text, service.simulation.seed, service.server)}
        prompt_tokens = sum(len(str(one.get("content"))) for one in body.get("messages", [])) // 4
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": len(text) // 4 + 1}
        return {
            "id": f"chatcmpl-{key[:12]}",
            "object": "chat.completion",
            "created": 0,
            "model": str(body.get("model")),
            "choices": [choice],
            "usage": {**usage, "total_tokens": sum(usage.values())},
        }

    def _fault(self, seed: int, key: str, attempt: int) -> str | None:
        lot = uniform(seed, "fault", key, attempt)
        for kind in HTTP_FAULTS:
            rate = self._server.service.faults.get(kind, 0.0)
            if lot < rate:
                return kind
            lot -= rate
        return None

    def _fail(self, kind: str) -> None:
        if kind == "429":
            self._limited(self._server.service.retry_after_s)
        elif kind in ("500", "503"):
            self._send(int(kind), _error("the simulated server failed", "server_error"))
        elif kind == "html":
            self._write(200, _HTML, {}, "text/html")
        elif kind == "slow":
            self._drip(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n" + b" " * 400)
        elif kind == "reset":
            self.close()

    def _limited(self, seconds: float) -> None:
        headers = {**self._server.limit_headers(), "retry-after": f"{seconds:g}"}
        self._send(429, _error("Rate limit reached", "rate_limit_exceeded"), headers)

    def _drip(self, data: bytes) -> None:
        """A slow loris: a byte every half second, so that only a deadline on the whole answer ends it."""
        if self._transport is not None and data:
            self._transport.write(data[:1])
            asyncio.get_running_loop().call_later(0.5, self._drip, data[1:])

    def _send(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self._write(status, body, headers or {})

    def _write(self, status: int, body: bytes, headers: dict[str, str], kind: str = "application/json") -> None:
        if self._transport is None:
            return
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", f"Content-Type: {kind}",
                 f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]  # fmt: skip
        self._transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


@contextmanager
def serving(service: Service | None = None, port: int = 0) -> Generator[Server]:
    """Serve from a thread of this process, on a free port unless one is given: for tests and short demonstrations."""
    ready = threading.Event()
    found: list[Server] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        server = Server(service or Service())
        listener = await server.listen(port)
        found.append(server)
        loops.append(asyncio.get_running_loop())
        ready.set()
        await server.stopped.wait()
        listener.close()
        server.hang_up()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    if not ready.wait(10):
        raise RuntimeError("the simulated judge did not start")
    try:
        yield found[0]
    finally:
        with suppress(RuntimeError):  # it has stopped by itself
            loops[0].call_soon_threadsafe(found[0].stopped.set)
        thread.join(10)


async def serve(service: Service, port: int, seconds: float | None, on_ready: Callable[[Server], None]) -> Server:
    """Serve until enough was asked, the time is over, or the task is cancelled.

    Raises: InputError when the port is taken.
    """
    server = Server(service)
    try:
        listener = await server.listen(port)
    except OSError as error:
        raise InputError(f"port {port} on 127.0.0.1 cannot be had: {error.strerror}", "choose another --port") from None
    on_ready(server)
    try:
        await asyncio.wait_for(server.stopped.wait(), seconds)
    except TimeoutError:
        pass
    finally:
        listener.close()
        server.hang_up()
    return server


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


def _erfinv(x: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf((x + 1) / 2) / math.sqrt(2)
