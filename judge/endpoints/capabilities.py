"""What an endpoint accepts: found out with requests that are needed anyway, believed once it works, and recorded.

Servers differ: some take a JSON schema, some only as `{"type": "json_object", "schema": ...}`, some only JSON mode,
some nothing; some answer 400 to a form that they do not know, one answers 500. Reasoning models refuse `temperature`
and want `max_completion_tokens`; others know only `max_tokens`; templates of some models know no system role.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NotRequired, get_args

from typing_extensions import TypedDict  # as pydantic wants it before Python 3.12

from judge.endpoints.refusals import Refusal
from judge.rubrics import JsonSchema, Message, Parameters

Mode = Literal["json_schema", "json_object_schema", "json_object", "text"]
MODES: tuple[Mode, ...] = get_args(Mode)
LIMITS = ("max_completion_tokens", "max_tokens")
_NO_SYSTEM = re.compile(
    r"system[ _]?(role|message|prompt)|role.{0,12}system|roles must alternate|developer instruc", re.I
)


class RequestForm(TypedDict):
    """The form of a request, as the ledger keeps it with the reply. `system` is False where there is no such role."""

    mode: Mode
    limit: str
    dropped: list[str]
    system: NotRequired[bool]


class CapabilityRecord(RequestForm):
    """What was found out about an endpoint, as ledgers and score records keep it; `notes` are the evidence."""

    settled: bool
    notes: list[str]
    learnt: NotRequired[str]


@dataclass(frozen=True)
class Capabilities:
    """How to speak to an endpoint, and why: `notes` has a refusal for each step from the first guess."""

    mode: Mode = "json_schema"
    limit: str = "max_tokens"
    dropped: tuple[str, ...] = ()
    system: bool = True
    notes: tuple[str, ...] = ()

    @classmethod
    def guess(cls, base_url: str) -> Capabilities:
        """The first guess for an endpoint."""
        return cls(limit="max_completion_tokens" if "api.openai.com" in base_url else "max_tokens")

    @classmethod
    def of(cls, record: CapabilityRecord) -> Capabilities:
        """As a ledger has them."""
        dropped, notes = tuple(record["dropped"]), tuple(record["notes"])
        return cls(record["mode"], record["limit"], dropped, record.get("system", True), notes)

    @property
    def form(self) -> RequestForm:
        """The form of a request."""
        form: RequestForm = {"mode": self.mode, "limit": self.limit, "dropped": list(self.dropped)}
        return form if self.system else {**form, "system": False}

    @property
    def losses(self) -> list[str]:
        """What requests must do without, in words."""
        words = [] if self.mode == "json_schema" else [f"asked for {self.mode.replace('_', ' ')}"]
        return words + [f"no {name}" for name in self.dropped] + ([] if self.system else ["no system role"])

    def body(
        self, model: str, messages: Sequence[Message], schema: JsonSchema, parameters: Parameters, limit_tokens: float
    ) -> dict[str, object]:
        """The request's body in the form that this endpoint accepts."""
        wanted: dict[str, object] = {self.limit: limit_tokens, **parameters}
        for name in LIMITS:  # a limit that the user gave counts under whichever name the endpoint takes
            if name in parameters and name != self.limit:
                wanted[self.limit] = wanted.pop(name)
        sent = list(messages)
        if not self.system and sent and sent[0]["role"] == "system":
            sent = [{"role": "user", "content": f"{sent[0]['content']}\n\n{sent[1]['content']}"}, *sent[2:]]
        body: dict[str, object] = {"model": model, "messages": sent}
        body |= {name: value for name, value in wanted.items() if name not in self.dropped and value is not None}
        if self.mode == "json_schema":
            named = {"name": "verdict", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        elif self.mode == "json_object_schema":
            body["response_format"] = {"type": "json_object", "schema": schema}
        elif self.mode == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def after(self, refusal: Refusal, body: Mapping[str, object], kept: Collection[str]) -> Capabilities | None:
        """The form to try after a refusal of this one; None when nothing is left to change.

        `body` is what was refused. Parameters in `kept` are not given up, but for a limit's other name.
        """
        why, name = refusal.words[:160], self.refused(refusal, body)
        if name == self.limit and not any(note.startswith(f"no {limit}:") for limit in LIMITS for note in self.notes):
            return self._with(f"no {name}: {why}", limit=LIMITS[1 - LIMITS.index(name)])
        if name:
            return None if name in kept else self._with(f"no {name}: {why}", dropped=(*self.dropped, name))
        if self.system and _NO_SYSTEM.search(refusal.message):
            return self._with(f"no system role: {why}", system=False)
        if self.mode != "text" or refusal.is_about_format:
            return self.simpler(why)
        # Nothing is named, and no form of output helps: leave out what is least needed.
        for names in (("logprobs", "top_logprobs"), ("temperature",)):
            if sent := tuple(least for least in names if least in body and least not in kept):
                return self._with(f"no {' and '.join(sent)}: {why}", dropped=(*self.dropped, *sent))
        return self._with(f"no system role: {why}", system=False) if self.system else None

    def simpler(self, why: str) -> Capabilities | None:
        """With the next form of structured output; None after the last."""
        place = MODES.index(self.mode) + 1
        return None if place == len(MODES) else self._with(f"no {self.mode}: {why}", mode=MODES[place])

    def _with(self, note: str, **changes: object) -> Capabilities:
        return replace(self, notes=(*self.notes, note), **changes)  # pyright: ignore[reportArgumentType]

    def refused(self, refusal: Refusal, body: Mapping[str, object]) -> str | None:
        """The parameter that a refusal is about: the one it names, if it is one that can be left out."""
        candidates = [name for name in body if name not in ("model", "messages", "response_format")]
        if refusal.param and (name := refusal.param.split(".")[0]) in candidates:
            return name
        named = [name for name in candidates if re.search(rf"\b{re.escape(name)}\b", refusal.message)]
        # "Use 'max_completion_tokens' instead of 'max_tokens'" names both; only what was sent is a candidate.
        return named[0] if named else None
