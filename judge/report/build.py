"""Build a report from judged files: report.json for programs, report.html (one self-contained file) for people."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from equiloss import files, provenance
from equiloss.errors import InputError
from equiloss.numerals import digits_for, number, p_value
from judge.comparison.compare import compare
from judge.comparison.document import Comparison
from judge.data.scores import OVERALL, Scores, scale_of
from judge.data.verdicts import Judged, Panel
from judge.labelling.label import Label
from judge.report import items, overview, prose
from judge.report.sections import KeyFigure, Report, Rung, Section

REPORT_SCHEMA = "equiloss.report.v1"


def build(
    judged: Sequence[Judged],
    *,
    rubric: str | None = None,
    judge: str | None = None,
    title: str = "",
    question: str = "",
    ladder: Sequence[Rung] = (),
    sections: Sequence[Section] = (),
    answer: str = "",
    comparison: Comparison | None = None,
) -> Report:
    """Put a report together.

    `sections` and `ladder` come from a diagnosis; its `answer` then replaces the headline: the first sentence large,
    the others before what the headline would have been.

    Raises: InputError as `judge.compare.compare` does.
    """
    comparison = comparison or compare(judged, rubric=rubric, judge=judge)
    panel = Panel(comparison.rubric, comparison.judge)
    scores = Scores.of(judged, panel, None if comparison.criterion == OVERALL else comparison.criterion)
    scale = scale_of(judged, panel)
    names = [one.name for one in comparison.models]
    own = [overview.scores(comparison, scores, judged, scale)]
    if comparison.differences:
        own.append(overview.differences(comparison, scale))
    if comparison.categories:
        own.append(overview.categories(comparison, scale))
    if comparison.control_answers:
        own.append(overview.control_answers(comparison))
    headline = prose.headline(comparison, scale)
    first, further = prose.first_sentence(answer) if answer else (headline, "")
    return Report(
        title=title or " · ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else ""),
        question=question or _question(names),
        answer=first,
        explanation=" ".join(filter(None, (further, headline))) if answer else "",
        figures=_figures(comparison, scale),
        cautions=tuple(comparison.warnings),
        sections=(*own[:1], *sections, *own[1:]),
        items=items.browser(judged, scores, scale) | {"places": _places(judged, comparison)},
        provenance=_provenance(judged, comparison),
        ladder=tuple(ladder),
        data={"comparison": comparison.model_dump(mode="json")},
    )


def with_people(
    report: Report, judged: Sequence[Judged], labels: Sequence[Label], rubric: str | None, judge: str | None
) -> Report:
    """The report with a section on what the person who labelled some of the answers would score.

    Raises: InputError when the labels are by another rubric or on another scale.
    """
    comparison = compare(judged, rubric=rubric, judge=judge, labels=labels)
    scale = scale_of(judged, Panel(comparison.rubric, comparison.judge))
    first, *others = report.sections
    return replace(
        report,
        cautions=tuple(dict.fromkeys([*report.cautions, *comparison.warnings])),
        sections=(first, overview.people(comparison, scale), *others),
        data={**report.data, "comparison": comparison.model_dump(mode="json")},
    )


def write(report: Report, directory: Path) -> tuple[Path, Path]:
    """Write report.json and report.html whole; returns their paths.

    Raises: InputError when `directory` is a file.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: is not a directory", "name a directory with -o")
    json_path, html_path = directory / "report.json", directory / "report.html"
    files.write_json(json_path, document(report))
    files.write_text(html_path, html(report))
    return json_path, html_path


def document(report: Report) -> dict[str, Any]:
    """report.json: everything on the page as data, but the answers' texts (which are in the result files)."""
    shown: dict[str, Any] = dict(report.items)
    brief = [
        {"id": one["id"], "category": one["category"], "scores": dict(zip(shown["runs"], one["scores"], strict=True))}
        for one in shown["items"]
    ]
    return {
        "schema": REPORT_SCHEMA,
        "title": report.title,
        "question": report.question,
        "answer": report.answer,
        "figures": [asdict(one) for one in report.figures],
        "cautions": list(report.cautions),
        "ladder": [asdict(one) for one in report.ladder],
        "sections": {one.id: dict(one.data) for one in report.sections},
        "items": brief,
        "provenance": dict(report.provenance),
        **report.data,
    }


def html(report: Report) -> str:
    """report.html: no network, no markup from data, and a policy that lets no other script run."""
    css, script = (
        resources.files("judge.report").joinpath(name).read_text("utf-8") for name in ("page.css", "page.js")
    )
    return str(
        overview.fill(
            "page",
            report=report,
            css=Markup(css),
            script=Markup(script),
            css_hash=hash_of(css),
            script_hash=hash_of(script),
            data=items.embed(report.items),
            created=str(report.provenance["made_by"]["created"]),
        )
    )


def _places(judged: Sequence[Judged], comparison: Comparison) -> list[int]:
    """The colour of each run: that of the model it belongs to."""
    place = {run: index for index, model in enumerate(comparison.models) for run in model.runs}
    return [place[one.generator] for one in judged]


def hash_of(text: str) -> str:
    """A source of a content security policy: the text's own hash."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _question(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"How good are {names[0]}'s answers?"
    if len(names) == 2:
        return f"Does {names[0]} answer better than {names[1]}?"
    return f"Which of {len(names)} models answers best?"


def _figures(comparison: Comparison, scale: tuple[float, float]) -> tuple[KeyFigure, ...]:
    digits = digits_for(*scale)
    figures: list[KeyFigure] = []
    if len(comparison.differences) == 1:
        pair = prose.pair(comparison.differences[0], digits)
        figures.append(
            KeyFigure(
                "Gap" if pair["level"] else f"{pair['ahead']} − {pair['behind']}",
                number(abs(comparison.differences[0].difference or 0.0), digits),
                f"{pair['low']} to {pair['high']}",
            )
        )
        figures.append(
            KeyFigure(
                "p of no difference",
                p_value(comparison.differences[0].p),
                f"two-sided, over {comparison.differences[0].method}",
            )
        )
    else:
        top = max(comparison.models, key=lambda one: one.mean or 0.0)
        low, high = top.interval or (None, None)
        figures.append(
            KeyFigure(top.name, number(top.mean, digits), f"{number(low, digits)} to {number(high, digits)}")
        )
        if comparison.differences:
            shown = sum(one.significant for one in comparison.differences)
            figures.append(
                KeyFigure("Differences shown", f"{shown} of {len(comparison.differences)}", "after Holm's correction")
            )
    left_out = comparison.n_items_any - comparison.n_items
    figures.append(
        KeyFigure("Items in common", f"{comparison.n_items:,}", f"{left_out} left out" if left_out else "none left out")
    )
    kind = "" if comparison.is_llm else ", not an LLM"
    repeats = f"{comparison.n_repeats} repeats" if comparison.n_repeats > 1 else "one verdict per answer"
    name = comparison.judge.partition("@")[0]  # the whole address is under Provenance
    figures.append(KeyFigure("Judge", name, f"{comparison.rubric}, {repeats}{kind}"))
    return tuple(figures)


def _provenance(judged: Sequence[Judged], comparison: Comparison) -> dict[str, Any]:
    panel = Panel(comparison.rubric, comparison.judge)
    verdicts = [v for one in judged for v in one.verdicts_of(panel)]
    costs = [v.cost_usd for v in verdicts if v.cost_usd is not None]
    return {
        "made_by": provenance.provenance().model_dump(),
        "files": [
            {"path": str(path), "sha256": files.sha256_file(path), "run": one.generator}
            for one in judged
            for path in one.files
        ],
        "judge": comparison.judge,
        "judge_resolved": sorted({v.judge_resolved for v in verdicts}),
        "rubric": comparison.rubric,
        "rubric_sha": sorted({v.rubric_sha for v in verdicts}),
        "verdicts": len(verdicts),
        "prompt_tokens": sum(v.usage.prompt_tokens for v in verdicts),
        "completion_tokens": sum(v.usage.completion_tokens for v in verdicts),
        "cost_usd": sum(costs) if costs else None,
        "confidence": comparison.confidence,
        "draws": comparison.draws,
        "seed": comparison.seed,
    }
