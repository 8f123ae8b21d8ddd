"""What a diagnosis is made of: levels, causes and the verdict, as they stand in the JSON document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from equiloss.records.file_record import FileRecord
from equiloss.records.provenance import Provenance
from equiloss.statistics.estimate import Estimate

FORMAT = "equiloss.diagnosis.v1"

LevelStatus = Literal["clear", "accounts", "undetermined", "not-tested"]
"""`clear`: the level does not account for the gap. `accounts`: it does. `undetermined`: tested, not settled."""

CauseStatus = Literal["named", "supported", "possible", "excluded", "not-tested"]
"""`supported`: the evidence that the cause predicts is there. `named`: supported, and the rule picks it."""

Basis = Literal["rerun", "elimination", "remainder"]
"""How a share was got, where not by adjusting for the cause or by where the gap lies: the cause was made equal and run
again; nothing else that is recorded differs; or it is what agreement with the reference does not predict."""

VerdictKind = Literal["cause", "chance", "cannot-tell"]

Row = dict[str, str | int | float | bool | None]
"""A row of a level's table."""

LEVEL_NAMES = ("premise", "reality", "judge", "decoding", "recipe", "base")
LEVEL_TITLES = (
    "Are the base models loss-equivalent?",
    "Is the gap real?",
    "Is it the judge?",
    "Is it the decoding?",
    "Is it the fine-tuning recipe?",
    "Is it the base model?",
)


class Evidence(FileRecord):
    """One thing that was looked at. `says` is a true sentence; `bearing` is for or against the level accounting."""

    name: str
    says: str
    bearing: Literal["for", "against", "neutral"] = "neutral"
    value: Estimate | None = None
    a: float | None = None
    b: float | None = None
    source: str = ""


class Cause(FileRecord):
    """A possible cause. `share` is the share of the gap it explains, by `share_method`; None where not measured."""

    id: str
    level: int
    title: str
    status: CauseStatus
    share: Estimate | None = None
    share_method: str = ""
    basis: Basis | None = None
    prior: float | None = None
    says: str = ""
    evidence_for: tuple[str, ...] = ()
    evidence_against: tuple[str, ...] = ()
    source: str = ""
    command: str | None = None


class Level(FileRecord):
    """One step of the elimination. `missing` and `command` say what a test that was not made would need."""

    number: int
    name: str
    title: str
    status: LevelStatus
    says: str
    effect: Estimate | None = None
    share: Estimate | None = None
    evidence: tuple[Evidence, ...] = ()
    causes: tuple[Cause, ...] = ()
    missing: tuple[str, ...] = ()
    command: str | None = None
    tables: dict[str, list[Row]] = Field(default_factory=dict)


class Side(FileRecord):
    """One of the two models: its runs (one per fine-tuning seed), its base and the files that were read."""

    name: str
    generators: tuple[str, ...]
    seeds: int
    items: int
    mean: float | None = None
    base_path: str | None = None
    base_sha256: str | None = None
    files: tuple[str, ...] = ()


class DiagnosisVerdict(FileRecord):
    """The answer. `cause` is set for kind `cause` only; `reason` is a fixed word for programs."""

    kind: VerdictKind
    reason: str
    cause: str | None = None
    level: int | None = None
    share: Estimate | None = None
    sentence: str
    because: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    command: str | None = None


class Diagnosis(FileRecord):
    """The whole document: `judge diagnose A B --json` prints it, `report.json` holds it."""

    format: str = FORMAT
    a: Side
    b: Side
    rubric: str | None = None
    judge: str | None = None
    judge_is_llm: bool | None = None
    gap: Estimate | None = None
    better: str | None = None
    levels: tuple[Level, ...]
    causes: tuple[Cause, ...]
    verdict: DiagnosisVerdict
    notes: tuple[str, ...] = ()
    provenance: Provenance = Provenance()

    def level(self, number: int) -> Level:
        """The level with this number."""
        return next(level for level in self.levels if level.number == number)


def tested(number: int, status: LevelStatus, says: str, **found: Any) -> Level:
    """A level that was tested: its status, what it says, and what else was found (fields of Level)."""
    return Level(number=number, name=LEVEL_NAMES[number], title=LEVEL_TITLES[number], status=status, says=says, **found)


def not_tested(number: int, missing: str, command: str | None) -> Level:
    """A level that could not be tested, with what is missing (a noun) and the command that supplies it."""
    return Level(
        number=number,
        name=LEVEL_NAMES[number],
        title=LEVEL_TITLES[number],
        status="not-tested",
        says=f"Not tested: {missing} missing.",
        missing=(missing,),
        command=command,
    )
