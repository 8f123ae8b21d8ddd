"""Rating in a local web page: on 127.0.0.1 under a secret path, driven by the keyboard, gone when done or idle."""

from __future__ import annotations

import asyncio
import secrets
import time
import webbrowser
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib import resources

from aiohttp import web

from equiloss import console
from judge.labelling.label import LabellingSession, scale_words
from judge.loopback import listening

AFTER_THE_LAST_S = 60.0
_PAGES = {"": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_MOST_BYTES = 10_000


def serve(session: LabellingSession, announce: Callable[[str], None], port: int = 0, idle_s: float = 1800.0) -> int:
    """Serve the page until the person is done, nothing was asked for `idle_s` seconds, or Ctrl-C; returns the ratings.

    `announce` gets the page's URL once it listens. A page that is not this one cannot rate: it does not know the path.
    Raises: InputError when the port is taken.
    """
    before = session.done
    with suppress(KeyboardInterrupt):  # every rating is kept already
        asyncio.run(_Page(session).run(announce, port, idle_s))
    return session.done - before


def announcing(browser: bool) -> Callable[[str], None]:
    """Prints the page's address on stdout, and opens it in a browser where asked."""

    def announce(url: str) -> None:
        print(url, flush=True)
        console.say("rate in that page; Ctrl-C ends it, and every rating is kept at once")
        if browser:
            webbrowser.open(url)

    return announce


class _Page:
    def __init__(self, session: LabellingSession) -> None:
        self.session = session
        self.finished = asyncio.Event()
        self.asked_at = time.monotonic()
        self.root = f"/{secrets.token_urlsafe(16)}/"

    async def run(self, announce: Callable[[str], None], port: int, idle_s: float) -> None:
        application = web.Application(middlewares=[self._checked], client_max_size=_MOST_BYTES)
        application.add_routes(
            [
                *(web.get(self.root + name, self._file) for name in _PAGES),
                web.get(f"{self.root}about", self._about),
                web.get(f"{self.root}task", self._task),
                web.post(f"{self.root}rate", self._rate),
                web.post(f"{self.root}finish", self._finish),
            ]
        )
        async with listening(application, port) as bound:
            await asyncio.to_thread(announce, f"http://127.0.0.1:{bound}{self.root}")
            while not self.finished.is_set():
                await asyncio.sleep(0.1)
                limit_s = idle_s if self.session.next() is not None else min(idle_s, AFTER_THE_LAST_S)
                if time.monotonic() - self.asked_at > limit_s:
                    break

    @web.middleware
    async def _checked(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Nothing without the secret, nor from a name that is not this machine's."""
        self.asked_at = time.monotonic()
        start = request.path[: len(self.root)]
        here = request.host.rpartition(":")[0] in ("127.0.0.1", "localhost")
        try:
            if not here or not secrets.compare_digest(start.encode(), self.root.encode()):
                raise web.HTTPNotFound
            response = await handler(request)
        except web.HTTPException as error:
            response = web.json_response({"error": error.reason.lower()}, status=error.status)
        response.headers.update(_HEADERS)
        return response

    async def _file(self, request: web.Request) -> web.Response:
        name = request.path.removeprefix(self.root)
        content = resources.files("judge.labelling").joinpath(name or "page.html").read_bytes()
        return web.Response(body=content, content_type=_PAGES[name], charset="utf-8")

    async def _about(self, _: web.Request) -> web.Response:
        """What to rate by."""
        front = self.session.rubric.front
        criteria = [criterion.model_dump(include={"name", "description"}) for criterion in front.criteria]
        scale = {"scale": scale_words(front.scale), "values": front.scale.values}
        return web.json_response({"description": front.description, "criteria": criteria, **scale})

    async def _task(self, request: web.Request) -> web.Response:
        place = request.query.get("place", "")
        return self._state(int(place) if place.lstrip("-").isdigit() else None)

    async def _rate(self, request: web.Request) -> web.Response:
        session = self.session
        try:
            body = await request.json()
            place, text = int(body["place"]), str(body["value"])
        except (ValueError, KeyError, TypeError):
            return web.json_response({"error": "not a rating"}, status=400)
        value = session.read(text)
        if value is None or not 0 <= place < len(session.tasks):
            scale = scale_words(session.rubric.front.scale)
            return web.json_response({"error": f"a score from {scale}, please"}, status=422)
        session.rate(place, value)
        return self._state(None)

    async def _finish(self, _: web.Request) -> web.Response:
        self.finished.set()
        return web.json_response({"done": self.session.done})

    def _state(self, place: int | None) -> web.Response:
        """What the page shows for a task: nothing of who wrote the answer. Without one: the next that has no rating."""
        session = self.session
        if place is None or not 0 <= place < len(session.tasks):
            place = session.next()
        state: dict[str, object] = {"done": session.done, "total": len(session.tasks), "place": place}
        if place is not None:
            response = session.tasks[place].response
            state |= {
                "instruction": response.instruction,
                "input": response.input,
                "reference": session.reference(response),
                "answer": response.output,
                "value": session.value(place),
            }
        return web.json_response(state)
