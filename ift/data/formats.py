"""Instruction data as it is found: Alpaca, ShareGPT and `messages`, in JSON, JSON Lines, Parquet or on the Hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from equiloss.console import say, warn
from equiloss.errors import InputError
from equiloss.records.response import Example, Turn, conversation_id, given_id, number_repeats
from pretrain.data.rows import HUB, Row, file_rows, hub_rows

WORLD = "world:"
CONVERSATIONS = {"messages": ("role", "content"), "conversations": ("from", "value")}
"""By the field that holds the messages (the second is ShareGPT's): who speaks, and what."""
ROLES = {"human": "user", "gpt": "assistant", "prompter": "user", "model": "assistant", "bot": "assistant"}
SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "dev": "validation", "test": "test"}
COLUMNS = {
    "instruction": ("instruction", "question", "prompt", "query"),
    "input": ("input", "context"),
    "output": ("output", "response", "answer", "completion"),
    "system": ("system", "system_prompt"),
}
"""What each part of an item is called, Alpaca's name first: Dolly's, those of question answering, of completions."""
ASIDE = {"id", "category", "split", "history", "dataset", "generator", "reference", "schema"}
HINT = "an item needs instruction and output (Alpaca), conversations (ShareGPT) or messages"


def read_examples(source: str, *, skip_bad: bool = False) -> list[Example]:
    """Read instruction data: a JSON, JSON Lines or Parquet file, `hub:NAME` on the Hub, or `world:NAME`, built in.

    The layout is recognised item by item. Items that ask the same are kept, with numbered ids. `skip_bad`: leave out,
    with a count, the items that cannot be read or have no answer, in every split.
    Raises: InputError when there is no such data or an item cannot be read, naming the item.
    """
    examples: list[Example] = []
    skipped: list[str] = []
    renamed: dict[str, None] = {}
    for number, row in enumerate(_rows(source), start=1):
        where = f"{source}: item {number}"
        try:
            one = example(row, where)
        except InputError as error:
            if not skip_bad:
                raise
            skipped.append(error.message)
            continue
        if skip_bad and not one.reference.strip():
            skipped.append(f"{where} has no answer")
            continue
        examples.append(one)
        if not row.keys() & CONVERSATIONS.keys():
            renamed |= {f"{name} as {part}": None for part, name in _columns(row).items() if name != part}
    if not examples:
        none = (
            f"none of {len(skipped)} items can be used: {skipped[0].removeprefix(f'{source}: ')}"
            if skipped
            else "holds no items"
        )
        raise InputError(f"{source}: {none}", HINT)
    if skipped:
        warn(f"{len(skipped)} items are left out: {'; '.join(skipped[:3])}{' …' if len(skipped) > 3 else ''}")
    if renamed:
        say(f"{source}: reading {', '.join(renamed)}")
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
    if not path.exists() and "/" in source and not path.suffix:
        raise InputError(f"{source}: no such file", f"for a data set on the Hub write {HUB}{source}")
    return (row for _, row in file_rows(path))


def example(row: Row, where: str) -> Example:
    """One item, whatever its layout; that of a results file keeps its id. Raises: InputError that says `where`."""
    if not isinstance(row, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] (a file holds anything)
        raise InputError(f"{where} is not an object", "each item needs named fields")
    key = next((key for key in CONVERSATIONS if isinstance(row.get(key), (list, tuple))), None)
    if key is None and "instruction" not in _columns(row):
        known = ", ".join(map(str, list(row)[:6])) or "nothing"
        raise InputError(f"{where} has {known}, which is no instruction", HINT)
    draft = _alpaca(row, where) if key is None else _conversation(row, key, where)
    split = row.get("split")
    if split is not None and not (isinstance(split, str) and split in SPLITS):
        raise InputError(f"{where}: split is {split!r}", "it may be train, validation or test")
    if not draft.instruction.strip() and not draft.input.strip():
        raise InputError(f"{where}: the instruction is empty", "mend or delete that item")
    own = conversation_id(draft.instruction, draft.input, draft.history, draft.system)
    return draft.model_copy(
        update={
            "id": given_id(row) or own,
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
    """instruction, input, output (see COLUMNS); of a results file the reference is taken, not the model's answer."""
    columns = _columns(row)
    if "generator" in row and "reference" in row:
        columns["output"] = "reference"
    if "output" not in columns and (others := set(row) - ASIDE - set(columns.values())):
        raise InputError(f"{where} has no output, but {', '.join(sorted(map(str, others))[:6])}", "rename that column")
    texts = {part: _text(row[name], f"{where}: {name}") for part, name in columns.items()}
    return Example(
        id="",
        instruction=texts["instruction"],
        input=texts.get("input", ""),
        reference=texts.get("output", ""),
        system=texts.get("system", ""),
        history=tuple(_turns(row.get("history"), f"{where}: history")),
    )


def _columns(row: Row) -> dict[str, str]:
    """Which of the row's columns is which part of an item."""
    found = {part: next((name for name in names if name in row), None) for part, names in COLUMNS.items()}
    return {part: name for part, name in found.items() if name is not None}


def _turns(history: Any, where: str) -> Iterator[Turn]:
    """Earlier turns: pairs of texts, as LLaMA-Factory has them, or objects as in this suite's results."""
    if history is not None and not isinstance(history, (list, tuple)):
        raise InputError(f"{where} is no list of turns", "mend or drop that field")
    for turn in history or ():  # pyright: ignore[reportUnknownVariableType]
        if isinstance(turn, Mapping) and {"instruction", "response"} <= turn.keys():
            asked, given, answered = turn["instruction"], turn.get("input"), turn["response"]  # pyright: ignore
        elif isinstance(turn, (list, tuple)) and len(turn) == 2:  # pyright: ignore[reportUnknownArgumentType]
            (asked, answered), given = turn, None  # pyright: ignore[reportUnknownVariableType]
        else:
            raise InputError(f"{where}: a turn is no pair of instruction and response", "mend or drop that field")
        yield Turn(instruction=_text(asked, where), input=_text(given, where), response=_text(answered, where))


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
