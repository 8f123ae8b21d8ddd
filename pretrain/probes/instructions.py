"""Instruction items to probe a base model with: questions and their reference answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from equiloss.errors import InputError
from equiloss.files import read_json, read_jsonl, read_text


@dataclass(frozen=True)
class AskedItem:
    """A question (instruction and input), its reference answer, and its id where the file has one."""

    question: str
    answer: str
    id: str = ""


def read_items(path: Path) -> list[AskedItem]:
    """Read Alpaca-style items, or the reference answers of a results file.

    Raises: InputError when the file is missing, broken, or holds no item with an answer.
    """
    rows = read_json(path) if read_text(path).lstrip().startswith("[") else read_jsonl(path)
    items: list[AskedItem] = []
    for row in cast("list[Any]", rows):
        if isinstance(row, dict) and "instruction" in row:
            entry = cast("dict[str, Any]", row)
            answer = entry.get("reference") or ("" if "generator" in entry else entry.get("output")) or ""
            question = f"{entry['instruction']}\n{entry['input']}" if entry.get("input") else str(entry["instruction"])
            if str(answer).strip():
                items.append(AskedItem(question, str(answer), str(entry.get("id") or "")))
    if not items:
        raise InputError(f"{path}: holds no item with an instruction and an answer", "give Alpaca-style items")
    return items
