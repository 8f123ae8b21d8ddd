"""against.json: what `judge audit --against` found of two judgings of the same answers, for `judge compare`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from equiloss.records.file_record import FileRecord, read
from equiloss.records.provenance import Provenance
from equiloss.statistics.estimate import Estimate

FORMAT = "equiloss.anchor.v1"
HINT = "name the against.json that `judge audit` wrote, asked with --against"


class Judging(FileRecord):
    """A judging: the judge as asked, and the models that answered."""

    judge: str
    resolved: tuple[str, ...] = ()


class CriterionAgreement(FileRecord):
    """The second judging against the first on one criterion, in points of the rubric's scale.

    `shift`: second minus first. `slope`: what a point of the first is worth in the second. `stretch`: slope minus 1,
    times the SD of the first's scores: what an answer one SD above the mean gains. `ranks`: Spearman's correlation over
    answers. `drift`: how far the second moves away between its first item and its last. `by_model`: each model's shift.
    `faults`: what keeps the two out of one table; empty where nothing does.
    """

    criterion: str
    n_items: int
    n_answers: int
    shift: Estimate
    slope: Estimate | None = None
    stretch: Estimate | None = None
    ranks: Estimate | None = None
    drift: Estimate | None = None
    by_model: dict[str, Estimate] = Field(default_factory=dict[str, Estimate])
    faults: tuple[str, ...] = ()


class AnchorEvidence(FileRecord):
    """Two judgings of an anchor set. `one_table`: whether they may stand in one table, by docs/judges.md."""

    format: str = FORMAT
    rubric: str
    rubric_shas: tuple[str, ...] = ()
    first: Judging
    second: Judging
    margin: float
    confidence: float
    criteria: tuple[CriterionAgreement, ...] = ()
    one_table: bool = False
    provenance: Provenance = Provenance()


def load(path: Path) -> AnchorEvidence:
    """Read the evidence. Raises: InputError when it is none."""
    return read(AnchorEvidence, path, HINT)
