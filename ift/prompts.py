"""Instruction templates: what the model reads, which part is its answer, and which tokens carry loss.

A template marks the answer itself, with `{% generation %}{{ turn.response }}{% endgeneration %}`. What stands before
the last mark is the prompt, in training and in generation alike. The parts are tokenised one by one, so that no merge
reaches over the border of prompt and answer: generation starts from exactly the ids that training saw.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import nodes
from jinja2.ext import Extension

from equiloss import templates
from equiloss.errors import InputError
from equiloss.records.response import Example

if TYPE_CHECKING:
    from jinja2.parser import Parser
    from jinja2.sandbox import SandboxedEnvironment

Encode = Callable[[str], Sequence[int]]
"""Text to ids, no special tokens: an `<|endoftext|>` written in the data stays text."""

LossOn = Literal["response", "prompt+response"]


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}`: the text inside is the model's."""

    tags = {"generation"}  # noqa: RUF012  (jinja2's own declaration)

    def parse(self, parser: Parser) -> nodes.Node:
        """The block between the tags, as a call that puts a mark on either side of its text."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_mark", [nodes.ContextReference()])
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _mark(self, context: Any, caller: Callable[[], str]) -> str:
        mark: str = context["_mark"]
        return f"{mark}{caller()}{mark}"


@dataclass(frozen=True)
class Segment:
    """A stretch of text, and whether the model is to write it."""

    text: str
    generated: bool


@dataclass(frozen=True)
class Tokens:
    """An item as token ids, the end-of-text id last; `loss[i]` says whether `ids[i]`, as a target, carries loss."""

    ids: list[int]
    loss: list[bool]
    prompt_tokens: int
    """How many of the ids are the prompt of the last answer."""


@dataclass(frozen=True)
class Template:
    """An instruction template. `load` finds it and checks it."""

    name: str
    text: str

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the template's text: what the run record says."""
        return templates.sha256(self.text)

    @cached_property
    def lead(self) -> str:
        """What the model writes before the answer itself: nothing, or a blank (" Oslo" is one token, "Oslo" two)."""
        return self.segments(Example(id="", instruction="?"), response="")[-1].text

    def answer(self, written: str) -> str:
        """The answer in what the model wrote: without the blank that the template puts before it."""
        return written.removeprefix(self.lead)

    def segments(self, example: Example, response: str | None = None) -> list[Segment]:
        """An item as prompt and answer in turn; the last segment is the answer (default: the reference).

        Raises: InputError when the template breaks or ends with something other than the answer.
        """
        turns = [turn.model_dump() for turn in example.history]
        last = {
            "instruction": example.instruction,
            "input": example.input,
            "response": example.reference if response is None else response,
        }
        values: dict[str, Any] = {"turns": [*turns, last], "history": turns, "system": example.system, **last}
        mark = f"\x00{secrets.token_hex(16)}\x00"  # nothing in the data can pass for it
        text = templates.render_in(_environment(), self.text, self.name, **values, _mark=mark)
        parts = text.split(mark)
        segments = [Segment(part, generated=index % 2 == 1) for index, part in enumerate(parts)]
        if len(segments) < 3 or segments.pop().text:
            raise InputError(
                f"template {self.name}: the text must end with the answer",
                "close it with {% generation %}{{ response }}{% endgeneration %}",
            )
        return segments

    def prompt(self, example: Example) -> list[Segment]:
        """What the model reads before it answers: the same segments that training put before the answer."""
        return self.segments(example, response="")[:-1]

    def prompt_ids(self, example: Example, encode: Encode) -> list[int]:
        """The prompt's ids, from which generation starts."""
        return [one for segment in self.prompt(example) for one in encode(segment.text)]

    def tokens(
        self,
        example: Example,
        encode: Encode,
        end_id: int,
        loss_on: LossOn = "response",
        end_of_text_loss: bool = True,
    ) -> Tokens:
        """An item's ids to train on: every answer carries loss (or all of it), and end-of-text, once, if wanted."""
        ids: list[int] = []
        loss: list[bool] = []
        prompt_tokens = 0
        for segment in self.segments(example):
            prompt_tokens = len(ids)
            new = encode(segment.text)
            ids.extend(new)
            loss.extend([segment.generated or loss_on == "prompt+response"] * len(new))
        ids.append(end_id)
        loss.append(end_of_text_loss)
        loss[0] = False  # nothing stands before the first token to predict it from
        return Tokens(ids, loss, prompt_tokens)


def load(name: str, text: str | None = None) -> Template:
    """A shipped template by its name, or a user's by its path; or of that name with a `text` that a model carries.

    Raises: InputError when there is none, when it breaks, or when its prompt depends on the answer.
    """
    template = Template(name, templates.source("ift", name) if text is None else text)
    probes = [Example(id="", instruction="Add.", input=given, reference="5") for given in ("", "2 and 3")]
    for probe in probes:
        before = [segment.text for segment in template.segments(probe)[:-1]]
        if before != [segment.text for segment in template.prompt(probe)]:
            raise InputError(f"template {name}: the prompt changes with the answer", "keep the answer inside its mark")
        if not "".join(before):
            raise InputError(f"template {name}: there is no prompt before the answer", "write the instruction first")
        written = template.segments(probe)[-1].text
        if written != f"{template.lead}5" or template.lead.strip(" "):
            raise InputError(
                f"template {name}: the answer is changed inside its mark",
                "mark {{ response }} alone, or with a blank before it",
            )
    return template


def _environment() -> SandboxedEnvironment:
    environment = templates.environment().overlay(extensions=[GenerationTag])
    assert environment.sandboxed
    return environment  # pyright: ignore[reportReturnType]  (an overlay is of the same class)
