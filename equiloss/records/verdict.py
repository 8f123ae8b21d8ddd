"""Verdict lines: one score of one answer on one criterion, and everything that made it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import ConfigDict, Field, model_validator

from equiloss.errors import InputError
from equiloss.files import json_lines, sha256_of, write_jsonl
from equiloss.records.file_record import FileRecord, Number, shared, validated

VERDICT_SCHEMA = "equiloss.verdict.v1"
FAILURE_SCHEMA = "equiloss.failure.v1"
CONTROL_SCHEMA = "equiloss.canary.v1"


class Usage(FileRecord):
    """Tokens of the request that a verdict came from, as the endpoint counted them (shared by all its verdicts)."""

    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)


class Verdict(FileRecord):
    """A score. `position` counts from 0 in the prompt; `group` names the answers shown together, in their order.

    `usage` and `cost_usd` are those of the whole request divided by the answers in it, so that they add up.
    `value` is on the rubric's `scale`, `weight` the criterion's; `judge_is_llm` is false where it is not; `shared_with`
    names who else gave this very answer and was judged by it. These stand in files where they are known. Unknown fields
    are kept.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    id: str
    generator: str
    criterion: str
    value: Number
    explanation: str = ""
    repeat: int = 0
    position: int = 0
    group: list[str] = Field(default_factory=list)
    rubric: str
    rubric_sha: str
    judge: str
    judge_resolved: str
    request_sha: str
    usage: Usage = Field(default_factory=Usage)
    cost_usd: float | None = Field(default=None, ge=0)
    schema_: str = Field(default=VERDICT_SCHEMA, alias="schema")
    scale: tuple[float, float] | None = None
    weight: float | None = None
    judge_is_llm: bool | None = None
    shared_with: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _on_its_scale(self) -> Self:
        if self.scale is not None and not self.scale[0] <= self.value <= self.scale[1]:
            raise ValueError(f"value {self.value:g} is off the scale from {self.scale[0]:g} to {self.scale[1]:g}")
        return self


class Failure(FileRecord):
    """A request that gave no usable verdict: never a score. `reason`: refusal, truncated, unparsable, error."""

    model_config = ConfigDict(allow_inf_nan=False)

    id: str
    generator: str
    reason: str
    detail: str = ""
    text: str = ""
    repeat: int = 0
    position: int = 0
    group: list[str] = Field(default_factory=list)
    rubric: str
    rubric_sha: str
    judge: str
    judge_resolved: str = ""
    request_sha: str
    schema_: str = Field(default=FAILURE_SCHEMA, alias="schema")


class ControlVerdict(Verdict):
    """A verdict on a control answer: a planted answer of this `kind`, beside the answer of the model `generator`.

    `host_value` is what that answer got in the same prompt; `injection` names the text of an injection.
    """

    kind: str = Field(alias="canary")
    host_value: float | None = None
    injection: str | None = None
    schema_: str = Field(default=CONTROL_SCHEMA, alias="schema")


Line = TypeVar("Line", Verdict, Failure, ControlVerdict)


def pair_id(id: str, group: Iterable[str]) -> str:
    """What a comparison is of: an item, and the two whose answers to it met, in whatever order."""
    return " | ".join([id, *sorted(group)])


def safe_name(text: str) -> str:
    """A part of a file's name, of letters and digits of any script: what a name cannot hold is replaced by "-".

    What would be empty, hidden or too long gets a hash of the whole text.
    """
    name = re.sub(r"[^\w.+-]+", "-", text).strip("-")
    if name.strip(".") and not name.startswith(".") and len(name.encode()) <= 80:
        return name
    return f"{name.encode()[:60].decode(errors='ignore').strip('.-')}-{sha256_of(text)[:8]}".strip("-")


def file_name(generator: str, rubric: str, judge: str, failures: bool = False) -> str:
    """The name of a verdict file: NAME.<rubric>.<judge>.jsonl, with what a file name cannot hold replaced by "-"."""
    return ".".join(map(safe_name, (generator, rubric, judge))) + (".failures.jsonl" if failures else ".jsonl")


def read_verdicts(path: Path) -> list[Verdict]:
    """Read a verdict file.

    Raises: InputError when it is missing, empty, broken, or holds something else, with the line.
    """
    return _read(path, Verdict)


def read_failures(path: Path) -> list[Failure]:
    """Read a failures file. Raises: InputError as `read_verdicts` does."""
    return _read(path, Failure)


def read_control_verdicts(path: Path) -> list[ControlVerdict]:
    """Read the verdicts on control answers. Raises: InputError as `read_verdicts` does."""
    return _read(path, ControlVerdict)


def write_verdicts(path: Path, verdicts: Iterable[Verdict | Failure]) -> None:
    """Write a verdict (or failures) file whole, one line each."""
    write_jsonl(path, map(verdict_row, verdicts))


def verdict_row(verdict: Verdict | Failure) -> dict[str, object]:
    """A verdict (or failure) as a line of a file has it."""
    row = verdict.model_dump(by_alias=True)
    optional = {name: row.pop(name, None) for name in ("scale", "weight", "judge_is_llm", "shared_with")}
    return {**row, **{name: value for name, value in optional.items() if value is not None}}


_OWN = frozenset(("explanation", "text", "detail", "request_sha"))
"""Fields that say something else on every line."""


def _read(path: Path, kind: type[Line]) -> list[Line]:
    schema = str(kind.model_fields["schema_"].default).rpartition(".")[0]  # of any version
    lines: list[Line] = []
    pool: dict[object, Any] = {}
    for where, row in json_lines(path):
        if not (isinstance(row, dict) and str(row.get("schema", "")).startswith(schema)):  # pyright: ignore
            what = schema.rpartition(".")[2]
            raise InputError(f"{where} is not a {what}", "name a file that `judge score` wrote")
        line = validated(kind, row, where, "judge the answers again")
        lines.append(shared(line, pool, _OWN))
    return lines
