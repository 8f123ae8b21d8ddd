"""A.vs.B.gate.json and a loop's log: what `judge gate` has looked at, so that the next look continues the test."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from equiloss.records.file_record import FileRecord, Number
from equiloss.statistics.estimate import CONFIDENCE

FORMAT = "equiloss.gate-log.v1"
HINT = "name a file that `judge gate` wrote, or a new one"

About = Literal["answers", "bases", "recipes"]


class GateLook(FileRecord):
    """One look at one question: B minus A in points, with the interval at this look's own `confidence`.

    `of`: a hash of what the statement is about (the runs, the base models); looks with the same speak of one quantity.
    `noise`: a hash of the noise ledger, where one was given.
    """

    points: Number
    low: Number
    high: Number
    standard_error: Number
    df: Number
    confidence: float
    unit: str
    of: str = ""
    noise: str = ""
    n_items: int = 0
    n_runs: tuple[int, int] = (0, 0)
    created: str = ""


class GateTest(FileRecord):
    """All looks at B against A about one question, and the data of the last one.

    `place`: which comparison of the log it is, from 1. `cells`: for each run and repeat ("RUN/0") a hash of six hex
    digits for each of `ids`, "------" where there is no score: enough to see that what was looked at is unchanged.
    """

    a: str
    b: str
    about: About
    rubric: str
    judge: str
    criterion: str = "overall"
    place: int = 1
    ids: tuple[str, ...] = ()
    cells: dict[str, str] = Field(default_factory=dict[str, str])
    looks: tuple[GateLook, ...] = ()


class GateLog(FileRecord):
    """The tests that share an error rate of 1 - `confidence`.

    `horizon`: None for the log of one pair, whose tests have that error rate each; else the log is of a loop, and all
    its comparisons have it together (see `equiloss.statistics.sequential`).
    """

    format: str = FORMAT
    confidence: float = CONFIDENCE
    horizon: int | None = None
    tests: tuple[GateTest, ...] = ()
