"""Who judges: a provider from what the command line and the environment say. Nobody else chooses one."""

from __future__ import annotations

import os
import re
from typing import Any

from equiloss.errors import IncompleteError, InputError
from judge.endpoints import prices
from judge.endpoints.address import Address, parse_address, words_of
from judge.endpoints.client import Endpoint
from judge.endpoints.offline import OfflineJudge
from judge.endpoints.prices import PriceTable
from judge.endpoints.provider import Provider

OPENAI_URL = "https://api.openai.com/v1"
DEFAULT_MODEL = "gpt-4.1-mini"
UNKNOWN_MODEL = "unknown"
_WITH_URL = re.compile(r"^(?P<model>[^\s]+?)@(?P<url>https?://.+)$")


def parse_judge(text: str | None, *, to_ask: bool = True, table: PriceTable | None = None) -> Provider:
    """A judge from `MODEL`, `MODEL@URL`, or nothing: the environment's endpoint, else the offline reference judge.

    `table` has its price [the shipped one]. With `to_ask` off (a dry run), neither a key nor an endpoint that answers
    is needed.
    Raises: InputError for a URL that is none, or a model without any endpoint.
    """
    given = (os.environ.get("OPENAI_BASE_URL") or "").strip()
    has_endpoint = bool(given or os.environ.get("OPENAI_API_KEY"))
    if text is None and has_endpoint:
        try:
            text = DEFAULT_MODEL if not given or "api.openai.com" in given else only_model(parse_address(given))
        except IncompleteError:
            if to_ask:
                raise
            text = UNKNOWN_MODEL
    if text is None or text == OfflineJudge.name:
        return OfflineJudge()
    if match := _WITH_URL.match(text):
        model, address = match["model"], parse_address(match["url"])
        name = f"{model}@{address.url}"
    elif "@http" in text or not text.strip() or any(character.isspace() for character in text):
        raise InputError(f"--judge {text!r} is not MODEL or MODEL@URL", "e.g. --judge qwen@http://127.0.0.1:8080/v1")
    elif not has_endpoint and to_ask:
        raise InputError(
            f"no endpoint for the judge {text!r}", "set OPENAI_API_KEY or OPENAI_BASE_URL, or name MODEL@URL"
        )
    else:
        name, model, address = text, text, parse_address(given or OPENAI_URL)
    if to_ask:
        _ = address.headers  # a key that no header can carry is refused before anything is asked
    table = table or prices.load()
    return Endpoint(name, model, address, table.find(model), table.batch_discount)


def only_model(address: Address) -> str:
    """The model that a server offers, if it is one.

    Raises: InputError when it offers none or several; IncompleteError when it cannot be reached.
    """
    import httpx2

    url = address.url
    try:
        answer = httpx2.get(f"{url}/models", timeout=10, headers=address.headers, params=dict(address.query))
        rows: Any = answer.json()["data"]
        names = [str(row.get("id")) for row in rows]
    except httpx2.TransportError as error:
        raise IncompleteError(
            f"cannot reach the judge at {url} ({words_of(error)})", "start it, or check the URL"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, httpx2.DecodingError):
        raise InputError(f"{url} does not say which models it has", "name one with --judge MODEL") from None
    if len(names) != 1:
        raise InputError(f"{url} offers {len(names)} models ({', '.join(names[:6])})", "choose with --judge MODEL")
    return names[0]
