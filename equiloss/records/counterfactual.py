"""A.vs.B.explain.json: what `study explain` has tried. A cause made equal, run and judged again, and what closed."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Literal

from equiloss.errors import InputError
from equiloss.records.file_record import FileRecord
from equiloss.records.file_record import read as read_record
from equiloss.records.provenance import Provenance
from equiloss.statistics.estimate import Estimate

HINT = "name a file that `study explain` wrote, or run it again"


class ItemKind(StrEnum):
    """What items ask for."""

    KNOWLEDGE = "items that ask for knowledge"
    COPYING = "items that ask to copy"
    OTHER = "other items"


class Gain(FileRecord):
    """What a change gained on one kind of item, in points over what it is held against."""

    items: ItemKind
    count: int
    points: Estimate


class Tried(FileRecord):
    """One counterfactual: `cause` was made equal in `side`'s runs; `share` of the gap closed.

    `settled`: enough was run to believe a share near 0. `gap_before` and `gap_after` are the higher side minus the
    lower. `points`: the cause's part of the gap, A minus B: the mean of what the lower side gains with the higher's
    value (`in_lower`) and what the higher loses with the lower's (`in_higher`), against unchanged reruns;
    `interaction`: the former minus the latter, what the cause does in the one that it does not in the other.
    """

    cause: str
    fields: tuple[str, ...] = ()
    changed: str = ""
    side: str = ""
    runs: tuple[str, ...] = ()
    share: Estimate | None = None
    points: Estimate | None = None
    in_lower: Estimate | None = None
    in_higher: Estimate | None = None
    interaction: Estimate | None = None
    gap_before: Estimate | None = None
    gap_after: Estimate | None = None
    gains: tuple[Gain, ...] = ()
    settled: bool = False
    minutes: float = 0.0
    cost_usd: float | None = None
    note: str = ""


class Explanation(FileRecord):
    """All that was tried for A and B under one `key`: a hash of their runs, the number of seeds and the judge."""

    format: Literal["equiloss.explanation.v1"] = "equiloss.explanation.v1"
    a: str
    b: str
    key: str = ""
    tried: tuple[Tried, ...] = ()
    provenance: Provenance = Provenance()


def read(path: Path, names: Sequence[str] = ()) -> Explanation:
    """Read an explanation file; one about other runs than `names` is refused.

    Raises: InputError when it is missing, broken, or about other runs.
    """
    found = read_record(Explanation, path, HINT)
    if names and sorted([found.a, found.b]) != sorted(names):
        raise InputError(f"{path}: explains {found.a} and {found.b}, not {names[0]} and {names[1]}", "name another")
    return found


def find(folder: Path, a: str, b: str) -> Explanation | None:
    """The explanation of A and B beside their results, if there is one."""
    paths = [folder / f"{first}.vs.{second}.explain.json" for first, second in ((a, b), (b, a))]
    return next((read(path, (a, b)) for path in paths if path.is_file()), None)
