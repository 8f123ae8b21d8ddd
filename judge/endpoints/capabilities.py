"""What an endpoint accepts: found out once, with the first request that is needed anyway, and recorded.

Servers differ: some take a JSON schema, some only as `{"type": "json_object", "schema": ...}`, some only JSON mode,
some nothing; some answer 400 to a form that they do not know, one answers 500. Reasoning models refuse `temperature`
and want `max_completion_tokens`; others know only `max_tokens`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict, get_args

from judge.rubrics import JsonSchema, Message, Parameters

Mode = Literal["json_schema", "json_object_schema", "json_object", "text"]
MODES: tuple[Mode, ...] = get_args(Mode)
_LIMITS = ("max_completion_tokens", "max_tokens")
_FORMAT_WORDS = re.compile(r"response_format|json_schema|json_object|schema|grammar|structured|guided", re.IGNORECASE)


class RequestForm(TypedDict):
    """The form of a request, as the ledger keeps it with the reply."""

    mode: Mode
    limit: str
    dropped: list[str]


class CapabilityRecord(RequestForm):
    """What was found out about an endpoint, as ledgers and score records keep it."""

    settled: bool
    notes: list[str]


@dataclass
class Capabilities:
    """How to speak to an endpoint. `settled` once an answer came back in this form; `notes` says what was learnt."""

    mode: Mode = "json_schema"
    limit: str = "max_tokens"
    dropped: list[str] = field(default_factory=list[str])
    settled: bool = False
    notes: list[str] = field(default_factory=list[str])

    @classmethod
    def guess(cls, base_url: str) -> Capabilities:
        """The first guess for an endpoint."""
        return cls(limit="max_completion_tokens" if "api.openai.com" in base_url else "max_tokens")

    @property
    def form(self) -> RequestForm:
        """The form of a request now."""
        return {"mode": self.mode, "limit": self.limit, "dropped": list(self.dropped)}

    def record(self) -> CapabilityRecord:
        """As plain data, for the ledger and the run's record."""
        return {**self.form, "settled": self.settled, "notes": list(self.notes)}

    def body(
        self, model: str, messages: Sequence[Message], schema: JsonSchema, parameters: Parameters, limit_tokens: int
    ) -> dict[str, object]:
        """The request's body in the form that this endpoint accepts."""
        wanted: dict[str, object] = {self.limit: limit_tokens, **parameters}
        for name in _LIMITS:  # a limit that the user gave counts under whichever name the endpoint takes
            if name in parameters and name != self.limit:
                wanted[self.limit] = wanted.pop(name)
        body: dict[str, object] = {"model": model, "messages": list(messages)}
        body |= {name: value for name, value in wanted.items() if name not in self.dropped and value is not None}
        if self.mode == "json_schema":
            named = {"name": "verdict", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        elif self.mode == "json_object_schema":
            body["response_format"] = {"type": "json_object", "schema": schema}
        elif self.mode == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def adapt(self, status: int, message: str, param: str | None, fields: Collection[str], form: RequestForm) -> bool:
        """Change the form after a refusal; False when nothing is left to change.

        `fields` and `form` are those of the body that was refused: when another request has changed the form meanwhile,
        it is simply sent again.
        """
        if form != self.form:
            return True
        why = f"{status} {_short(message)}"
        if status in (400, 404, 415, 422, 501) and (name := self._refused(message, param, fields)):
            if name in _LIMITS and name == self.limit and not {f"no {limit}" for limit in _LIMITS} & set(self.notes):
                self.limit = _LIMITS[1 - _LIMITS.index(name)]
                self.notes.append(f"no {name}")
            else:
                self.dropped.append(name)
                self.notes.append(f"no {name}: {_short(message)}")
            return True
        about_format = _FORMAT_WORDS.search(f"{param or ''} {message}") is not None
        if self.mode != "text" and (status in (415, 501) or (status in (400, 404, 422) and about_format)):
            return self.leave_mode(form, why)
        # A plain 400 without a name: try the next form as long as nothing has worked yet.
        return status in (400, 422) and not self.settled and (self.leave_mode(form, why) or self._drop_any(fields, why))

    def leave_mode(self, form: RequestForm, why: str) -> bool:
        """Fall back to the next form of structured output, if no other request has done so; False after the last."""
        if form != self.form:
            return True
        place = MODES.index(self.mode)
        if place + 1 == len(MODES):
            return False
        self.notes.append(f"no {self.mode}: {why}")
        self.mode = MODES[place + 1]
        return True

    def _drop_any(self, fields: Collection[str], why: str) -> bool:
        """Leave out parameters that the refusal does not name, the least needed first."""
        for names in (("logprobs", "top_logprobs"), ("temperature",)):
            if sent := [name for name in names if name in fields]:
                self.dropped += sent
                self.notes.append(f"no {' and '.join(sent)}: {why}")
                return True
        return False

    def _refused(self, message: str, param: str | None, fields: Collection[str]) -> str | None:
        """The parameter that a refusal is about: the one it names, if it is one that can be left out."""
        candidates = [name for name in fields if name not in ("model", "messages", "response_format")]
        if param and param.split(".")[0] in candidates:
            return param.split(".")[0]
        named = [name for name in candidates if re.search(rf"\b{re.escape(name)}\b", message)]
        # "Use 'max_completion_tokens' instead of 'max_tokens'" names both; only what was sent is a candidate.
        return named[0] if named else None


def _short(message: str) -> str:
    return " ".join(message.split())[:160]
