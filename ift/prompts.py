"""Instruction templates: what the model reads, which part is its answer, and which tokens carry loss.

A template marks the answer itself, with `{% generation %}{{ turn.response }}{% endgeneration %}`. What stands before
the last mark is the prompt, in training and in generation alike. The parts are tokenised one by one, so that no merge
reaches over the border of prompt and answer: generation starts from exactly the ids that training saw.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import nodes
from jinja2.ext import Extension

from equiloss import templates
from equiloss.errors import InputError
from equiloss.records.response import Example, Turn

if TYPE_CHECKING:
    from jinja2.parser import Parser
    from jinja2.sandbox import SandboxedEnvironment

    from pretrain.model.language_model import LoadedModel

Encode = Callable[[str], Sequence[int]]
"""Text to ids, no special tokens: an `<|endoftext|>` written in the data stays text."""

Messages = list[dict[str, str]]
"""Turns of a chat: each its role and its content."""
OWN = "own"
"""The template name that stands for the tokenizer's own chat template."""
PROBE = "What is said."
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
    guard: Callable[[str], str] = str
    """What marks an item's texts where a tokenizer could read special tokens in them."""
    start: tuple[int, ...] = ()
    """Ids that stand before every prompt."""
    end: int | None = None
    """The id that ends an answer, where it is not the tokenizer's end of text."""

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
        turns = [{key: self.guard(text) for key, text in turn.model_dump().items()} for turn in example.history]
        last = {
            "instruction": self.guard(example.instruction),
            "input": self.guard(example.input),
            "response": self.guard(example.reference if response is None else response),
        }
        system = self.guard(example.system)
        values: dict[str, Any] = {"turns": [*turns, last], "history": turns, "system": system, **last}
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
        return [*self.start, *(one for segment in self.prompt(example) for one in encode(segment.text))]

    def tokens(
        self,
        example: Example,
        encode: Encode,
        end_id: int,
        loss_on: LossOn = "response",
        end_of_text_loss: bool = True,
    ) -> Tokens:
        """An item's ids to train on: every answer carries loss (or all of it), and end-of-text, once, if wanted."""
        ids = [*self.start]
        loss = [False] * len(ids)
        prompt_tokens = 0
        for segment in self.segments(example):
            prompt_tokens = len(ids)
            new = encode(segment.text)
            ids.extend(new)
            loss.extend([segment.generated or loss_on == "prompt+response"] * len(new))
        ids.append(end_id if self.end is None else self.end)
        loss.append(end_of_text_loss)
        loss[0] = False  # nothing stands before the first token to predict it from
        return Tokens(ids, loss, prompt_tokens)


@dataclass(frozen=True)
class ChatTemplate(Template):
    """A tokenizer's own chat template: what the assistant says carries loss, and the token that closes its turn."""

    render: Callable[[Messages, bool], str] = lambda *_: ""
    """The text of messages, behind which the assistant's next turn is opened where that is asked."""

    @cached_property
    def frame(self) -> tuple[str, str]:
        """What stands before an answer in what the assistant writes, and what closes its turn."""
        asked = [{"role": "user", "content": "?"}]
        before = self.render(asked, True)
        after = self.render([*asked, {"role": "assistant", "content": PROBE}], False)
        lead, found, closing = after.removeprefix(before).partition(PROBE)
        if not found or not after.startswith(before):
            raise InputError("its chat template does not go on from its prompt", "name another template")
        return lead, closing

    @cached_property
    def lead(self) -> str:
        """See Template."""
        return self.frame[0]

    def segments(self, example: Example, response: str | None = None) -> list[Segment]:
        """See Template. Where the template writes earlier turns in another way than the last, they are prompt."""
        messages: Messages = [{"role": "system", "content": self.guard(example.system)}] if example.system else []
        segments: list[Segment] = []
        done = ""
        for turn in (*example.history, example):
            answer = turn.response if isinstance(turn, Turn) else example.reference if response is None else response
            asked = f"{turn.instruction}\n\n{turn.input}" if turn.input else turn.instruction
            messages.append({"role": "user", "content": self.guard(asked)})
            before = self.render(messages, True)
            if not before.startswith(done):
                segments, done = [], ""
            messages.append({"role": "assistant", "content": self.guard(answer)})
            written = self.lead + self.guard(answer)
            segments += [Segment(before.removeprefix(done), False), Segment(written, True)]
            done = before + written
        return segments


def load(name: str, text: str | None = None, model: LoadedModel | None = None) -> Template:
    """A shipped template by its name, a user's by its path, or the model's own; or of that name with a `text`.

    `text`: what a model carries. With a `model`, items are encoded as its tokenizer needs it.

    Raises: InputError when there is none, when it breaks, or when its prompt depends on the answer.
    """
    if name == OWN:
        if model is None or model.chat_template is None:
            where = "no model is given" if model is None else f"{model.path}: its tokenizer has none"
            raise InputError(f"{where} with a chat template of its own", "name another template")
        own = ChatTemplate(OWN, model.chat_template, model.guard, render=model.chat)
        (first, *_) = model.encode_template(own.frame[1]) or [None]
        return replace(own, end=first if first in model.special_ids else None)
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
    return template if model is None else replace(template, guard=model.guard, start=tuple(model.start_ids))


@cache
def _environment() -> SandboxedEnvironment:
    environment = templates.environment().overlay(extensions=[GenerationTag])
    assert environment.sandboxed
    return environment  # pyright: ignore[reportReturnType]  (an overlay is of the same class)
