"""Rating in a local web page: on 127.0.0.1 under a secret path, driven by the keyboard, gone when done or idle."""

from __future__ import annotations

import json
import secrets
import threading
import time
import webbrowser
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click

from equiloss import console
from equiloss.errors import InputError
from judge.labelling.label import Session

AFTER_THE_LAST_S = 60.0
_PAGES = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
}
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)
_MOST_BYTES = 10_000


def serve(session: Session, announce: Callable[[str], None], port: int = 0, idle_s: float = 1800.0) -> int:
    """Serve the page until the person is done, nothing was asked for `idle_s` seconds, or Ctrl-C; returns the ratings.

    `announce` gets the page's URL once it listens. A page that is not this one cannot rate: it does not know the path.
    Raises: InputError when the port is taken.
    """
    before = session.done
    try:
        server = _Server(session, port)
    except OSError as error:
        raise InputError(f"cannot listen on port {port}: {error.strerror}", "leave --port out") from None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        announce(server.url)
        while not server.finished.wait(0.1):
            limit_s = idle_s if session.next() is not None else min(idle_s, AFTER_THE_LAST_S)
            if time.monotonic() - server.asked_at > limit_s:
                break
    except KeyboardInterrupt:
        pass  # every rating is kept already
    finally:
        server.shutdown()
        server.server_close()
    return session.done - before


def announcing(browser: bool) -> Callable[[str], None]:
    """Prints the page's address on stdout, and opens it in a browser where asked."""

    def announce(url: str) -> None:
        click.echo(url)
        console.say("rate in that page; Ctrl-C ends it, and every rating is kept at once")
        if browser:
            webbrowser.open(url)

    return announce


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, session: Session, port: int) -> None:
        self.session, self.lock = session, threading.Lock()
        self.finished = threading.Event()
        self.asked_at = time.monotonic()
        self.secret = secrets.token_urlsafe(16)
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.server_port}/{self.secret}/"

    def task(self, place: int | None) -> dict[str, Any]:
        """What the page shows for a task: nothing of who wrote the answer."""
        session = self.session
        if place is None or not 0 <= place < len(session.tasks):
            place = session.next()
        state: dict[str, Any] = {"done": session.done, "total": len(session.tasks), "place": place}
        if place is None:
            return state
        response = session.tasks[place].response
        return state | {
            "instruction": response.instruction,
            "input": response.input,
            "reference": response.reference if session.ruler.reference else "",
            "answer": response.output,
            "value": session.value(place),
        }

    def about(self) -> dict[str, Any]:
        """What to rate by."""
        ruler = self.session.ruler
        return {
            "description": ruler.description,
            "criteria": [{"name": name, "description": description} for name, description in ruler.criteria],
            "scale": ruler.words,
            "values": ruler.values,
        }


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        parts, server = urlsplit(self.path), self.server
        match self._name(parts.path):
            case str() as name if name in _PAGES:
                file, kind = _PAGES[name]
                self._send(200, resources.files("judge.labelling").joinpath(file).read_bytes(), kind)
            case "about":
                self._json(200, server.about())
            case "task":
                place = parse_qs(parts.query).get("place", [""])[0]
                with server.lock:
                    self._json(200, server.task(int(place) if place.lstrip("-").isdigit() else None))
            case _:
                self._json(404, {"error": "not found"})

    def do_POST(self) -> None:
        server, name = self.server, self._name(urlsplit(self.path).path)
        if name == "finish":
            self._json(200, {"done": server.session.done})
            server.finished.set()
            return
        if name != "rate":
            self._json(404, {"error": "not found"})
            return
        try:
            length = min(int(self.headers.get("content-length", "0")), _MOST_BYTES)
            body: Any = json.loads(self.rfile.read(length))
            place, text = int(body["place"]), str(body["value"])
        except (ValueError, KeyError, TypeError):
            self._json(400, {"error": "not a rating"})
            return
        with server.lock:
            value = server.session.ruler.read(text)
            if value is None or not 0 <= place < len(server.session.tasks):
                self._json(422, {"error": f"a score from {server.session.ruler.words}, please"})
                return
            server.session.rate(place, value)
            self._json(200, server.task(None))

    def _name(self, path: str) -> str | None:
        """What is asked for behind the secret; None without it, or from a name that is not this machine's."""
        self.server.asked_at = time.monotonic()
        host = (self.headers.get("host") or "").rpartition(":")[0]
        start = f"/{self.server.secret}/"
        if host not in ("127.0.0.1", "localhost") or not secrets.compare_digest(path[: len(start)], start):
            return None
        return path[len(start) :]

    def _json(self, status: int, document: Any) -> None:
        self._send(status, json.dumps(document).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": _POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the person's."""
