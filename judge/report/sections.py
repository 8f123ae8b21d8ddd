"""What a report is made of: sections with a body for people and data for programs, and the elimination ladder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup
from pydantic import Field

from equiloss.records.diagnosis import Diagnosis
from equiloss.records.file_record import FileRecord
from equiloss.records.provenance import Provenance
from judge.comparison.document import Comparison
from judge.report.items import ItemScores

REPORT_SCHEMA = "equiloss.report.v1"
Outcome = Literal["accounts", "cleared", "unclear", "untested"]


@dataclass(frozen=True)
class Section:
    """A part of the page. `body` is HTML whose data has been escaped; `data` goes into report.json under `id`."""

    id: str
    title: str
    body: Markup
    data: Mapping[str, object] = field(default_factory=dict[str, object])
    lead: str = ""


@dataclass(frozen=True)
class Rung:
    """A level of the elimination ladder: what was asked, how it came out, and the number that says so."""

    level: int
    name: str
    outcome: Outcome
    evidence: str
    section: str = ""


@dataclass(frozen=True)
class KeyFigure:
    """A number of the first screen, with its name and what qualifies it."""

    name: str
    value: str
    note: str = ""


class SourceFile(FileRecord):
    """A file that a report was made from."""

    path: str
    sha256: str
    run: str


class ReportProvenance(FileRecord):
    """Who judged by what, what that took, and what made the report. `cost_usd` is None where no price is known."""

    made_by: Provenance
    files: tuple[SourceFile, ...]
    judge: str
    judge_resolved: tuple[str, ...]
    rubric: str
    rubric_sha: tuple[str, ...]
    verdicts: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    confidence: float
    draws: int
    seed: int


class ReportDocument(FileRecord):
    """report.json: everything on the page as data, but the answers' texts (which are in the result files)."""

    schema_: str = Field(default=REPORT_SCHEMA, alias="schema")
    title: str
    question: str
    answer: str
    figures: tuple[KeyFigure, ...]
    cautions: tuple[str, ...]
    ladder: tuple[Rung, ...] = ()
    sections: dict[str, Mapping[str, object]]
    items: tuple[ItemScores, ...]
    provenance: ReportProvenance
    comparison: Comparison
    diagnosis: Diagnosis | None = None


@dataclass(frozen=True)
class Report:
    """A whole report: its document, and what the page has besides: bodies of sections, and the browser of items.

    `explanation` stands below the answer.
    """

    document: ReportDocument
    explanation: str
    sections: tuple[Section, ...]
    items: Mapping[str, object]
