"""What must not leave the program: keys and passwords in any text, and control characters on a terminal."""

from __future__ import annotations

import os
import re
from functools import lru_cache

_SECRET_NAME = re.compile(r"(^|_)(API_?KEY|ACCESS_?KEY|SECRET_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD)$", re.IGNORECASE)
_IN_URL = re.compile(r"(?<=://)[^\s/\"'<>]+(?=@[^\s/@])")
_QUERY = re.compile(r"://[^\s\"'<>?]{1,300}\?[^\s\"'<>]{1,4000}")
_PARAMETER = re.compile(
    r"(?<=[?&])((?:[\w.-]{0,40}[_.-])?(?:api)?(?:key|token|secret|sig|signature|passw(?:or)?d|auth|authorization)=)([^&#]{6,})",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(r"\b(Bearer|Basic)(\s+)[A-Za-z0-9._~+/=-]{8,}")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
SHORTEST = 6
"""A secret shorter than this would blot out ordinary words; nobody gives out such keys."""
MASK = "***"


def secrets() -> tuple[str, ...]:
    """The values of the environment's keys, tokens and passwords, and the secrets in its URLs; the longest first."""
    return _secrets_of(tuple(os.environ.items()))


@lru_cache(maxsize=2)
def _secrets_of(environment: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    values = {value for name, value in environment if _SECRET_NAME.search(name)}
    for _, value in environment:
        values.update(part for found in _IN_URL.findall(value) for part in (found, *found.split(":", 1)[1:]))
        values.update(secret for query in _QUERY.findall(value) for _, secret in _PARAMETER.findall(query))
    return tuple(sorted((value for value in values if len(value) >= SHORTEST), key=len, reverse=True))


def scrub(text: str) -> str:
    """`text` without secrets of the environment and of URLs (user, password, keys), and credentials of a header."""
    for secret in secrets():
        text = text.replace(secret, MASK)
    if "://" in text and "@" in text:
        text = _IN_URL.sub(MASK, text)
    if "://" in text and "?" in text:
        text = _QUERY.sub(lambda url: _PARAMETER.sub(rf"\1{MASK}", url[0]), text)
    return _AUTHORIZATION.sub(rf"\1\2{MASK}", text) if "Bearer" in text or "Basic" in text else text


def visible(text: str) -> str:
    """`text` as a terminal may get it: no secret, and control characters of data written as escapes, not sent."""
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), scrub(text))
