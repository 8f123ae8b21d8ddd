"""Where a judge is asked, and with what secrets: they are sent, and stand in no name, message, file or traceback."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from equiloss.errors import InputError

_SECRET = re.compile(r"key|token|secret|sig|code|pass|auth", re.IGNORECASE)
_LEAST_MASKED = 6  # a shorter secret would blot out words


@dataclass(frozen=True)
class Address:
    """A base URL without user, password and query, which names an endpoint; the other two go with requests."""

    url: str
    query: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    credentials: str = field(default="", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What proves who asks: the URL's user and password, else the key. Raises: as `api_key` does."""
        if self.credentials:
            return {"Authorization": f"Basic {base64.b64encode(self.credentials.encode()).decode()}"}
        return {"Authorization": f"Bearer {api_key()}"}

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """What must be shown nowhere, the longest first."""
        known = [api_key(), self.credentials, self.credentials.partition(":")[2]]
        known += [secret.partition(" ")[2] for secret in self.headers.values()]
        known += [value for name, value in self.query.items() if _SECRET.search(name)]
        return tuple(sorted({secret for secret in known if len(secret) >= _LEAST_MASKED}, key=len, reverse=True))

    def masked(self, text: str) -> str:
        """A text from a server or a library, without what is secret."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def parse_address(text: str) -> Address:
    """An endpoint's address from what a person wrote. Raises: InputError when it is no http URL."""
    try:
        parts = urlsplit(text.strip())
        user, _, host = parts.netloc.rpartition("@")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError
        url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        return Address(url, dict(parse_qsl(parts.query, keep_blank_values=True)), unquote(user))
    except ValueError:
        shown = re.sub(r"//[^/]*@|\?.*", lambda match: match[0][:2] * (match[0][0] == "/"), text)
        raise InputError(f"{shown!r} is not the URL of an endpoint", "e.g. http://127.0.0.1:8080/v1") from None


def api_key() -> str:
    """The key for a judge, from the environment; servers that want none get the word "none".

    Raises: InputError for a key that no header can carry; it does not show it.
    """
    for name in ("JUDGE_API_KEY", "OPENAI_API_KEY"):
        if key := (os.environ.get(name) or "").strip():
            if not key.isascii() or not key.isprintable() or " " in key:
                raise InputError(f"{name} holds characters that no header can carry", "copy the key anew")
            return key
    return "none"


def words_of(error: BaseException) -> str:
    """An error's message on one short line, without the user and password of any URL in it."""
    return re.sub(r"//[^/@\s]+@", "//", " ".join(str(error).split()) or type(error).__name__)[:160]
