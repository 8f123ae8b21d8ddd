"""What `study explain` has tried: a factor made equal, run and judged again, and the share of the gap that closed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from equiloss.errors import InputError
from equiloss.files import read_json
from equiloss.statistics.estimate import Estimate

FORMAT = "equiloss.explanation.v1"


class Gain(BaseModel):
    """What a change gained on one kind of item, in points over what it is held against."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: str
    count: int
    points: Estimate


class Tried(BaseModel):
    """One counterfactual: `cause` was made equal in `side`'s runs; `share` of the gap closed.

    `settled`: enough was run to believe a share near 0. `gap_before` and `gap_after` are A minus B.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cause: str
    fields: tuple[str, ...] = ()
    changed: str = ""
    side: str = ""
    runs: tuple[str, ...] = ()
    share: Estimate | None = None
    gap_before: Estimate | None = None
    gap_after: Estimate | None = None
    gains: tuple[Gain, ...] = ()
    settled: bool = False
    minutes: float = 0.0
    cost_usd: float | None = None
    note: str = ""


def read(path: Path, names: Sequence[str] = ()) -> list[Tried]:
    """Read an explanation file; one about other runs than `names` is refused.

    Raises: InputError when it is missing, broken, or about other runs.
    """
    document = read_json(path)
    if not isinstance(document, dict) or cast("dict[str, Any]", document).get("format") != FORMAT:
        raise InputError(f"{path}: not an explanation", "name a file that `study explain` wrote")
    record = cast("dict[str, Any]", document)
    about = [str(record.get("a")), str(record.get("b"))]
    if names and sorted(about) != sorted(names):
        raise InputError(f"{path}: explains {about[0]} and {about[1]}, not {names[0]} and {names[1]}", "name another")
    try:
        return [Tried.model_validate(one) for one in cast("list[Any]", record.get("tried") or [])]
    except ValidationError as error:
        raise InputError(f"{path}: {error.errors()[0]['msg']}", "run `study explain` again") from None


def find(folder: Path, a: str, b: str) -> list[Tried]:
    """The explanation of A and B beside their results, if there is one."""
    for first, second in ((a, b), (b, a)):
        path = folder / f"{first}.vs.{second}.explain.json"
        if path.is_file():
            return read(path, (a, b))
    return []
