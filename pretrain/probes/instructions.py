"""Instruction items to probe a base model with: questions and their reference answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from equiloss.errors import InputError
from equiloss.records.response import given_id, item_id, number_repeats, read_rows


@dataclass(frozen=True)
class AskedItem:
    """A question (instruction and input), its reference answer, and its id."""

    question: str
    answer: str
    id: str = ""

    @property
    def key(self) -> str:
        """What pairs this item between two models, and with the answers to it."""
        return self.id or self.question


def read_items(path: Path) -> list[AskedItem]:
    """Read Alpaca-style items, or the reference answers of a results file, with the ids that answers to them have.

    Raises: InputError when the file is missing, broken, or holds no item with an answer.
    """
    rows = [row for row in read_rows(path) if "instruction" in row]
    asked = [(str(row["instruction"]), str(row.get("input") or "")) for row in rows]
    ids = number_repeats([given_id(row) or item_id(*one) for row, one in zip(rows, asked, strict=True)])
    items: list[AskedItem] = []
    for row, (instruction, given), id in zip(rows, asked, ids, strict=True):
        answer = str(row.get("reference") or ("" if "generator" in row else row.get("output")) or "")
        if answer.strip():
            items.append(AskedItem(f"{instruction}\n{given}" if given else instruction, answer, id))
    if not items:
        raise InputError(f"{path}: holds no item with an instruction and an answer", "give Alpaca-style items")
    return items
