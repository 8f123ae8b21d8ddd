"""Instruction data as it is found: Alpaca, ShareGPT and `messages`, in JSON, JSON Lines, Parquet or on the Hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from equiloss.errors import InputError
from equiloss.records.response import Example, Turn, conversation_id, number_repeats, read_rows
from pretrain.data.rows import HUB, Row, hub_rows, parquet_rows

WORLD = "world:"
CONVERSATIONS = {"messages": ("role", "content"), "conversations": ("from", "value")}
"""By the field that holds the messages (the second is ShareGPT's): who speaks, and what."""
ROLES = {"human": "user", "gpt": "assistant", "prompter": "user", "model": "assistant", "bot": "assistant"}
SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "dev": "validation", "test": "test"}
HINT = "an item needs instruction and output (Alpaca), conversations (ShareGPT) or messages"


def read_examples(source: str) -> list[Example]:
    """Read instruction data: a JSON, JSON Lines or Parquet file, `hub:NAME` on the Hub, or `world:NAME`, built in.

    The layout is recognised item by item. Items that ask the same are kept, with numbered ids.
    Raises: InputError when there is no such data or an item cannot be read, naming the item.
    """
    examples = [example(row, f"{source}: item {number}") for number, row in enumerate(_rows(source), start=1)]
    if not examples:
        raise InputError(f"{source}: holds no items", HINT)
    ids = number_repeats([one.id for one in examples])
    return [
        one if one.id == unique else one.model_copy(update={"id": unique})
        for one, unique in zip(examples, ids, strict=True)
    ]


def _rows(source: str) -> Iterable[Row]:
    if source.startswith(WORLD):
        from pretrain.data import world

        return map(dict, world.instructions(source.removeprefix(WORLD)))
    if source.startswith(HUB):
        parts = hub_rows(source)
        if len(parts) == 1:
            return (row for rows in parts.values() for _, row in rows)
        return ({**row, "split": SPLITS.get(part)} for part, rows in parts.items() for _, row in rows)
    path = Path(source)
    if path.suffix == ".parquet":
        return (row for _, row in parquet_rows(path))
    if not path.exists() and "/" in source and not path.suffix:
        raise InputError(f"{source}: no such file", f"for a data set on the Hub write {HUB}{source}")
    return read_rows(path)


def example(row: Row, where: str) -> Example:
    """One item, whatever its layout. Raises: InputError that says `where`."""
    key = next((key for key in CONVERSATIONS if isinstance(row.get(key), (list, tuple))), None)
    if key is None and "instruction" not in row:
        known = ", ".join(map(str, list(row)[:6])) or "nothing"
        raise InputError(f"{where} has {known}, which is no instruction", HINT)
    draft = _alpaca(row, where) if key is None else _conversation(row, key, where)
    split = row.get("split")
    if split is not None and not (isinstance(split, str) and split in SPLITS):
        raise InputError(f"{where}: split is {split!r}", "it may be train, validation or test")
    if not draft.instruction.strip() and not draft.input.strip():
        raise InputError(f"{where}: the instruction is empty", "mend or delete that item")
    return draft.model_copy(
        update={
            "id": conversation_id(draft.instruction, draft.input, draft.history, draft.system),
            "category": _text(row.get("category"), f"{where}: category") or None,
            "split": SPLITS.get(split or ""),
        }
    )


def _text(value: Any, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(f"{where} is not text", "mend that field")
    return str(value)


def _alpaca(row: Row, where: str) -> Example:
    """instruction, input, output; of a results file the reference is taken, not the model's answer."""
    reference = row.get("reference") if "generator" in row and "reference" in row else row.get("output")
    return Example(
        id="",
        instruction=_text(row["instruction"], f"{where}: instruction"),
        input=_text(row.get("input"), f"{where}: input"),
        reference=_text(reference, f"{where}: output"),
        system=_text(row.get("system"), f"{where}: system"),
    )


def _conversation(row: Row, key: str, where: str) -> Example:
    """The last exchange is the item, what stands before it its history."""
    role_key, text_key = CONVERSATIONS[key]
    system = _text(row.get("system"), f"{where}: system")
    turns: list[tuple[str, str]] = []
    for number, message in enumerate(row[key], start=1):
        place = f"{where}: {key} {number}"
        if not isinstance(message, Mapping) or role_key not in message or text_key not in message:
            raise InputError(f"{place} has no {role_key!r} and {text_key!r}", HINT)
        role, text = str(message[role_key]), _text(message[text_key], f"{place}: {text_key}")  # pyright: ignore
        role = ROLES.get(role, role)
        if role == "system":
            system = f"{system}\n\n{text}" if system else text
        elif role in ("user", "assistant"):
            turns.append((role, text))
        else:
            raise InputError(f"{place}: unknown role {role!r}", "known: system, user, assistant (human, gpt)")
    while turns and turns[0][0] == "assistant":  # a greeting answers nothing
        turns.pop(0)
    if not turns:
        raise InputError(f"{where}: nobody asks anything", HINT)
    if turns[-1][0] == "user":
        turns.append(("assistant", ""))
    if [role for role, _ in turns] != ["user", "assistant"] * (len(turns) // 2):
        raise InputError(f"{where}: user and assistant do not take turns", "merge messages of the same role")
    texts = [text for _, text in turns]
    *earlier, (asked, answered) = zip(texts[::2], texts[1::2], strict=True)
    history = tuple(Turn(instruction=instruction, response=response) for instruction, response in earlier)
    return Example(id="", instruction=asked, reference=answered, history=history, system=system)
