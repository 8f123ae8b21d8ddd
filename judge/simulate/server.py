"""The simulated judge behind HTTP: an OpenAI-compatible server on loopback, with the faults that real ones have."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import cast

from aiohttp import web

from equiloss import console
from equiloss.errors import InputError
from judge.loopback import listening
from judge.simulate.batches import Batches
from judge.simulate.quirks import check_server, completion, error_body, refuse_form
from judge.simulate.replies import CONTENT_FAULTS, ChatRequest, Simulation, uniform

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HTTP_FAULTS = ("429", "500", "503", "reset", "slow", "html", "hang")
BATCH_FAULTS = ("batch-error", "batch-expired")
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
        check_server(self.server)
        for kind, rate in self.faults.items():
            if kind not in HTTP_FAULTS + BATCH_FAULTS:
                known = ", ".join(HTTP_FAULTS + CONTENT_FAULTS + BATCH_FAULTS)
                raise InputError(f"--fault {kind} is not known", f"known: {known}")
            if not 0 <= rate <= 1:
                raise InputError(f"--fault {kind}={rate:g} is not a share from 0 to 1", "e.g. --fault 500=0.02")


def parse_faults(texts: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """The rates of faults in a reply's content, and of all others, from KIND=RATE.

    Raises: InputError naming what is no rate.
    """
    rates: dict[str, float] = {}
    for text in texts:
        kind, _, rate = text.partition("=")
        try:
            rates[kind] = float(rate)
        except ValueError:
            raise InputError(f"--fault {text!r} is not KIND=RATE", "e.g. --fault 429=0.05") from None
    return {kind: rates.pop(kind) for kind in CONTENT_FAULTS if kind in rates}, rates


class Server:
    """A running server: what it was asked, and its URL once it listens."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.port = 0
        self.counts: Counter[str] = Counter()
        self.bodies: list[ChatRequest] = []
        self.batches = Batches(service.simulation, service.faults, service.batch_s)
        self.stopped = asyncio.Event()
        self._attempts: Counter[bytes] = Counter()
        self._first_request = self._last_reply = 0.0
        self._window: list[tuple[float, int]] = []

    @property
    def url(self) -> str:
        """The base URL for a client."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def run(self, port: int, seconds: float | None, on_ready: Callable[[Server], None]) -> None:
        """Serve until enough was asked, the time is over, or `stopped` is set.

        Raises: InputError when the port is taken.
        """
        async with listening(self._application(), port) as self.port:
            on_ready(self)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopped.wait(), seconds)
            self.stopped.set()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._checked], client_max_size=1 << 30)
        application.router.add_get("/simulation", self._stats)
        for prefix in ("/v1", ""):
            application.router.add_post(f"{prefix}/chat/completions", self._chat)
            application.router.add_get(f"{prefix}/models", self._models)
            application.router.add_routes(self.batches.routes(prefix))
        return application

    @web.middleware
    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Nothing without the key; what is not there is said as the API says it."""
        if self.service.key is not None and request.headers.get("Authorization") != f"Bearer {self.service.key}":
            return web.json_response(error_body("Incorrect API key provided", "invalid_api_key"), status=401)
        try:
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            words = f"no such endpoint: {request.method} {request.path}"
            return web.json_response(error_body(words, "not_found"), status=404)

    async def _stats(self, _: web.Request) -> web.Response:
        """What was counted since the last look, and the seconds from the first request to the last reply."""
        counts, self.counts = self.counts, Counter()
        span_s, self._first_request, self._last_reply = self._last_reply - self._first_request, 0.0, 0.0
        return web.json_response({"counts": counts, "span_s": span_s})

    async def _models(self, _: web.Request) -> web.Response:
        names = list(self.service.simulation.models) or ["simulated"]
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "equiloss"} for name in names]
        return web.json_response({"object": "list", "data": rows})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        service, seed, raw = self.service, self.service.simulation.seed, await request.read()
        self.counts["requests"] += 1
        self._first_request = self._first_request or time.monotonic()
        digest = hashlib.blake2b(raw, digest_size=12)
        key, attempt = digest.hexdigest(), self._attempts[digest.digest()]
        self._attempts[digest.digest()] += 1
        try:
            body = json.loads(raw)
        except ValueError:
            return web.json_response(error_body("the body is not JSON", "invalid_json"), status=400)
        if not isinstance(body, dict):
            return web.json_response(error_body("the body is not an object", "invalid_json"), status=400)
        document = cast("ChatRequest", body)
        if service.record:
            self.bodies.append(document)
        if refused := refuse_form(service.server, document):
            self.counts[str(refused[0])] += 1
            return web.json_response(refused[1], status=refused[0])
        if self._over_limit(len(raw) // 4):
            return await self._fail("429", request)
        if kind := self._fault(seed, key, attempt):
            return await self._fail(kind, request)
        latency_s = service.latency_s
        if service.latency_sigma:
            lot = min(max(uniform(seed, "latency", key, attempt), 1e-9), 1 - 1e-9)
            latency_s *= math.exp(service.latency_sigma * NormalDist().inv_cdf(lot))
        # The reply is made before the wait, so that the latency holds what making it took.
        started = time.perf_counter()
        answer = json.dumps(completion(service.simulation, document, key, service.server)).encode()
        await asyncio.sleep(max(0.0, latency_s - (time.perf_counter() - started)))
        self.counts["200"] += 1
        self._last_reply = time.monotonic()
        if service.stop_after is not None and self.counts["200"] >= service.stop_after:
            asyncio.get_running_loop().call_later(0.05, self.stopped.set)
        return web.Response(body=answer, content_type="application/json", headers=self._limit_headers())

    def _fault(self, seed: int, key: str, attempt: int) -> str | None:
        lot = uniform(seed, "fault", key, attempt)
        for kind in HTTP_FAULTS:
            rate = self.service.faults.get(kind, 0.0)
            if lot < rate:
                return kind
            lot -= rate
        return None

    async def _fail(self, kind: str, request: web.Request) -> web.StreamResponse:
        self.counts[kind] += 1
        match kind:
            case "429":
                headers = {**self._limit_headers(), "retry-after": f"{self.service.retry_after_s:g}"}
                words = error_body("Rate limit reached", "rate_limit_exceeded")
                return web.json_response(words, status=429, headers=headers)
            case "html":
                return web.Response(body=_HTML, content_type="text/html")
            case "slow":
                return await self._drip(request)
            case "hang":
                await self.stopped.wait()
            case "reset" if request.transport is not None:
                request.transport.abort()
            case _:
                words = error_body("the simulated server failed", "server_error")
                return web.json_response(words, status=int(kind))
        return web.Response(status=503)  # to nobody: the connection is closed or closing

    async def _drip(self, request: web.Request) -> web.StreamResponse:
        """A slow loris: a byte every half second, so that only a deadline on the whole answer ends it."""
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "400"})
        with suppress(ConnectionError):
            await response.prepare(request)
            for _ in range(400):
                await response.write(b" ")
                await asyncio.sleep(0.5)
        return response

    def _over_limit(self, tokens: int) -> bool:
        """Whether a request exceeds the limits per minute; counts it when it does not."""
        service, now = self.service, time.monotonic()
        if service.rpm is None and service.tpm is None:
            return False
        self._window = [(at, spent) for at, spent in self._window if at > now - 60]
        used = sum(spent for _, spent in self._window)
        if (service.rpm is not None and len(self._window) >= service.rpm) or (
            service.tpm is not None and used + tokens > service.tpm
        ):
            return True
        self._window.append((now, tokens))
        return False

    def _limit_headers(self) -> dict[str, str]:
        """The `x-ratelimit-*` headers of the limits that are set."""
        service, headers = self.service, dict[str, str]()
        used = sum(spent for _, spent in self._window)
        reset = f"{max(0.0, 60 - time.monotonic() + self._window[0][0]):.3f}s" if self._window else "0s"
        for kind, limit, spent in (("requests", service.rpm, len(self._window)), ("tokens", service.tpm, used)):
            if limit is not None:
                headers[f"x-ratelimit-limit-{kind}"] = str(limit)
                headers[f"x-ratelimit-remaining-{kind}"] = str(max(0, limit - spent))
                headers[f"x-ratelimit-reset-{kind}"] = reset
        return headers


def serve(service: Service, port: int, seconds: float | None) -> None:
    """Serve until enough was asked, the time is over, or the person interrupts; prints the URL once it listens.

    Raises: InputError when the port is taken.
    """

    def announce(server: Server) -> None:
        print(server.url, flush=True)
        console.say(f"the simulated judge listens on {server.url} (not an LLM; stop it with Ctrl-C)")

    asyncio.run(Server(service).run(port, seconds, announce))


@contextmanager
def serving(service: Service | None = None, port: int = 0) -> Generator[Server]:
    """Serve from a thread of this process, on a free port unless one is given: for tests and short demonstrations."""
    server = Server(service or Service())
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    work = server.run(port, None, lambda _: ready.set())
    thread = threading.Thread(target=loop.run_until_complete, args=(work,), daemon=True)
    thread.start()
    if not ready.wait(60):
        raise RuntimeError("the simulated judge did not start")
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(server.stopped.set)
        thread.join(60)
        loop.close()
