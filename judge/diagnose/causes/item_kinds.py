"""What an item asks for, seen from its text alone: knowledge, copying, or something else."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from judge.diagnose.case import Case

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text, lower case, without punctuation."""
    return _WORD.findall(text.lower())


def is_copying(input: str, reference: str) -> bool:
    """Whether at least four fifths of the reference's words (two or more) stand in the input."""
    wanted, there = words(reference), set(words(input))
    return len(wanted) >= 2 and sum(one in there for one in wanted) >= 0.8 * len(wanted)


def is_knowledge(instruction: str, input: str, reference: str) -> bool:
    """Whether the item has no input, and a short reference none of whose words are in the question."""
    wanted, asked = words(reference), set(words(instruction))
    return not input.strip() and 0 < len(wanted) <= 8 and not any(one in asked for one in wanted)


def copying_items(case: Case) -> NDArray[np.bool_]:
    """Which of the case's items ask to copy (I,)."""
    return np.array([is_copying(case.asked(one)[1], case.texts(one)[1]) for one in case.ids], dtype=np.bool_)


def knowledge_items(case: Case) -> NDArray[np.bool_]:
    """Which of the case's items ask for knowledge (I,)."""
    return np.array([is_knowledge(*case.asked(one), case.texts(one)[1]) for one in case.ids], dtype=np.bool_)


def naming(case: Case, subjects: Sequence[str]) -> list[list[str]]:
    """For each item the subjects that its question names."""
    return [[one for one in subjects if one and one in case.texts(item)[0]] for item in case.ids]
