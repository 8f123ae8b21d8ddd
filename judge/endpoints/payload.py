"""JSON as servers send it: no part of it need be there, or be what it is called."""

from __future__ import annotations

import json
from typing import Any


def parse_payload(text: str) -> Any:
    """The JSON of a response; raw control characters and integers of any length are let pass.

    Raises: ValueError or RecursionError when it is not JSON.
    """
    return json.loads(text, strict=False, parse_int=lambda digits: int(digits) if len(digits) < 20 else float(digits))


def part_of(document: Any, key: str) -> Any:
    """A part of a JSON object that is an object itself; an empty one where it is anything else, or absent."""
    part: Any = document.get(key) if isinstance(document, dict) else None  # pyright: ignore
    return part if isinstance(part, dict) else {}  # pyright: ignore


def list_of(document: Any, key: str) -> list[Any]:
    """A part of a JSON object that is a list; an empty one where it is anything else, or absent."""
    part: Any = document.get(key) if isinstance(document, dict) else None  # pyright: ignore
    return part if isinstance(part, list) else []  # pyright: ignore


def objects_of(document: Any, key: str) -> list[Any]:
    """The objects in such a list."""
    return [entry for entry in list_of(document, key) if isinstance(entry, dict)]
