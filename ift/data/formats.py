"""Instruction data as it is found: Alpaca, ShareGPT and `messages`, in JSON, JSON Lines, Parquet or on the Hub."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import ValidationError

from equiloss.errors import InputError
from equiloss.records.response import Example, Turn, conversation_id, number_repeats, read_rows

Format = Literal["alpaca", "sharegpt", "messages"]

HUB = "hub:"
WORLD = "world:"
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


def _rows(source: str) -> Iterable[dict[str, Any]]:
    if source.startswith(WORLD):
        from pretrain.data import world

        return world.instructions(source.removeprefix(WORLD))
    if source.startswith(HUB):
        return _hub_rows(source.removeprefix(HUB))
    path = Path(source)
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    if not path.exists() and "/" in source and not path.suffix:
        raise InputError(f"{source}: no such file", f"for a data set on the Hub write {HUB}{source}")
    return read_rows(path)


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    parquet: Any = import_module("pyarrow.parquet")
    if not path.exists():
        raise InputError(f"{path}: no such file", "check the path")
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a Parquet file: {' '.join(str(error).split())[:120]}", "check the file"
        ) from None
    return rows


def _hub_rows(name: str) -> list[dict[str, Any]]:
    """Rows of a Hub data set, NAME[:CONFIG][:SPLIT]. Without a split all are read, with their names in `split`."""
    datasets: Any = import_module("datasets")
    repository, _, rest = name.partition(":")
    config, _, split = rest.partition(":")
    try:
        loaded: Any = datasets.load_dataset(repository, config or None, split=split or None)
    except Exception as error:  # whatever the library and the HTTP client of the day raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{HUB}{name}: {first[:160]}", "check the name and the network; the form is hub:NAME[:CONFIG][:SPLIT]"
        ) from None
    if split:
        return [dict(row) for row in loaded]
    parts = cast("dict[str, Any]", loaded)
    if len(parts) == 1:
        return [dict(row) for rows in parts.values() for row in rows]
    return [{**row, "split": SPLITS.get(part)} for part, rows in parts.items() for row in rows]


def detect(row: dict[str, Any]) -> Format | None:
    """The layout of an item, or None."""
    if isinstance(row.get("messages"), (list, tuple)):
        return "messages"
    if isinstance(row.get("conversations"), (list, tuple)):
        return "sharegpt"
    return "alpaca" if "instruction" in row else None


def example(row: dict[str, Any], where: str) -> Example:
    """One item, whatever its layout. Raises: InputError that says `where`."""
    layout = detect(row)
    if layout is None:
        known = ", ".join(map(str, list(row)[:6])) or "nothing"
        raise InputError(f"{where} has {known}, which is no instruction", HINT)
    fields = _alpaca(row, where) if layout == "alpaca" else _conversation(row, layout, where)
    fields["category"] = _text(row.get("category"), f"{where}: category") or None
    split = row.get("split")
    if split is not None:
        if not isinstance(split, str) or split not in SPLITS:
            raise InputError(f"{where}: split is {split!r}", "it may be train, validation or test")
        fields["split"] = SPLITS[split]
    try:
        draft = Example(id="", **fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}", "mend that field") from None
    if not draft.instruction.strip() and not draft.input.strip():
        raise InputError(f"{where}: the instruction is empty", "mend or delete that item")
    return draft.model_copy(update={"id": conversation_id(draft.instruction, draft.input, draft.history, draft.system)})


def _text(value: Any, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(f"{where} is not text", "mend that field")
    return str(value)


def _alpaca(row: dict[str, Any], where: str) -> dict[str, Any]:
    """instruction, input, output; of a results file the reference is taken, not the model's answer."""
    reference = row.get("reference") if "generator" in row and "reference" in row else row.get("output")
    return {
        "instruction": _text(row["instruction"], f"{where}: instruction"),
        "input": _text(row.get("input"), f"{where}: input"),
        "reference": _text(reference, f"{where}: output"),
        "system": _text(row.get("system"), f"{where}: system"),
    }


def _conversation(row: dict[str, Any], layout: Format, where: str) -> dict[str, Any]:
    """ShareGPT's `conversations` (from, value) or `messages` (role, content): the last exchange is the item."""
    key, role_key, text_key = (
        ("messages", "role", "content") if layout == "messages" else ("conversations", "from", "value")
    )
    system = _text(row.get("system"), f"{where}: system")
    said: list[tuple[str, str]] = []
    for number, message in enumerate(cast("Sequence[Any]", row[key]), start=1):
        place = f"{where}: {key} {number}"
        if not isinstance(message, dict) or role_key not in message or text_key not in message:
            raise InputError(f"{place} has no {role_key!r} and {text_key!r}", HINT)
        fields = cast("dict[str, Any]", message)
        role = ROLES.get(str(fields[role_key]), str(fields[role_key]))
        text = _text(fields[text_key], f"{place}: {text_key}")
        if role == "system":
            system = f"{system}\n\n{text}" if system else text
        elif role in ("user", "assistant"):
            said.append((role, text))
        else:
            raise InputError(f"{place}: unknown role {role!r}", "known: system, user, assistant (human, gpt)")
    while said and said[0][0] == "assistant":  # a greeting answers nothing
        said.pop(0)
    if not said:
        raise InputError(f"{where}: nobody asks anything", HINT)
    if said[-1][0] == "user":
        said.append(("assistant", ""))
    if [role for role, _ in said] != ["user", "assistant"] * (len(said) // 2):
        raise InputError(f"{where}: user and assistant do not take turns", "merge messages of the same role")
    texts = [text for _, text in said]
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    history = tuple(Turn(instruction=asked, response=answered) for asked, answered in pairs[:-1])
    return {"instruction": pairs[-1][0], "reference": pairs[-1][1], "history": history, "system": system}
