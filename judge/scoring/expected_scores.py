"""Expected scores from log-probabilities: the mean over the values that the judge weighed, not only the likeliest.

Source: Liu et al., G-Eval (2023), section 2: the score is the probability-weighted sum of the scale's values.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, cast

from judge.rubrics import Rubric

_PLAIN = re.compile(r"-?\d+(?:\.\d+)?\Z")


def expected_scores(rubric: Rubric, text: str, logprobs: list[Any]) -> dict[str, dict[str, float]]:
    """Per label and criterion the expected score, where the score was a single token with alternatives.

    A score that the tokenizer splits into several tokens has no such distribution and is left out.
    """
    tokens, starts = _tokens(logprobs)
    if "".join(tokens) != text:
        return {}
    found: dict[str, dict[str, float]] = {}
    try:
        document: Any = json.loads(text)
    except ValueError:
        return {}
    for label in document:
        for criterion in rubric.criteria:
            place = _place(text, label, criterion)
            if place is None:
                continue
            value = _expected(rubric, tokens, starts, logprobs, *place)
            if value is not None:
                found.setdefault(label, {})[criterion] = value
    return found


def _tokens(logprobs: list[Any]) -> tuple[list[str], list[int]]:
    tokens: list[str] = []
    starts: list[int] = []
    place = 0
    for entry in logprobs:
        token = str(entry.get("token", ""))
        tokens.append(token)
        starts.append(place)
        place += len(token)
    return tokens, starts


def _place(text: str, label: str, criterion: str) -> tuple[int, int] | None:
    """Where the score of a label stands in the reply's text: in the object that follows the label's key."""
    decoder = json.JSONDecoder()
    key = re.compile(rf"{re.escape(json.dumps(label))}\s*:\s*")
    for found in key.finditer(text):
        try:
            entry, end = decoder.raw_decode(text, found.end())
        except ValueError:
            continue
        if isinstance(entry, dict) and criterion in entry:
            inner = list(
                re.finditer(rf"{re.escape(json.dumps(criterion))}\s*:\s*(-?\d+(?:\.\d+)?)", text[found.end() : end])
            )
            if inner:
                return found.end() + inner[-1].start(1), found.end() + inner[-1].end(1)
    return None


def _expected(
    rubric: Rubric, tokens: list[str], starts: list[int], logprobs: list[Any], start: int, end: int
) -> float | None:
    index = max((one for one, place in enumerate(starts) if place <= start), default=None)
    if index is None or starts[index] + len(tokens[index]) < end or tokens[index].strip() != _number(tokens[index]):
        return None
    total = weight = 0.0
    for choice in cast("list[dict[str, Any]]", logprobs[index].get("top_logprobs") or []):
        number = _number(str(choice.get("token", "")))
        if number is not None and rubric.front.scale.holds(float(number)):
            share = math.exp(float(choice["logprob"]))
            total += share * float(number)
            weight += share
    return total / weight if weight > 0.5 else None


def _number(token: str) -> str | None:
    text = token.strip()
    return text if _PLAIN.match(text) else None
