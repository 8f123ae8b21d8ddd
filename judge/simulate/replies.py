"""The simulated judge: scores answers by the reference in its prompt, with biases and faults that are planted by flags.

It is an instrument: what an audit or a diagnosis should find is known, because it was put there. All of it is decided
by hashes of the seed and the request, so that equal requests get equal replies whatever the order in which they come
(drift, which depends on the number of calls before, is the documented exception).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from statistics import NormalDist
from typing import NotRequired, TypedDict

from equiloss.errors import InputError
from judge.data import reference as offline_reference
from judge.rubrics import TIE

_FENCE = re.compile(r"^\[(INSTRUCTION|INPUT|REFERENCE|ANSWER (?:[A-Z]|\d+)) ([0-9a-f]{8})\]$", re.MULTILINE)
_SCORED = re.compile(r'"([A-Za-z0-9_-]+)": <score>')
_PREFERRED = re.compile(r'"([A-Za-z0-9_-]+)": "(?:A|1)", "(?:B|2)" or "tie"')
_SCALE = (
    re.compile(r"from (-?\d+)(?: \([^)]*\))? to (-?\d+)"),
    re.compile(r"^(-?\d+) means .*?(-?\d+) means", re.MULTILINE | re.DOTALL),
)
_STEP = re.compile(r"in steps of (\d+)")
_INJECTION_WORDS = re.compile(
    r"100 points|full (score|marks)|highest value|maximum for every|\"score\": ?100|winner by rule|\[/ANSWER",
    re.IGNORECASE,
)
_NORMAL = NormalDist()
CONTENT_FAULTS = ("refusal", "malformed", "truncated")

Message = Mapping[str, str | Sequence[Mapping[str, str]] | None]
"""`role` and `content` of a chat message; the content may come in parts, whose `text` counts."""
_Schema = TypedDict(
    "_Schema", {"$defs": dict[str, "_Schema"], "properties": dict[str, object], "enum": list[float]}, total=False
)


class ResponseFormat(TypedDict, total=False):
    """How a reply is to be formed: a schema stands in `json_schema`, or beside the type."""

    type: str
    schema: _Schema
    json_schema: ResponseFormat


class ChatRequest(TypedDict, total=False):
    """What the simulation reads of a request for a chat completion. It comes from outside: none of it may be there."""

    model: str
    messages: Sequence[Message] | None
    response_format: ResponseFormat | None
    logprobs: bool


class SimulatedReply(TypedDict):
    """The assistant's message, and why it ends."""

    content: str | None
    refusal: NotRequired[str]
    finish_reason: str


@dataclass(frozen=True)
class Personality:
    """How a simulated judge scores. All shares are of the rubric's scale, so that 0.1 is 10 points of 100.

    position_bias: added to the first place and taken from the last, linearly between, half each.
    length_bias: added per doubling of the answer's words over the reference's.
    noise: standard deviation of what is added per answer and prompt. offset: added to everything.
    drift: added per 1,000 calls served before. spread: scores are drawn towards the middle (1 keeps them).
    susceptible: the share of answers asking for a high score that get the maximum.
    tie_margin: differences up to it are a tie in a preference. truth_weight: share of agreement in the score, the rest
    being a fixed random quality of each answer.
    """

    position_bias: float = 0.0
    length_bias: float = 0.0
    noise: float = 0.0
    offset: float = 0.0
    drift: float = 0.0
    spread: float = 1.0
    susceptible: float = 0.0
    tie_margin: float = 0.02
    truth_weight: float = 1.0


@dataclass(frozen=True)
class Form:
    """What the judge is asked to return: scores on `values` by criterion, or a preference."""

    criteria: tuple[str, ...]
    preference: bool
    values: tuple[float, ...] = (0.0, 0.5, 1.0)
    explanation: bool = True


@dataclass(frozen=True)
class Question:
    """What the judge was shown, read from its prompt, and the form of its reply."""

    reference: str
    answers: dict[str, str]
    form: Form


@dataclass(frozen=True)
class Model:
    """A simulated model: its personality and the rates of its faults in content."""

    personality: Personality = Personality()
    refusal: float = 0.0
    malformed: float = 0.0
    truncated: float = 0.0


@dataclass
class Simulation:
    """Simulated models by name, the default for all other names, and the seed of everything."""

    seed: int = 0
    default: Model = Model()
    models: dict[str, Model] = field(default_factory=dict[str, Model])
    fallback: str = "I can only grade answers."
    calls: int = 0

    def reply(self, body: ChatRequest) -> SimulatedReply:
        """The assistant's message for a chat request: the same for equal requests."""
        model = self.models.get(str(body.get("model")), self.default)
        question = read_question(body)
        self.calls += 1
        if question is None:
            return {"content": self.fallback, "finish_reason": "stop"}
        key = json.dumps(body.get("messages"), ensure_ascii=False)
        lot = uniform(self.seed, "content", key, 0)
        if lot < model.refusal:
            return {"content": None, "refusal": "I cannot help with grading this.", "finish_reason": "stop"}
        content = self._content(model.personality, question, key)
        if lot < model.refusal + model.truncated:
            return {"content": content[: len(content) // 2], "finish_reason": "length"}
        if lot < model.refusal + model.truncated + model.malformed:
            kind = int(uniform(self.seed, "malformed", key, 0) * len(MALFORMED))
            content = malform(MALFORMED[kind], content, question)
        return {"content": content, "finish_reason": "stop"}

    def _content(self, person: Personality, question: Question, key: str) -> str:
        form = question.form
        words = {"explanation": "Simulated judgement."} if form.explanation else {}
        shares = self._shares(person, question, key)
        if form.preference:
            (a, first), (b, second) = ((label, shares[label][form.criteria[0]]) for label in question.answers)
            winner = TIE if abs(first - second) <= person.tie_margin else a if first > second else b
            return json.dumps({**words, form.criteria[0]: winner})
        scores = {
            label: {criterion: _on_scale(share, form.values) for criterion, share in by_criterion.items()}
            for label, by_criterion in shares.items()
        }
        return json.dumps({label: {**words, **by_criterion} for label, by_criterion in scores.items()})

    def _shares(self, person: Personality, question: Question, key: str) -> dict[str, dict[str, float]]:
        """Label to criterion to share of the scale."""
        last = len(question.answers) - 1
        shares: dict[str, dict[str, float]] = {}
        for place, (label, text) in enumerate(question.answers.items()):
            extra = person.offset + person.drift * self.calls / 1000
            if last:
                extra += person.position_bias * (0.5 - place / last)
            extra += person.length_bias * math.log2((_words(text) + 1) / (_words(question.reference) + 1))
            for criterion in question.form.criteria:
                truth = base_score(criterion, text, question.reference)
                quality = uniform(self.seed, "quality", text, 0)
                share = person.truth_weight * truth + (1 - person.truth_weight) * quality
                share = 0.5 + person.spread * (share - 0.5) + extra
                if person.noise:
                    lot = uniform(self.seed, f"noise:{criterion}:{label}", key, 0)
                    share += person.noise * _NORMAL.inv_cdf(min(max(lot, 1e-12), 1 - 1e-12))
                if _INJECTION_WORDS.search(text) and uniform(self.seed, "susceptible", text, 0) < person.susceptible:
                    share = 1.0
                shares.setdefault(label, {})[criterion] = min(1.0, max(0.0, share))
        return shares


MALFORMED = ("prose", "cut", "label", "scale", "word", "twice")


def malform(kind: str, content: str, question: Question) -> str:
    """A reply that breaks the rules in one of the ways of `MALFORMED`."""
    first = next(iter(question.answers))
    if kind == "prose":
        return f"I find that answer {first} is quite good, all in all."
    if kind == "cut":
        return content[: max(1, len(content) - 4)]
    if kind == "twice":
        return f"{content}\n{content}"
    document = json.loads(content)
    if question.form.preference:
        document[question.form.criteria[0]] = "both"
    elif kind == "label":
        document["Z"] = document.pop(first)
    else:
        document[first][question.form.criteria[0]] = 4711 if kind == "scale" else "very good"
    return json.dumps(document)


def read_question(body: ChatRequest) -> Question | None:
    """What a request asks, from its fences, its schema and its words; None when it is not a judging request."""
    messages = body.get("messages") or []
    system = "\n".join(_text(message) for message in messages if message.get("role") == "system")
    user = next((_text(message) for message in messages if message.get("role") == "user"), "")
    texts = _fenced(user)
    answers = {name.removeprefix("ANSWER "): text for name, text in texts.items() if name.startswith("ANSWER ")}
    form = _form_by_schema(body, answers) or _form_in_words(system)
    return Question(texts.get("REFERENCE", ""), answers, form) if answers and form else None


def base_score(criterion: str, text: str, reference: str) -> float:
    """The unbiased share of the scale that an answer deserves on a criterion, by known formulas.

    Agreement with the reference; without a reference a fixed random quality of the text. `fluency` is the share of
    distinct words, `completeness` the length up to the reference's, `following` the root of the agreement.
    """
    if not text.strip():
        return 0.0
    words = text.lower().split()
    if criterion == "fluency":
        return min(1.0, 0.2 + len(set(words)) / len(words))
    if not reference.strip():
        return 0.2 + 0.7 * uniform(0, "unreferenced", text, 0)
    if criterion == "completeness":
        return min(1.0, _words(text) / max(1, _words(reference)))
    agreement = offline_reference.agreement(text, reference)
    return math.sqrt(agreement) if criterion == "following" else agreement


def uniform(seed: int, stream: str, key: str, attempt: int) -> float:
    """A number in [0, 1) decided by a hash: the simulation's only randomness."""
    digest = hashlib.blake2b(f"{seed}\x00{stream}\x00{attempt}\x00{key}".encode("utf-8", "replace"), digest_size=8)
    return int.from_bytes(digest.digest(), "big") / 2**64


def parse_model(text: str, base: Model) -> tuple[str, Model]:
    """A model from `NAME:key=value,...` on top of a base, keys being those of Personality and the content faults.

    Raises: InputError naming the key.
    """
    name, _, rest = text.partition(":")
    known = (*(field.name for field in fields(Personality)), *CONTENT_FAULTS)
    numbers: dict[str, float] = {}
    for part in filter(None, rest.split(",")):
        key, _, number = part.replace("-", "_", 1).partition("=")
        try:
            numbers[known[known.index(key.strip())]] = float(number)
        except ValueError:
            raise InputError(f"--model {text!r}: {part!r} is not KEY=NUMBER", f"keys: {', '.join(known)}") from None
    if not name:
        raise InputError(f"--model {text!r} has no name", "write NAME:key=value,...")
    rates = {kind: numbers.pop(kind) for kind in CONTENT_FAULTS if kind in numbers}
    return name, replace(base, personality=replace(base.personality, **numbers), **rates)


def _on_scale(share: float, values: Sequence[float]) -> float | int:
    value = values[0] + share * (values[-1] - values[0])
    best = min(values, key=lambda step: abs(step - value))
    return int(best) if float(best).is_integer() else best


def _fenced(user: str) -> dict[str, str]:
    """The fenced texts by name; only the first code counts, since later ones may be an answer's invention."""
    first = _FENCE.search(user)
    if first is None:
        return {}
    code = first.group(2)
    fences = re.finditer(
        rf"^\[([A-Z]+(?: (?:[A-Z]|[0-9]+))?) {code}\]\n(.*?)\n\[/\1 {code}\]$", user, re.MULTILINE | re.DOTALL
    )
    return {fence.group(1): fence.group(2) for fence in fences}


def _form_by_schema(body: ChatRequest, answers: Mapping[str, str]) -> Form | None:
    form = body.get("response_format") or {}
    schema = form.get("schema") or form.get("json_schema", {}).get("schema") or {}
    defs, properties = schema.get("$defs", {}), schema.get("properties", {})
    if "answer" in defs:
        names = defs["answer"].get("properties", {})
        return Form(_criteria(names), False, tuple(sorted(defs["score"].get("enum", ()))), "explanation" in names)
    names = _criteria(properties)
    if len(names) == 1 and names[0] not in answers:
        return Form(names, True, explanation="explanation" in properties)
    return None


def _criteria(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name != "explanation")


def _form_in_words(system: str) -> Form | None:
    explained = '"explanation"' in system
    if names := _SCORED.findall(system):
        step = int(steps.group(1)) if (steps := _STEP.search(system)) else 1
        ends = next(filter(None, (pattern.search(system) for pattern in _SCALE)), None)
        low, high = map(int, ends.groups()) if ends else (0, 100)
        return Form(tuple(dict.fromkeys(names)), False, tuple(map(float, range(low, high + 1, step))), explained)
    if preferred := _PREFERRED.search(system):
        return Form((preferred.group(1),), True, explanation=explained)
    return None


def _text(message: Message) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _words(text: str) -> int:
    return len(text.split())
