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
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from statistics import NormalDist
from typing import Any, cast

from equiloss.errors import InputError
from judge.data import reference as offline_reference
from judge.data.control_answers import INJECTIONS
from judge.rubrics import TIE

_FENCE = re.compile(r"^\[(INSTRUCTION|INPUT|REFERENCE|ANSWER [A-Z]) ([0-9a-f]{8})\]$", re.MULTILINE)
_SCORED = re.compile(r'"([A-Za-z0-9_-]+)": <score>')
_PREFERRED = re.compile(r'"([A-Za-z0-9_-]+)": "A", "B" or "tie"')
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
class Question:
    """What the judge was shown, read from its prompt, and what it is asked to return."""

    reference: str
    answers: dict[str, str]
    criteria: tuple[str, ...]
    preference: bool
    values: tuple[float, ...]
    explanation: bool = True


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

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        """The assistant's message and its finish reason for a chat request: the same for equal requests."""
        model = self.models.get(str(body.get("model")), self.default)
        question = read_question(body)
        self.calls += 1
        if question is None:
            return {"content": self.fallback, "finish_reason": "stop"}
        key = json.dumps(body.get("messages"), ensure_ascii=False)
        lot = uniform(self.seed, "content", key, 0)
        if lot < model.refusal:
            return {"content": None, "refusal": "I cannot help with grading this.", "finish_reason": "stop"}
        scores = self._scores(model.personality, question, key)
        content = _content(question, scores)
        if lot < model.refusal + model.truncated:
            return {"content": content[: len(content) // 2], "finish_reason": "length"}
        if lot < model.refusal + model.truncated + model.malformed:
            kind = int(uniform(self.seed, "malformed", key, 0) * len(MALFORMED))
            return {"content": malform(MALFORMED[kind], content, question), "finish_reason": "stop"}
        return {"content": content, "finish_reason": "stop"}

    def _scores(self, person: Personality, question: Question, key: str) -> dict[str, dict[str, float]]:
        """Label to criterion to share of the scale."""
        places = list(question.answers)
        found: dict[str, dict[str, float]] = {}
        for place, label in enumerate(places):
            text = question.answers[label]
            extra = person.offset + person.drift * self.calls / 1000
            if len(places) > 1:
                extra += person.position_bias * (0.5 - place / (len(places) - 1))
            extra += person.length_bias * math.log2((_words(text) + 1) / (_words(question.reference) + 1))
            for criterion in question.criteria:
                truth = base_score(criterion, text, question.reference)
                quality = uniform(self.seed, "quality", text, 0)
                share = person.truth_weight * truth + (1 - person.truth_weight) * quality
                share = 0.5 + person.spread * (share - 0.5) + extra
                if person.noise:
                    lot = uniform(self.seed, f"noise:{criterion}:{label}", key, 0)
                    share += person.noise * _NORMAL.inv_cdf(min(max(lot, 1e-12), 1 - 1e-12))
                if _INJECTION_WORDS.search(text) and uniform(self.seed, "susceptible", text, 0) < person.susceptible:
                    share = 1.0
                found.setdefault(label, {})[criterion] = min(1.0, max(0.0, share))
        if question.preference:
            return self._preferred(person, found)
        return found

    @staticmethod
    def _preferred(person: Personality, shares: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        (a, first), (b, second) = ((label, next(iter(one.values()))) for label, one in shares.items())
        if abs(first - second) <= person.tie_margin:
            return {a: {TIE: 1.0}, b: {TIE: 1.0}}
        return {a: {"win": float(first > second)}, b: {"win": float(second > first)}}


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
    if question.preference:
        document[question.criteria[0]] = "both"
    elif kind == "label":
        document["Z"] = document.pop(first)
    else:
        document[first][question.criteria[0]] = 4711 if kind == "scale" else "very good"
    return json.dumps(document)


def read_question(body: dict[str, Any]) -> Question | None:
    """What a request asks, from its fences, its schema and its words; None when it is not a judging request."""
    messages = cast("list[dict[str, Any]]", body.get("messages") or [])
    system = "\n".join(_text(one) for one in messages if one.get("role") == "system")
    user = next((_text(one) for one in messages if one.get("role") == "user"), "")
    texts = _fenced(user)
    answers = {name.removeprefix("ANSWER "): text for name, text in texts.items() if name.startswith("ANSWER ")}
    if not answers:
        return None
    found = _asked_by_schema(body, answers) or _asked_in_words(system)
    if found is None:
        return None
    criteria, preference, values, explanation = found
    return Question(texts.get("REFERENCE", ""), answers, criteria, preference, values, explanation)


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
    model = base
    known = [one.name for one in fields(Personality)]
    for part in filter(None, rest.split(",")):
        key, equals, number = part.partition("=")
        key = key.strip().replace("-", "_")
        try:
            value = float(number)
        except ValueError:
            equals = ""
            value = 0.0
        if not equals or not (key in known or key in ("refusal", "malformed", "truncated")):
            raise InputError(
                f"--model {text!r}: {part!r} is not KEY=NUMBER",
                f"keys: {', '.join([*known, 'refusal', 'malformed', 'truncated'])}",
            )
        if key in known:
            model = replace(model, personality=replace(model.personality, **{key: value}))
        else:
            model = replace(model, **{key: value})
    if not name:
        raise InputError(f"--model {text!r} has no name", "write NAME:key=value,...")
    return name, model


def injection_names() -> list[str]:
    """The attempts at injection that the simulated judge can fall for, which are those that canaries use."""
    return sorted(INJECTIONS)


def _content(question: Question, scores: dict[str, dict[str, float]]) -> str:
    words = {"explanation": "Simulated judgement."} if question.explanation else {}
    if question.preference:
        winner = next((label for label, one in scores.items() if one.get("win")), TIE)
        return json.dumps({**words, question.criteria[0]: winner})
    document = {
        label: {**words, **{name: _on_scale(share, question.values) for name, share in by_name.items()}}
        for label, by_name in scores.items()
    }
    return json.dumps(document)


def _on_scale(share: float, values: Sequence[float]) -> float | int:
    value = values[0] + share * (values[-1] - values[0])
    best = min(values, key=lambda one: abs(one - value))
    return int(best) if float(best).is_integer() else best


def _fenced(user: str) -> dict[str, str]:
    """The fenced texts by name; only the first code counts, since later ones may be an answer's invention."""
    first = _FENCE.search(user)
    if first is None:
        return {}
    code = first.group(2)
    found = re.finditer(rf"^\[([A-Z]+(?: [A-Z])?) {code}\]\n(.*?)\n\[/\1 {code}\]$", user, re.MULTILINE | re.DOTALL)
    return {one.group(1): one.group(2) for one in found}


_Asked = tuple[tuple[str, ...], bool, tuple[float, ...], bool]


def _asked_by_schema(body: dict[str, Any], answers: dict[str, str]) -> _Asked | None:
    form = cast("dict[str, Any]", body.get("response_format") or {})
    named = cast("dict[str, Any]", form.get("json_schema") or {})
    schema: Any = form.get("schema") or named.get("schema")
    if not isinstance(schema, dict):
        return None
    document = cast("dict[str, Any]", schema)
    defs: dict[str, Any] = document.get("$defs") or {}
    if "answer" in defs:
        names = [name for name in defs["answer"]["properties"] if name != "explanation"]
        explained = "explanation" in defs["answer"]["properties"]
        return tuple(names), False, tuple(defs["score"]["enum"]), explained
    names = [name for name in document.get("properties", {}) if name != "explanation"]
    if len(names) == 1 and names[0] not in answers:
        return tuple(names), True, (0.0, 0.5, 1.0), "explanation" in document["properties"]
    return None


def _asked_in_words(system: str) -> _Asked | None:
    explained = '"explanation"' in system
    if names := _SCORED.findall(system):
        low, high = 0, 100
        step = int(found.group(1)) if (found := _STEP.search(system)) else 1
        for pattern in _SCALE:
            if found := pattern.search(system):
                low, high = int(found.group(1)), int(found.group(2))
                break
        return tuple(dict.fromkeys(names)), False, tuple(float(one) for one in range(low, high + 1, step)), explained
    if found := _PREFERRED.search(system):
        return (found.group(1),), True, (0.0, 0.5, 1.0), explained
    return None


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        parts = cast("list[dict[str, Any]]", content)
        return "".join(str(part.get("text", "")) for part in parts)
    return str(content or "")


def _words(text: str) -> int:
    return len(text.split())
