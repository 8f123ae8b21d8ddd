"""Verdict lines: one score of one answer on one criterion, and everything that made it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from equiloss.errors import InputError
from equiloss.files import read_jsonl, write_jsonl

VERDICT_SCHEMA = "equiloss.verdict.v1"
FAILURE_SCHEMA = "equiloss.failure.v1"


class Usage(BaseModel):
    """Tokens of the request that a verdict came from, as the endpoint counted them (shared by all its verdicts)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Verdict(BaseModel):
    """A score. `position` counts from 0 in the prompt; `group` names the answers shown together, in their order.

    `usage` and `cost_usd` are those of the whole request divided by the answers in it, so that they add up.
    `value` is on the rubric's scale. Unknown fields are kept.
    """

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, serialize_by_alias=True)

    id: str
    generator: str
    criterion: str
    value: float
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
    cost_usd: float | None = None
    schema_: str = Field(VERDICT_SCHEMA, alias="schema")


class Failure(BaseModel):
    """A request that gave no usable verdict: never a score. `reason`: refusal, truncated, unparsable, error."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, serialize_by_alias=True)

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
    schema_: str = Field(FAILURE_SCHEMA, alias="schema")


def file_name(generator: str, rubric: str, judge: str, failures: bool = False) -> str:
    """The name of a verdict file: NAME.<rubric>.<judge>.jsonl, with what a file name cannot hold replaced by "-"."""
    parts = [re.sub(r"[^A-Za-z0-9._+-]+", "-", part).strip("-") for part in (generator, rubric, judge)]
    return ".".join(parts) + (".failures.jsonl" if failures else ".jsonl")


def read_verdicts(path: Path) -> list[Verdict]:
    """Read a verdict file.

    Raises: InputError when it is missing, empty, broken, or holds something else, with the line.
    """
    return [_parse(row, f"{path}: line {number}") for number, row in enumerate(read_jsonl(path), start=1)]


def write_verdicts(path: Path, verdicts: Iterable[Verdict | Failure]) -> None:
    """Write a verdict (or failures) file whole, one line each."""
    write_jsonl(path, (verdict.model_dump(by_alias=True) for verdict in verdicts))


def _parse(row: Any, where: str) -> Verdict:
    if not (isinstance(row, dict) and str(row.get("schema", "")).startswith("equiloss.verdict.")):  # pyright: ignore
        raise InputError(f"{where} is not a verdict", "name a file that `judge score` wrote")
    try:
        return Verdict.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{where}: {first['loc'][0]}: {first['msg']}", "judge the answers again") from None


CANARY_SCHEMA = "equiloss.canary.v1"


class CanaryVerdict(Verdict):
    """A verdict on a canary. `generator` is the model whose answer it imitates or accompanies; `canary` its kind."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, serialize_by_alias=True)

    canary: str
    host_value: float | None = None
    injection: str | None = None
    schema_: str = Field(CANARY_SCHEMA, alias="schema")
