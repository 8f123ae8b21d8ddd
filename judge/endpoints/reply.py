"""Reads a chat completion, as servers really send it: parts for text, odd numbers, log-probabilities that are none."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from judge.endpoints.payload import objects_of, part_of
from judge.endpoints.provider import Reply, RequestFailure, TokenLogprob

_MOST_TOKENS = 1e9  # beyond it, a count is a mistake


def read_reply(document: Any, form: Mapping[str, object], limit_tokens: float | None = None) -> Reply:
    """A chat completion's reply to a request of this form.

    Raises: ValueError when it is none.
    """
    if not (isinstance(document, dict) and isinstance(document.get("choices"), list)):  # pyright: ignore
        raise ValueError("it has no choices")
    choice: Any = next(iter(objects_of(document, "choices")), None) or {}
    message: Any = part_of(choice, "message")
    text, usage = _text_of(message), part_of(document, "usage")
    finish_reason = choice.get("finish_reason") or choice.get("native_finish_reason")
    finish_reason = finish_reason if isinstance(finish_reason, str) else None
    prompt_tokens, completion_tokens = _tokens(usage, "prompt_tokens"), _tokens(usage, "completion_tokens")
    thought = _tokens(part_of(usage, "completion_tokens_details"), "reasoning_tokens") or 0
    has_usage = bool(prompt_tokens) and (bool(completion_tokens) or not text)
    prompt_tokens, completion_tokens = prompt_tokens or 0, completion_tokens or 0
    if thought > completion_tokens:  # counted beside the reply, not in it
        completion_tokens += thought
    completion_tokens = max(completion_tokens, (_tokens(usage, "total_tokens") or 0) - prompt_tokens)
    cached = _tokens(part_of(usage, "prompt_tokens_details"), "cached_tokens") or 0
    return Reply(
        text=text,
        resolved=str(document.get("model") or ""),  # pyright: ignore
        finish_reason="length" if finish_reason in ("length", "max_tokens", "MAX_TOKENS") else finish_reason,
        failure=_failure_of(choice, message, finish_reason or ""),
        prompt_tokens=prompt_tokens if has_usage else 0,
        completion_tokens=completion_tokens if has_usage else 0,
        cached_tokens=min(cached, prompt_tokens) if has_usage else 0,
        has_usage=has_usage,
        limit_tokens=limit_tokens,
        sent=form if has_usage else {**form, "usage": None},
        logprobs=_logprobs(part_of(choice, "logprobs")),
    )


def _failure_of(choice: Any, message: Any, finish_reason: str) -> RequestFailure | None:
    if not choice:
        return {"reason": "refusal", "detail": "the endpoint gave no choices, as filters do"}
    if refusal := message.get("refusal"):
        return {"reason": "refusal", "detail": str(refusal)}
    if finish_reason.lower().startswith(("content_filter", "safety", "prohibited", "sensitive")):
        return {"reason": "refusal", "detail": f"stopped by the endpoint's content filter ({finish_reason})"}
    return None


def _text_of(message: Any) -> str:
    """What a message says, its thoughts left out: the text of all parts, else what a tool was called with."""
    content: Any = message.get("content")
    if isinstance(content, list):
        parts: list[Any] = [part if isinstance(part, dict) else {"text": part} for part in content]  # pyright: ignore
        content = "".join(str(part.get("text") or "") for part in parts if part.get("type", "text").endswith("text"))
    if not content and isinstance(calls := message.get("tool_calls"), list) and calls:
        content = part_of(calls[0], "function").get("arguments")
    return content if isinstance(content, str) else json.dumps(content) if content else ""


def _tokens(usage: Any, name: str) -> int | None:
    """A count of tokens; None for what is none."""
    try:
        count = math.ceil(float(usage.get(name)))
    except (TypeError, ValueError, OverflowError):
        return None
    return count if 0 <= count < _MOST_TOKENS else None


def _logprobs(raw: Any) -> list[TokenLogprob] | None:
    return [
        {
            "token": str(entry.get("token", "")),
            "top_logprobs": [top for top in objects_of(entry, "top_logprobs") if _is_known(top)],
        }
        for entry in objects_of(raw, "content")
    ] or None


def _is_known(top: Any) -> bool:
    """Whether a token's log-probability is one: servers write null for minus infinity."""
    return isinstance(top.get("logprob"), int | float) and top["logprob"] <= 0.1
