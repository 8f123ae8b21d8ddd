"""Example and Response: an instruction with its reference answer, and a model's answer to it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from equiloss import commands
from equiloss.errors import InputError
from equiloss.files import json_rows, unpacked_name, write_jsonl
from equiloss.records.file_record import validated

_FINISH = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_length", "max_new_tokens"), "length"),
}
RESPONSE_SCHEMA = "equiloss.response.v1"


def item_id(instruction: str, input: str) -> str:
    """The stable id of an item: 16 hex digits of a hash of what is asked, the same in every file."""
    return hashlib.sha256(json.dumps([instruction, input], ensure_ascii=False).encode()).hexdigest()[:16]


def conversation_id(instruction: str, input: str, history: Sequence[Turn], system: str) -> str:
    """The stable id of an item with earlier turns or a system prompt; without them, `item_id`."""
    if not history and not system:
        return item_id(instruction, input)
    asked = [instruction, input, system, [[turn.instruction, turn.input, turn.response] for turn in history]]
    return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()[:16]


def given_id(row: Mapping[str, Any]) -> str | None:
    """The id that a row of a results file gives its item; None where what is asked makes it, as in any other file."""
    id: object = row.get("id") if row.keys() & {"generator", "model_response"} else None
    return str(id) if type(id) in (str, int) else None


def number_repeats(ids: Sequence[str]) -> list[str]:
    """Make ids unique: the second item that asks the same gets "-2", the third "-3", in the order of the file."""
    taken = Counter(ids)
    seen: Counter[str] = Counter()
    unique: list[str] = []
    for id in ids:
        seen[id] += 1
        own = id
        while seen[id] > 1 and (own := f"{id}-{seen[id]}") in taken:  # another item bears that very id
            seen[id] += 1
        taken[own] += 1
        unique.append(own)
    return unique


class Turn(BaseModel):
    """An earlier exchange of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instruction: str
    input: str = ""
    response: str


class Example(BaseModel):
    """An item to learn from or to answer: what is asked, and the reference answer (empty where there is none).

    `history` holds the earlier turns of a conversation, `split` the item's split where the data gives it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    instruction: str
    input: str = ""
    reference: str = ""
    category: str | None = None
    system: str = ""
    history: tuple[Turn, ...] = ()
    split: Literal["train", "validation", "test"] | None = None


class Response(BaseModel):
    """A model's answer to an item (`output`, as AlpacaEval names it). Unknown fields are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, serialize_by_alias=True)

    id: str
    instruction: str
    input: str = ""
    output: str
    reference: str = ""
    generator: str
    category: str | None = None
    finish_reason: Literal["stop", "length"] | None = None
    n_tokens: int | None = None
    seed: int | None = None
    schema_: str = Field(default=RESPONSE_SCHEMA, alias="schema")


def read_responses(path: Path) -> list[Response]:
    """Read a results file: ours, the diary's (`model_response`; `output` the reference), or AlpacaEval's outputs.

    A JSON array and JSON Lines are both taken. The generator is the file's name where no line says it.
    Raises: InputError when the file is missing, empty, broken, or holds something else, with the place.
    """
    rows = read_rows(path)
    generator = stem_of(path)
    drafts = [response_from_row(row, generator, f"{path}: item {number}") for number, row in enumerate(rows, start=1)]
    ids = number_repeats([draft.id for draft in drafts])
    responses = [
        draft if draft.id == one else draft.model_copy(update={"id": one})
        for draft, one in zip(drafts, ids, strict=True)
    ]
    several = sorted({response.generator for response in responses})
    if len(several) > 1:
        raise InputError(
            f"{path}: holds answers of several models ({', '.join(several[:4])})", "split it into one file a model"
        )
    return responses


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON file (see `equiloss.files.json_rows`).

    Raises: InputError when it is neither, or when an entry is not an object.
    """
    rows: list[dict[str, Any]] = []
    for where, row in json_rows(path):
        if not isinstance(row, dict):
            raise InputError(f"{where} is not an object", "each item needs named fields")
        rows.append(cast("dict[str, Any]", row))
    if not rows:
        raise InputError(f"{path}: holds no items", "was the program that writes it interrupted?")
    return rows


def write_responses(path: Path, responses: Iterable[Response]) -> None:
    """Write a results file whole, one response per line."""
    write_jsonl(path, (response.model_dump(by_alias=True) for response in responses))


def response_from_row(row: dict[str, Any], generator: str, where: str) -> Response:
    """One answer from a row of a results file; `generator` is used where the row names none.

    Raises: InputError naming the place when a field is missing or wrong.
    """
    row = dict(row)
    if "model_response" in row:  # the diary's layout: `output` is the reference
        row["reference"], row["output"] = row.get("output", ""), row.pop("model_response")
    if "instruction" not in row or "output" not in row:
        missing = " and ".join(repr(key) for key in ("instruction", "output") if key not in row)
        raise InputError(
            f"{where} has no {missing}",
            f"`{commands.judge_exchange(where.partition(': ')[0], 'diary')}` reads it"
            if any(str(key).endswith(" response") for key in row)
            else f"a results file has instruction, input, output and reference; see `{commands.usage('ift respond')}`",
        )
    if "dataset" in row and row.get("category") is None:  # AlpacaEval's name for it
        row["category"] = row["dataset"]
    row["input"] = row.get("input") or ""
    row["reference"] = row.get("reference") or ""
    row["generator"] = generator if row.get("generator") is None else row["generator"]
    id: object = row.get("id")
    row["id"] = (
        item_id(str(row["instruction"]), str(row["input"])) if id is None else str(id) if type(id) is int else id
    )
    if isinstance(reason := row.get("finish_reason"), str):  # as other tools name it
        row["finish_reason"] = _FINISH.get(reason.lower())
    return validated(Response, row, where, "mend that field")


def stem_of(path: Path) -> str:
    """The name of a results file without its ending: `base.jsonl`, `base.json` and `base.jsonl.gz` are all `base`."""
    name = unpacked_name(path)
    for ending in (".jsonl", ".json"):
        name = name.removesuffix(ending)
    return name
