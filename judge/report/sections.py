"""What a report is made of: sections with a body for people and data for programs, and the elimination ladder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from markupsafe import Markup

Outcome = Literal["accounts", "cleared", "unclear", "untested"]


@dataclass(frozen=True)
class Section:
    """A part of the page. `body` is HTML whose data has been escaped; `data` goes into report.json under `id`."""

    id: str
    title: str
    body: Markup
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
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


@dataclass(frozen=True)
class Report:
    """A whole report. `question` and `answer` are plain text; `items` is what the browser of items shows."""

    title: str
    question: str
    answer: str
    explanation: str
    figures: tuple[KeyFigure, ...]
    cautions: tuple[str, ...]
    sections: tuple[Section, ...]
    items: Mapping[str, Any]
    provenance: Mapping[str, Any]
    ladder: tuple[Rung, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
