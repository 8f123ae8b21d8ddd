"""JSON as servers send it: no part of it need be there, or be what it is called."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def parse_payload(text: str) -> Any:
    """The JSON of a response; raw control characters and integers of any length are let pass.

    Of a stream of events, as some servers send unasked, the completion that they amount to.
    Raises: ValueError or RecursionError when it is not JSON.
    """
    if text.lstrip().startswith(("data:", "event:", "id:", ":")):
        return _streamed([line[5:].strip() for line in text.splitlines() if line.startswith("data:")])
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


def _streamed(events: Sequence[str]) -> Any:
    whole: dict[str, Any] = {}
    content, finish_reason = "", None
    for event in events:
        if event in ("", "[DONE]"):
            continue
        chunk: Any = parse_payload(event)
        if part_of(chunk, "error"):
            return chunk
        for choice in objects_of(chunk, "choices")[:1]:
            piece = (part_of(choice, "delta") or part_of(choice, "message")).get("content")
            content += piece if isinstance(piece, str) else ""
            finish_reason = choice.get("finish_reason") or finish_reason
        whole |= {key: chunk[key] for key in ("model", "usage") if part_of({"chunk": chunk}, "chunk").get(key)}
    return {**whole, "choices": [{"message": {"content": content}, "finish_reason": finish_reason}]}
