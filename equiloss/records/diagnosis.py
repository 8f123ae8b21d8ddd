"""What a diagnosis is made of: levels, causes and the verdict, as they stand in the JSON document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from equiloss.records.file_record import FileRecord
from equiloss.records.provenance import Provenance
from equiloss.statistics.estimate import Estimate

FORMAT = "equiloss.diagnosis.v2"

LevelStatus = Literal["clear", "accounts", "undetermined", "not-tested"]
"""`clear`: the level does not account for the gap. `accounts`: it does. `undetermined`: tested, not settled."""

CauseStatus = Literal["named", "supported", "possible", "excluded", "not-tested"]
"""`supported`: its contribution is told from 0 after correction over all causes tested. `named`: supported, and the
rule picks it. `possible`: it can act, and no test has settled it."""

Grade = Literal["measured", "adjusted", "located", "suspected"]
"""The evidence, strongest first: a rerun with the factor made equal; answers mended or a bias regressed out, with a
counter-check that works on this case; a measure that differs, the gap on the items it predicts, and no more than the
measure's difference can make; a recorded difference that can act."""

VerdictKind = Literal[
    "cause",
    "within-margin",
    "underpowered",
    "chance-of-pretraining",
    "unrecorded-difference",
    "premise-false",
    "cannot-tell",
]

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
    """A possible cause. `points` of the gap (A minus B) are its doing, `share` is their share of the gap.

    `indirect`: the test shows only that the cause could have made these points, so that nothing else may be left that
    could; `tied`: other causes that these items cannot tell from it, with the same points; `open`: it can act, and its
    reach is not bounded by any test.
    """

    id: str
    level: int
    title: str
    status: CauseStatus
    grade: Grade = "suspected"
    points: Estimate | None = None
    share: Estimate | None = None
    indirect: bool = False
    open: bool = False
    tied: tuple[str, ...] = ()
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


class Question(FileRecord):
    """The gap as one question asks it: A minus B in `points`, with a 95 % interval over `unit` (and items)."""

    points: float
    low: float
    high: float
    unit: str
    p: float | None = None


class Questions(FileRecord):
    """The three questions; None where the question's unit was not varied (or there are too few items).

    `answers`: do these answers differ? `bases`: would other fine-tunings of these base models? `recipes`: would other
    pretraining runs?
    """

    answers: Question | None = None
    bases: Question | None = None
    recipes: Question | None = None


class Contribution(FileRecord):
    """A cause's part of the gap in signed points, A minus B; without numbers where it was not measured."""

    cause: str
    points: float | None = None
    low: float | None = None
    high: float | None = None
    grade: Grade
    status: CauseStatus


class DiagnosisVerdict(FileRecord):
    """The answer. `causes` are what is named, `cause` the largest of them; `reason` is a fixed word for programs.

    `shows_as`: how a difference shows whose cause is not named, or what pulls apart behind a gap that is not shown;
    `level` and `share` are those of `cause`.
    """

    kind: VerdictKind
    reason: str
    cause: str | None = None
    causes: tuple[str, ...] = ()
    shows_as: tuple[str, ...] = ()
    level: int | None = None
    share: Estimate | None = None
    sentence: str
    because: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    command: str | None = None


class Diagnosis(FileRecord):
    """The whole document: `judge diagnose A B --json` prints it, `report.json` holds it.

    `unexplained`: what the contributions with points leave of the gap; `margin_points`: the smallest gap of interest.
    """

    format: str = FORMAT
    a: Side
    b: Side
    rubric: str | None = None
    judge: str | None = None
    judge_is_llm: bool | None = None
    gap: Estimate | None = None
    margin_points: float | None = None
    questions: Questions = Questions()
    contributions: tuple[Contribution, ...] = ()
    unexplained: Estimate | None = None
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
