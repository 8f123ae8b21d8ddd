"""The offline reference judge: agreement with the reference answer. It is not an LLM, and says so."""

from __future__ import annotations

import re

NAME = "offline-reference"
NOTICE = "offline-reference is not an LLM: it measures how far an answer's words and numbers agree with the reference"
RHO, RHO_LOW, RHO_HIGH = 0.91, 0.87, 0.94  # measured by benchmarks/offline_judge.py
EVIDENCE = (
    f"Spearman {RHO} (95 % interval {RHO_LOW} to {RHO_HIGH}) with GPT-4's scores of 200 answers to 100 short "
    "Alpaca-style items, 0.88 with the choice of formula cross-validated; it fails on open-ended items and paraphrase"
)

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

    answer, wanted = _words(output), _words(reference)
    if not answer or not wanted:
        # Only signs (for instance "<" or "+"): equal or not.
        return float(bool(output.strip()) and output.split() == reference.split())
    score = (float(answer == wanted) + fuzz.token_set_ratio(output.lower(), reference.lower()) / 100) / 2
    return score / 2 if _numbers(reference) and _numbers(output) != _numbers(reference) else score


def explain(output: str, reference: str) -> str:
    """A sentence on what `agreement` saw."""
    if not output.strip():
        return "Not an LLM: the answer is empty."
    parts = ["the same words as the reference" if _words(output) == _words(reference) else "other words"]
    if _numbers(reference):
        parts.append("the same numbers" if _numbers(output) == _numbers(reference) else "other numbers")
    return f"Not an LLM: {' and '.join(parts)}; agreement {agreement(output, reference):.2f}."


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _numbers(text: str) -> set[float]:
    return {float(one) for one in _NUMBER.findall(text.replace(",", ""))}
