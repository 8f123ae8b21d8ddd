"""Reads a judge's reply: scores only from its JSON object, for exactly the labels shown, and on the scale."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict, TypeGuard

from judge.rubrics import TIE, Rubric

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCED = re.compile(r"\A\s*```[A-Za-z]*\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)


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


class RequestFailure(TypedDict):
    """Why a request gave no verdict."""

    reason: Literal["refusal", "truncated", "unparsable", "error"]
    detail: str


@dataclass(frozen=True)
class ParsedReply:
    """What a reply amounts to: a verdict by label, a failure, or a problem that is worth asking again about."""

    verdict: dict[str, Reading] | None = None
    failure: RequestFailure | None = None
    problem: str | None = None


def read(rubric: Rubric, labels: Sequence[str], text: str) -> dict[str, Reading]:
    """The verdict on each label.

    Raises: Unreadable when the reply is not one JSON object that names exactly these labels with values on the scale.
    """
    document = _single_object(text, set(labels) if rubric.front.output.type == "scores" else set(rubric.criteria))
    if rubric.front.output.type == "preference":
        return _preference(rubric, labels, document)
    if set(document) != set(labels):
        raise Unreadable(f"the labels must be exactly {', '.join(labels)}, not {', '.join(document) or 'none'}")
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
    choice = document.get(name)
    if choice not in (*labels, TIE):
        raise Unreadable(f"{name!r} must be one of {', '.join([*labels, TIE])}, not {choice!r}")
    words = _words(document)
    return {
        label: Reading({name: 0.5 if choice == TIE else float(choice == label)}, words) for label in labels
    }  # win 1, tie 0.5, loss 0


def _value(rubric: Rubric, where: str, raw: object) -> float:
    scale = rubric.front.scale
    if isinstance(raw, str):
        try:
            raw = float(raw.strip())
        except ValueError:
            raise Unreadable(f"{where} must be a number, not {raw!r}") from None
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        raise Unreadable(f"{where} must be a number, not {type(raw).__name__}")
    if not scale.holds(raw):
        raise Unreadable(f"{where} must be from {scale.min:g} to {scale.max:g} in steps of {scale.step:g}, not {raw:g}")
    return float(raw)


def _words(entry: dict[str, object]) -> str:
    words = entry.get("explanation", "")
    return words if isinstance(words, str) else json.dumps(words, ensure_ascii=False)


def _single_object(text: str, wanted: set[str]) -> dict[str, object]:
    """The reply's JSON object: the whole text, or the only one in it that has a wanted key at its top."""
    body = _THOUGHT.sub("", text).strip()
    if fenced := _FENCED.match(body):
        body = fenced.group(1).strip()
    try:
        document: object = json.loads(body, object_pairs_hook=_no_twins)
    except json.JSONDecodeError:
        document = None
    except RecursionError:
        raise Unreadable("the JSON is nested too deeply") from None
    if _is_object(document):
        return document
    candidates = [candidate for candidate in _objects(body) if wanted & set(candidate)]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise Unreadable("the reply holds several JSON objects with verdicts; give exactly one")
    raise Unreadable("the reply is not a JSON object")


def _objects(text: str) -> list[dict[str, object]]:
    decoder = json.JSONDecoder(object_pairs_hook=_no_twins)
    objects: list[dict[str, object]] = []
    place = text.find("{")
    while place != -1 and len(objects) < 20:
        try:
            document, end = decoder.raw_decode(text, place)
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
