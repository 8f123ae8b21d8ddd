"""Expected scores from log-probabilities: the mean over the values that the judge weighed, not only the likeliest.

Source: Liu et al., G-Eval (2023), section 2: the score is the probability-weighted sum of the scale's values.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from judge.endpoints.provider import TokenLogprob
from judge.rubrics import Rubric

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?\Z")


def expected_scores(rubric: Rubric, text: str, logprobs: Sequence[TokenLogprob]) -> dict[str, dict[str, float]]:
    """Per label and criterion the expected score, where the score was a single token with alternatives.

    A score that the tokenizer splits into several tokens has no such distribution and is left out.
    """
    tokens = [str(entry.get("token", "")) for entry in logprobs]
    starts = [0, *accumulate(map(len, tokens))]
    if "".join(tokens) != text:
        return {}
    try:
        document: Any = json.loads(text)
    except ValueError:
        return {}
    scores: dict[str, dict[str, float]] = {}
    for label in document:
        for criterion in rubric.criteria:
            if (place := _place(text, label, criterion)) is None:
                continue
            start, end = place
            index = bisect_right(starts, start) - 1  # the token in which the score begins
            if starts[index + 1] < end or not _NUMBER.match(tokens[index].strip()):
                continue
            if (value := _mean(rubric, logprobs[index].get("top_logprobs") or [])) is not None:
                scores.setdefault(label, {})[criterion] = value
    return scores


def _place(text: str, label: str, criterion: str) -> tuple[int, int] | None:
    """Where the score of a label stands in the reply's text: in the object that follows the label's key."""
    decoder = json.JSONDecoder()
    for key in re.finditer(rf"{re.escape(json.dumps(label))}\s*:\s*", text):
        try:
            entry, end = decoder.raw_decode(text, key.end())
        except ValueError:
            continue
        if isinstance(entry, dict) and criterion in entry:
            score = re.compile(rf"{re.escape(json.dumps(criterion))}\s*:\s*(-?\d+(?:\.\d+)?)")
            if inner := list(score.finditer(text, key.end(), end)):
                return inner[-1].span(1)
    return None


def _mean(rubric: Rubric, choices: Sequence[TokenLogprob]) -> float | None:
    """The mean over the scores among the likeliest tokens; None where these have no more than half the probability."""
    total = weight = 0.0
    for choice in choices:
        token, logprob = str(choice.get("token", "")).strip(), choice.get("logprob")
        if logprob is not None and _NUMBER.match(token) and rubric.front.scale.holds(float(token)):
            share = math.exp(logprob)
            total += share * float(token)
            weight += share
    return total / weight if weight > 0.5 else None
