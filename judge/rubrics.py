"""Rubrics: Jinja templates with YAML front matter that say what to judge, on which scale, and how to answer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, JsonValue, model_validator

from equiloss import templates
from equiloss.config import Config, validate
from equiloss.errors import InputError

if TYPE_CHECKING:
    from jinja2 import Template

Layout = Literal["joint", "pointwise", "pairwise"]
Message = dict[str, str]
Parameters = dict[str, JsonValue]
JsonSchema = dict[str, Any]
LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TIE = "tie"
_BASE_TOKENS = 64
_TOKENS_PER_WORD = 1.6
_FRONT = re.compile(r"\A---[ \t]*\n(.*?\n)---[ \t]*\n", re.DOTALL)
_LONGEST = 1_000_000
_OPEN, _CLOSE, _FIRST, _LAST = "\ue000", "\ue001", 0xE010, "\ue0ff"  # of Unicode's private use: no text has a meaning
_SIGN = re.compile(f"{_OPEN}([\ue010-{_LAST}]){_CLOSE}")
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


@lru_cache
def _values(low: float, high: float, step: float) -> list[float | int]:
    values = [round(low + index * step, 9) for index in range(round((high - low) / step) + 1)]
    return [int(value) if float(value).is_integer() else value for value in values]


class Scale(Config):
    """The values that a score may take: from `min` to `max` in steps of `step`."""

    min: float = Field(0, allow_inf_nan=False)
    max: float = Field(100, allow_inf_nan=False)
    step: float = Field(1, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> Scale:
        if self.max <= self.min:
            raise ValueError("the scale's max must be above its min")
        if not (self.max - self.min) / self.step < 1000.5:
            raise ValueError("the scale has more than 1,001 values; take a larger step")
        return self

    @property
    def values(self) -> list[float | int]:
        """All values, ascending; integers where they are whole."""
        return _values(self.min, self.max, self.step)

    def holds(self, value: float) -> bool:
        """Whether a value is on the scale."""
        steps = (value - self.min) / self.step
        return self.min <= value <= self.max and abs(steps - round(steps)) < 1e-6


class Criterion(Config):
    """One thing to score: its name in the verdict, what it means to the judge, and its weight in the whole."""

    name: str = Field(pattern=_NAME)
    description: str = Field(min_length=1)
    weight: float = Field(1.0, gt=0)


class Output(Config):
    """What the judge returns: scores per answer, or which of two is better; with words before it or none."""

    type: Literal["scores", "preference"] = "scores"
    explanation: bool = True
    explanation_words: int = Field(40, ge=1)


class Front(Config):
    """The front matter of a rubric."""

    name: str = Field(pattern=_NAME)
    version: int = 1
    description: str = Field(min_length=1)
    layout: Layout = "joint"
    reference: Literal["required", "optional", "none"] = "optional"
    scale: Scale = Scale()  # pyright: ignore[reportCallIssue]
    criteria: tuple[Criterion, ...] = Field(min_length=1)
    output: Output = Output()  # pyright: ignore[reportCallIssue]
    parameters: Parameters = Field(default_factory=lambda: Parameters(temperature=0))

    @model_validator(mode="after")
    def _consistent(self) -> Front:
        names = [criterion.name for criterion in self.criteria]
        if len(set(names)) < len(names):
            raise ValueError("two criteria have the same name")
        if "explanation" in names:
            raise ValueError("a criterion cannot be named 'explanation'")
        if (self.layout == "pairwise") != (self.output.type == "preference"):
            raise ValueError("layout 'pairwise' and output type 'preference' go together")
        if self.output.type == "preference" and len(names) != 1:
            raise ValueError("a preference has exactly one criterion")
        return self


@dataclass(frozen=True)
class Fenced:
    """A text from outside, as a template has it: a sign in its place, and whether there is any text.

    The text itself takes the sign's place, between lines that carry the prompt's code, after the template has run: so
    that no expression of a template can print it otherwise, or see it.
    """

    place: int
    is_full: bool
    label: str = ""

    def __str__(self) -> str:
        return _OPEN + chr(_FIRST + self.place) + _CLOSE

    def __bool__(self) -> bool:
        return self.is_full


@dataclass(frozen=True)
class Prompt:
    """What is sent to a judge. The system part is the same for all items, so that providers' prompt caches apply."""

    system: str
    user: str
    labels: tuple[str, ...]

    @property
    def messages(self) -> list[Message]:
        """As chat messages."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]


@dataclass(frozen=True)
class Rubric:
    """A rubric ready to use. `sha` hashes its text: verdicts with different hashes are not on one scale.

    `labels`: how answers are named. `best_first`: the scale is told from its top. Both as they are but in an audit.
    """

    front: Front
    text: str
    where: str
    sha: str
    labels: tuple[str, ...] = tuple(LABELS)
    best_first: bool = False

    @property
    def name(self) -> str:
        """The rubric's name, as verdict files carry it."""
        return self.front.name

    @property
    def about(self) -> dict[str, object]:
        """Which rubric it is, for records."""
        return {"name": self.name, "version": self.front.version, "sha256": self.sha}

    @property
    def criteria(self) -> list[str]:
        """Names of the criteria, in order."""
        return [criterion.name for criterion in self.front.criteria]

    @property
    def span(self) -> tuple[float, float]:
        """The least and the greatest value of a verdict: of the scale, or 0 and 1 for a preference."""
        return (0.0, 1.0) if self.front.output.type == "preference" else (self.front.scale.min, self.front.scale.max)

    def layout_for(self, n_files: int, wanted: Layout | None = None) -> Layout:
        """The layout to judge `n_files` files in: joint for several and pointwise for one, unless asked otherwise.

        Raises: InputError for a layout that this rubric or this number of files cannot have.
        """
        if self.front.layout == "pairwise" or wanted == "pairwise":
            if self.front.layout != "pairwise":
                raise InputError(f"rubric {self.name!r} gives scores, not preferences", "use --rubric pairwise")
            if wanted not in (None, "pairwise"):
                raise InputError(f"rubric {self.name!r} is pairwise", "leave --layout out, or choose another rubric")
            if n_files < 2:
                raise InputError(f"rubric {self.name!r} compares two models", "name at least two results files")
            return "pairwise"
        if n_files == 1:
            return "pointwise"
        return wanted or self.front.layout

    def render(self, item: Item, answers: Sequence[str], repeat: int = 0) -> Prompt:
        """The prompt for one item with these answers in this order, labelled A, B, ...

        Raises: InputError when the template fails.
        """
        labels = self.labels[: len(answers)]
        code = fence_code([item.instruction, item.input, item.reference, *answers], repeat)
        reference = item.reference if self.front.reference != "none" else ""
        texts = {"INSTRUCTION": item.instruction, "INPUT": item.input, "REFERENCE": reference}
        texts |= {f"ANSWER {label}": answer for label, answer in zip(labels, answers, strict=True)}
        frame = self._frame(tuple(bool(text.strip()) for text in texts.values()))
        fenced = [f"[{name} {code}]\n{text}\n[/{name} {code}]" for name, text in texts.items()]
        user = _SIGN.sub(lambda sign: [code, *fenced][ord(sign[1]) - _FIRST], frame)
        return Prompt(self._system, user, labels)

    def _frame(self, full: tuple[bool, ...]) -> str:
        """The user's part with signs for the code (the first) and the texts, of which these are not empty."""
        if full not in self._frames:
            code, instruction, input, reference, *answers = (
                Fenced(place, is_full, self.labels[max(0, place - 4)]) for place, is_full in enumerate((True, *full))
            )
            given: dict[str, object] = {"instruction": instruction, "input": input, "reference": reference}
            frame = self._block("user", code=str(code), answers=answers, **given)
            if any(_OPEN <= character <= _LAST for character in _SIGN.sub("", frame)):
                raise InputError(f"rubric {self.where}: prints a part of a text, or of the code", "print them whole")
            self._frames[full] = frame
        return self._frames[full]

    @cached_property
    def _frames(self) -> dict[tuple[bool, ...], str]:
        return {}

    def reply_limit_tokens(self, n_answers: int) -> int:
        """A generous limit on the tokens of a reply: three times what the rubric asks for."""
        return _BASE_TOKENS + round(3 * self._reply_tokens(n_answers, 1.0, 12, 8))

    def reply_estimate_tokens(self, n_answers: int) -> int:
        """The tokens that a reply will probably have, for estimates of cost."""
        return round(self._reply_tokens(n_answers, 0.6, 10, 6))

    def _reply_tokens(self, n_answers: int, share_of_words: float, per_entry: int, per_criterion: int) -> float:
        output = self.front.output
        words = output.explanation_words * share_of_words if output.explanation else 0
        entries = 1 if output.type == "preference" else n_answers
        return (words * _TOKENS_PER_WORD + per_entry + per_criterion * len(self.criteria)) * entries

    def schema(self, labels: Sequence[str]) -> JsonSchema:
        """The JSON schema of a reply. Scores are an enum, defined once: grammars hold it where minimum is ignored."""
        words: JsonSchema = {"explanation": {"type": "string"}} if self.front.output.explanation else {}
        if self.front.output.type == "preference":
            return _object({**words, self.criteria[0]: {"type": "string", "enum": [*labels, TIE]}})
        score: JsonSchema = {"$ref": "#/$defs/score"}
        answer = _object({**words, **dict.fromkeys(self.criteria, score)})
        whole = all(isinstance(value, int) for value in self.front.scale.values)
        values = self.front.scale.values[:: -1 if self.best_first else 1]
        numbers = {"type": "integer" if whole else "number", "enum": values}
        return {
            **_object({label: {"$ref": "#/$defs/answer"} for label in labels}),
            "$defs": {"score": numbers, "answer": answer},
        }

    @cached_property
    def _template(self) -> Template:
        from jinja2 import TemplateError

        try:
            return templates.environment().from_string(_FRONT.sub("", self.text, count=1))
        except TemplateError as error:
            line = f" (line {error.lineno})" if getattr(error, "lineno", None) else ""  # pyright: ignore
            raise InputError(f"rubric {self.where}: {error.message}{line}", "mend the template") from None

    @cached_property
    def _system(self) -> str:
        system, scale = self._block("system"), self.front.scale
        if not self.best_first:
            return system
        return f"{system}\n\nRead the scale from its top: {scale.max:g} is best, {scale.min:g} worst."

    def _block(self, block: str, **values: Any) -> str:
        template = self._template
        if block not in template.blocks:
            raise InputError(f"rubric {self.where}: has no block {block!r}", f"add {{% block {block} %}}")
        front = self.front
        constants = {
            "scale": front.scale,
            "criteria": front.criteria,
            "reply": _reply(front, self.labels),
            "rubric": front,
        }
        context = template.new_context({**constants, **values})
        size, parts = 0, list[str]()
        try:
            with templates.limits():
                for part in template.blocks[block](context):
                    size += len(part)
                    if size > _LONGEST:
                        raise ValueError(f"it is longer than {_LONGEST:,} characters")
                    parts.append(part)
        except TimeoutError:
            raise InputError(f"rubric {self.where}: block {block!r} takes too long", "mend its loops") from None
        except MemoryError:
            raise InputError(f"rubric {self.where}: block {block!r} takes too much memory", "mend its loops") from None
        except Exception as error:  # a template can raise whatever its expressions do
            why = getattr(error, "message", None) or str(error) or type(error).__name__
            raise InputError(f"rubric {self.where}: block {block!r}: {why}", "mend the template") from None
        return "".join(parts).strip()


@dataclass(frozen=True)
class Item:
    """What was asked: the item that answers are judged on."""

    id: str
    instruction: str
    input: str = ""
    reference: str = ""
    category: str | None = None


def load(name: str) -> Rubric:
    """A shipped rubric by its name, or a user's by its path; checked by rendering it once.

    Raises: InputError that says what is wrong with it.
    """
    import yaml

    text = templates.source("judge", name)
    match = _FRONT.match(text)
    if not match:
        raise InputError(f"rubric {name}: has no front matter", "begin it with YAML between two lines of ---")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(match.group(1), yaml.SafeLoader)):
            raise InputError(f"rubric {name}: the front matter has aliases (*name)", "write out what they stand for")
        data = yaml.safe_load(match.group(1))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"rubric {name}: the front matter is not YAML: {error}", "mend it") from None
    if not isinstance(data, dict):
        raise InputError(f"rubric {name}: the front matter is not a mapping", "write name: ..., criteria: ...")
    front = validate(Front, data, f"rubric {name}")  # pyright: ignore[reportUnknownArgumentType]
    rubric = Rubric(front, text, name, hashlib.sha256(text.encode()).hexdigest())
    _check(rubric)
    return rubric


def names() -> list[str]:
    """The shipped rubrics."""
    return templates.names("judge")


def fence_code(texts: Sequence[str], repeat: int = 0) -> str:
    """The code of a prompt's fences: a hash of all texts in it, so that no text can contain it but by chance.

    It is the same in every run, as the key of a request must be; an answer that wanted to fake the end of its fence
    would have to hold a part of its own hash. A chance hit is stepped over.
    """
    salt = 0
    while True:
        code = hashlib.sha256(json.dumps([repeat, salt, *texts], ensure_ascii=False).encode()).hexdigest()[:8]
        if not any(code in text for text in texts):
            return code
        salt += 1


def _check(rubric: Rubric) -> None:
    count = 2 if rubric.front.layout == "pairwise" else 3
    item = Item("check", "\x01instruction", "\x01input", "\x01reference")
    prompt = rubric.render(item, [f"\x01answer-{index}" for index in range(count)])
    if "\x01" in prompt.system:
        raise InputError(f"rubric {rubric.where}: block 'system' shows an item", "print items in block 'user'")
    needed = {"{{ instruction }}": "\x01instruction", "{{ input }}": "\x01input"}
    needed["{{ answer }} for each of answers"] = f"\x01answer-{count - 1}"
    if rubric.front.reference == "required":
        needed["{{ reference }}"] = "\x01reference"
    for what, mark in needed.items():
        if mark not in prompt.user:
            raise InputError(f"rubric {rubric.where}: block 'user' does not show {what}", "print it")
    rubric.render(Item("check", "x"), ["y"] * count)


def _object(properties: JsonSchema) -> JsonSchema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _reply(front: Front, labels: Sequence[str]) -> str:
    """How to reply, for the system part: the same for any number of answers."""
    words = f'"explanation": "at most {front.output.explanation_words} words", ' if front.output.explanation else ""
    if front.output.type == "preference":
        return f'{{{words}"{front.criteria[0].name}": "{labels[0]}", "{labels[1]}" or "{TIE}"}}'
    scores = ", ".join(f'"{one.name}": <score>' for one in front.criteria)
    return f'{{"{labels[0]}": {{{words}{scores}}}}}, with one such entry for each label shown and no other'
