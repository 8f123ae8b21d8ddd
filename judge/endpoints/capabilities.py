"""What an endpoint accepts: found out once, with the first request that is needed anyway, and recorded.

Servers differ: some take a JSON schema, some only as `{"type": "json_object", "schema": ...}`, some only JSON mode,
some nothing; some answer 400 to a form that they do not know, one answers 500. Reasoning models refuse `temperature`
and want `max_completion_tokens`; others know only `max_tokens`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Mode = Literal["json_schema", "json_object_schema", "json_object", "text"]
MODES: tuple[Mode, ...] = get_args(Mode)
_LIMITS = ("max_completion_tokens", "max_tokens")
_FORMAT_WORDS = re.compile(r"response_format|json_schema|json_object|schema|grammar|structured|guided", re.IGNORECASE)


@dataclass
class Profile:
    """How to speak to an endpoint. `settled` once an answer came back in this form; `notes` says what was learnt."""

    mode: Mode = "json_schema"
    limit: str = "max_tokens"
    dropped: list[str] = field(default_factory=list[str])
    settled: bool = False
    notes: list[str] = field(default_factory=list[str])

    @classmethod
    def of(cls, record: dict[str, Any] | None, base_url: str) -> Profile:
        """The recorded profile of an endpoint, or the first guess for it."""
        if record is not None:
            return cls(**record)
        return cls(limit="max_completion_tokens" if "api.openai.com" in base_url else "max_tokens")

    def record(self) -> dict[str, Any]:
        """As plain data, for the ledger and the run's record."""
        return asdict(self)

    def body(
        self,
        model: str,
        messages: Sequence[dict[str, str]],
        schema: dict[str, Any],
        parameters: dict[str, Any],
        limit_tokens: int,
    ) -> dict[str, Any]:
        """The request's body in the form that this endpoint accepts."""
        wanted = {self.limit: limit_tokens, **parameters}
        for name in _LIMITS:  # a limit that the user gave counts under whichever name the endpoint takes
            if name in parameters and name != self.limit:
                wanted[self.limit] = wanted.pop(name)
        body: dict[str, Any] = {"model": model, "messages": list(messages)}
        body |= {name: value for name, value in wanted.items() if name not in self.dropped and value is not None}
        if self.mode == "json_schema":
            named = {"name": "verdict", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        elif self.mode == "json_object_schema":
            body["response_format"] = {"type": "json_object", "schema": schema}
        elif self.mode == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    @property
    def sent(self) -> dict[str, Any]:
        """The form of a request, as the ledger keeps it with the reply."""
        return {"mode": self.mode, "limit": self.limit, "dropped": list(self.dropped)}

    def adapt(self, status: int, message: str, param: str | None, body: dict[str, Any]) -> bool:
        """Change the form after a refusal; False when nothing is left to change.

        `body` is what was refused: when another request has changed the form meanwhile, it is simply sent again.
        """
        if self._is_outdated(body):
            return True
        if status in (400, 404, 415, 422, 501) and (name := self._refused(message, param, body)):
            if name in _LIMITS and name == self.limit and not {f"no {one}" for one in _LIMITS} & set(self.notes):
                self.limit = _LIMITS[1 - _LIMITS.index(name)]
                self.notes.append(f"no {name}")
            else:
                self.dropped.append(name)
                self.notes.append(f"no {name}: {_short(message)}")
            return True
        about_format = _FORMAT_WORDS.search(f"{param or ''} {message}") is not None
        if self.mode != "text" and (status in (415, 501) or (status in (400, 404, 422) and about_format)):
            return self.next_mode(f"{status} {_short(message)}")
        # A plain 400 without a name: try the next form as long as nothing has worked yet.
        why = f"{status} {_short(message)}"
        return status in (400, 422) and not self.settled and (self.next_mode(why) or self._drop_any(body, why))

    def leave_mode(self, body: dict[str, Any], why: str) -> bool:
        """Leave the form in which `body` was sent, if another request has not done so already; False after the last."""
        return self._is_outdated(body) or self.next_mode(why)

    def next_mode(self, why: str) -> bool:
        """Fall back to the next form of structured output; False after the last."""
        place = MODES.index(self.mode)
        if place + 1 == len(MODES):
            return False
        self.notes.append(f"no {self.mode}: {why}")
        self.mode = MODES[place + 1]
        return True

    def _drop_any(self, body: dict[str, Any], why: str) -> bool:
        """Leave out parameters that the refusal does not name, the least needed first."""
        for names in (("logprobs", "top_logprobs"), ("temperature",)):
            if found := [name for name in names if name in body]:
                self.dropped += found
                self.notes.append(f"no {' and '.join(found)}: {why}")
                return True
        return False

    def _is_outdated(self, body: dict[str, Any]) -> bool:
        if any(name in body for name in self.dropped):
            return True
        if any(name in body for name in _LIMITS if name != self.limit):
            return True
        form = body.get("response_format")
        return _mode_of(form) != self.mode

    def _refused(self, message: str, param: str | None, body: dict[str, Any]) -> str | None:
        """The parameter that a refusal is about: the one it names, if it is one that can be left out."""
        candidates = [name for name in body if name not in ("model", "messages", "response_format", *self.dropped)]
        if param and param.split(".")[0] in candidates:
            return param.split(".")[0]
        named = [name for name in candidates if re.search(rf"\b{re.escape(name)}\b", message)]
        # "Use 'max_completion_tokens' instead of 'max_tokens'" names both; only what was sent is a candidate.
        return named[0] if named else None


def _mode_of(form: Any) -> Mode:
    if not form:
        return "text"
    if form["type"] == "json_schema":
        return "json_schema"
    return "json_object_schema" if "schema" in form else "json_object"


def _short(message: str) -> str:
    return " ".join(message.split())[:160]
