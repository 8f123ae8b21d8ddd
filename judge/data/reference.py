"""How far an answer agrees with the reference answer, without a judge."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def agreement(output: str, reference: str) -> float:
    """How far an answer agrees with the reference, from 0 to 1.

    (exact + token_set) / 2: `exact` is 1 for equal words in equal order, whatever their case and punctuation, else 0;
    `token_set` is RapidFuzz's token_set_ratio of the lower-cased texts, from 0 to 1. Halved when the reference has
    numbers in digits and the answer not the same set of them. An empty answer scores 0. docs/judges.md tells how this
    was chosen.
    """
    from rapidfuzz import fuzz

    answer, wanted = output.lower(), reference.lower()
    first, first_wanted = _WORD.search(answer), _WORD.search(wanted)
    if not first or not first_wanted:
        # Only signs (for instance "<" or "+"): equal or not.
        return float(bool(output.strip()) and output.split() == reference.split())
    exact = first[0] == first_wanted[0] and words(answer) == words(wanted)
    score = (float(exact) + fuzz.token_set_ratio(answer, wanted) / 100) / 2
    return score / 2 if numbers(reference) and numbers(output) != numbers(reference) else score


def words(text: str) -> list[str]:
    """The lower-cased words of a text."""
    return _WORD.findall(text.lower())


def numbers(text: str) -> set[float]:
    """The numbers that a text writes in digits."""
    return {float(number) for number in _NUMBER.findall(text.replace(",", ""))}
