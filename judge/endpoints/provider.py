"""What an endpoint answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What a judge sent back for one request: text or problem, tokens, and who answered."""

    text: str
    resolved: str
    finish_reason: str | None = None
    refusal: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    sent: dict[str, Any] = field(default_factory=dict[str, Any])
    logprobs: list[Any] | None = None
