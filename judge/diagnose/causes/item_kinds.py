"""What an item asks for, seen from its text alone: knowledge, copying, or something else."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from judge.data.reference import words
from judge.diagnose.case import Case


def is_copying(input: str, reference: str) -> bool:
    """Whether at least four fifths of the reference's words (two or more) stand in the input."""
    wanted, given = words(reference), set(words(input))
    return len(wanted) >= 2 and sum(word in given for word in wanted) >= 0.8 * len(wanted)


def is_knowledge(instruction: str, input: str, reference: str) -> bool:
    """Whether the item has no input, and a short reference none of whose words are in the question."""
    wanted = words(reference)
    return not input.strip() and 0 < len(wanted) <= 8 and set(wanted).isdisjoint(words(instruction))


def knowledge_items(case: Case) -> NDArray[np.bool_]:
    """Which of the case's items ask for knowledge (I,)."""
    return case.items_where(lambda item: is_knowledge(item.instruction, item.input, item.reference))


def copying_items(case: Case) -> NDArray[np.bool_]:
    """Which of the case's items ask to copy (I,)."""
    return case.items_where(lambda item: is_copying(item.input, item.reference))


def naming(case: Case, subjects: Collection[str]) -> NDArray[np.bool_]:
    """Which items name one of these subjects in their question (I,)."""
    return case.items_where(lambda item: any(one in f"{item.instruction}\n{item.input}" for one in subjects if one))
