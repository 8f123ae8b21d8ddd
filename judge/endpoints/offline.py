"""The offline reference judge: agreement with the reference answer. It is not an LLM, and says so."""

from __future__ import annotations

from judge.data.reference import agreement, numbers, words

NAME = "offline-reference"
NOTICE = "offline-reference is not an LLM: it measures how far an answer's words and numbers agree with the reference"
RHO, RHO_LOW, RHO_HIGH = 0.91, 0.87, 0.94  # measured by benchmarks/offline_judge.py
EVIDENCE = (
    f"Spearman {RHO} (95 % interval {RHO_LOW} to {RHO_HIGH}) with GPT-4's scores of 200 answers to 100 short "
    "Alpaca-style items, 0.88 with the choice of formula cross-validated; it fails on open-ended items and paraphrase"
)


def explain(output: str, reference: str) -> str:
    """A sentence on what `agreement` saw."""
    if not output.strip():
        return "Not an LLM: the answer is empty."
    parts = ["the same words as the reference" if words(output) == words(reference) else "other words"]
    if numbers(reference):
        parts.append("the same numbers" if numbers(output) == numbers(reference) else "other numbers")
    return f"Not an LLM: {' and '.join(parts)}; agreement {agreement(output, reference):.2f}."
