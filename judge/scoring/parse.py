"""Reads a judge's reply: scores only from its JSON object, for exactly the labels shown, and on the scale."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from judge.endpoints.provider import RequestFailure
from judge.rubrics import TIE, Rubric

_TAGS = r"(?:think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad|seed:think|antthinking)"
_THOUGHT_BEGINS = re.compile(
    rf"<\|?{_TAGS}\b[^<>]*>|\[THINK\]|◁think▷|<\|(?:begin_of_thought|START_THINKING|inner_prefix)\|>"
    r"|<\|channel\|?>(?!final)|<unused94>",
    re.IGNORECASE,
)
_THOUGHT_ENDS = re.compile(
    rf"<\|?/{_TAGS}\s*\|?>|\[/THINK\]|◁/think▷|<\|(?:end_of_thought|END_THINKING|inner_suffix)\|>"
    r"|<\|channel\|>final[^<]*<\|message\|>|<channel\|>|<unused95>",
    re.IGNORECASE,
)
_LEADING_TAG = re.compile(
    r"<\|?(?!answer|final|output|response|result|verdict|solution|json)([a-z][\w:.-]*)", re.IGNORECASE
)
_FENCED = re.compile(r"\A\s*```[A-Za-z]*\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)
_LABEL = re.compile(
    r"(?:the )?(?:(?:answer|response|label|model|assistant|option)\b)?[\s_:#-]*\(?([A-Z]|\d{1,2})\)?\.?", re.IGNORECASE
)
_OF_MAX = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)\s*")


class Unreadable(Exception):
    """A reply that holds no usable verdict; the message says why, in words that the judge can act on."""


@dataclass(frozen=True)
class Reading:
    """What a reply says of one answer: its score on each criterion, and the judge's words.

    `expected` has the mean over the scores that the judge weighed, by criterion, where log-probabilities tell it.
    """

    scores: dict[str, float]
    explanation: str = ""
    expected: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class ParsedReply:
    """What a reply amounts to: a verdict by label, a failure, or a problem that is worth asking again about."""

    verdict: dict[str, Reading] | None = None
    failure: RequestFailure | None = None
    problem: str | None = None


def read(rubric: Rubric, labels: Sequence[str], text: str, *, is_cut: bool = False) -> dict[str, Reading]:
    """The verdict on each label, from the JSON object after the last of the judge's thoughts.

    Of a reply that `is_cut` off, only if nothing else stands there: an object within it may be a draft.
    Raises: Unreadable when there is not one JSON object that names exactly these labels with values on the scale.
    """
    wanted = labels if rubric.front.output.type == "scores" else rubric.criteria
    document = _single_object(text, wanted, is_cut)
    if rubric.front.output.type == "preference":
        return _preference(rubric, labels, document)
    strange = [name for name in document if name not in labels and name in rubric.labels]
    if strange or any(label not in document for label in labels):
        names = ", ".join(name for name in document if name in rubric.labels) or "none"
        raise Unreadable(f"the labels must be exactly {', '.join(labels)}, not {names}")
    return {label: _scores(rubric, label, document[label]) for label in labels}


def _scores(rubric: Rubric, label: str, entry: object) -> Reading:
    if not _is_object(entry):
        # {"A": 87} where there is a single criterion says the same.
        if len(rubric.criteria) == 1 and not isinstance(entry, (list, type(None))):
            return Reading({rubric.criteria[0]: _value(rubric, f"{label}.{rubric.criteria[0]}", entry)})
        raise Unreadable(f"{label!r} must be an object with {', '.join(rubric.criteria)}")
    missing = [name for name in rubric.criteria if name not in entry]
    if missing:
        raise Unreadable(f"{label!r} lacks {', '.join(missing)}")
    scores = {name: _value(rubric, f"{label}.{name}", entry[name]) for name in rubric.criteria}
    return Reading(scores, _words(entry))


def _preference(rubric: Rubric, labels: Sequence[str], document: dict[str, object]) -> dict[str, Reading]:
    name = rubric.criteria[0]
    given = document.get(name)
    given = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    choice = _label_of(given) if isinstance(given, str) else None
    choice = TIE if isinstance(given, str) and given.strip().rstrip(".").casefold() == TIE else choice
    if choice not in (*labels, TIE):
        raise Unreadable(f"{name!r} must be one of {', '.join([*labels, TIE])}, not {str(given)[:80]!r}")
    words = _words(document)
    return {
        label: Reading({name: 0.5 if choice == TIE else float(choice == label)}, words) for label in labels
    }  # win 1, tie 0.5, loss 0


def _value(rubric: Rubric, where: str, raw: object) -> float:
    scale = rubric.front.scale
    if isinstance(raw, str):
        raw = raw.removesuffix("%") if scale.max == 100 else raw
        share = _OF_MAX.fullmatch(raw)
        digits = share[1] if share and float(share[2]) == scale.max else raw
        try:
            raw = float(digits)
        except ValueError:
            raise Unreadable(f"{where} must be a number, not {raw[:80]!r}") from None
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        raise Unreadable(f"{where} must be a number, not {type(raw).__name__}")
    if not (math.isfinite(raw) and scale.holds(raw)):
        raise Unreadable(f"{where} must be from {scale.min:g} to {scale.max:g} in steps of {scale.step:g}, not {raw:g}")
    return float(raw)


def _words(entry: dict[str, object]) -> str:
    words = entry.get("explanation") or ""
    return words if isinstance(words, str) else json.dumps(words, ensure_ascii=False)


def _single_object(text: str, wanted: Sequence[str], is_cut: bool) -> dict[str, object]:
    """The reply's JSON object: all of it after its thoughts, or the only one there that has a wanted key at its top."""
    body = text.strip()
    if (document := _whole(body)) is None:
        ends = list(_THOUGHT_ENDS.finditer(body))
        if leading := _LEADING_TAG.match(body):  # thoughts under a name of their own: all before it ends
            ends += re.finditer(rf"<\|?/{re.escape(leading[1])}\s*\|?>", body)
        body = body[max(end.end() for end in ends) :].strip() if ends else body
        begins = _THOUGHT_BEGINS.search(body)
        if begins and begins.start() < (body.find("{") + 1 or len(body)):
            raise Unreadable("the thoughts do not end, and no JSON object follows them")
        if fenced := _FENCED.match(body):
            body = fenced.group(1).strip()
        document = _whole(body)
    if document is None and is_cut:
        raise Unreadable("the reply is cut off")
    candidates = [document] if document is not None else _objects(body)
    fitting = [named for candidate in candidates if (named := _named(candidate, wanted)) is not None]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise Unreadable("the reply holds several JSON objects with verdicts; give exactly one")
    if document is not None:
        return document
    raise Unreadable("the reply is not a JSON object")


def _named(document: dict[str, object], wanted: Sequence[str]) -> dict[str, object] | None:
    """An object with its labels in their plain form, or the only one within it that has them; None without any."""
    named: dict[str, object] = {}
    for name, value in document.items():
        plain = name if name in wanted else _label_of(name) or name
        if plain in named:
            raise Unreadable(f"the key {plain!r} appears twice")
        named[plain] = value
    if any(name in named for name in wanted):
        return named
    inner = [value for value in document.values() if _is_object(value) and len(document) == 1]
    return _named(inner[0], wanted) if inner else None


def _label_of(text: str) -> str | None:
    """The label that a judge means: `a`, `ANSWER A` and `(A)` are A."""
    match = _LABEL.fullmatch(text.strip())
    return match[1].upper() if match else None


def _whole(body: str) -> dict[str, object] | None:
    """A text that is one JSON object; None for any other."""
    for candidate in (body, _TRAILING_COMMA.sub(r"\1", body)) if body.startswith("{") else ():
        try:
            document: object = _DECODER.decode(candidate)
        except json.JSONDecodeError:
            continue
        except RecursionError:
            raise Unreadable("the JSON is nested too deeply") from None
        return document if _is_object(document) else None
    return None


def _objects(text: str) -> list[dict[str, object]]:
    objects: list[dict[str, object]] = []
    place = text.find("{")
    while place != -1 and len(objects) < 20:
        try:
            document, end = _DECODER.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError):
            end = place + 1
        else:
            objects.append(document)
        place = text.find("{", end)
    return objects


def _is_object(document: object) -> TypeGuard[dict[str, object]]:
    return isinstance(document, dict)


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        twin = next(key for key in keys if keys.count(key) > 1)
        raise Unreadable(f"the key {twin!r} appears twice")
    return dict(pairs)


_TRAILING_COMMA = re.compile(r",(\s*[}\]])")
# Line breaks within strings are let pass, and digits without end are a number without end: off every scale.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_no_twins,
    parse_int=lambda digits: int(digits) if len(digits) < 20 else float(digits),
    strict=False,
)
