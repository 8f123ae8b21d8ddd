"""Build a report from judged files: report.json for programs, report.html (one self-contained file) for people."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from equiloss import files, provenance
from equiloss.errors import InputError
from equiloss.numerals import digits_for, number, p_value, span
from equiloss.records.diagnosis import Diagnosis
from judge.comparison.compare import compare
from judge.comparison.document import Comparison
from judge.data.scores import Scores, choose_panel, scale_of
from judge.data.verdicts import Judged, Panel
from judge.labelling.label import Label
from judge.report import items, overview, prose
from judge.report.sections import KeyFigure, Report, ReportDocument, ReportProvenance, Rung, Section, SourceFile


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
    diagnosis: Diagnosis | None = None,
    labels: Sequence[Label] = (),
) -> Report:
    """Put a report together.

    `sections` and `ladder` come from a diagnosis; its `answer` then replaces the headline: the first sentence large,
    the others before what the headline would have been. With `labels` there is a section on what the person who
    labelled some of the answers would score.

    Raises: InputError as `judge.compare.compare` does.
    """
    panel = choose_panel(judged, rubric, judge)
    scores = Scores.of(judged, panel)
    comparison = compare(judged, rubric=rubric, judge=judge, labels=labels, mixed=True, scores=scores)
    scale = scale_of(judged, panel)
    names = [model.name for model in comparison.models]
    place = overview.places(comparison)
    runs = {run: place[model.name] for model in comparison.models for run in model.runs}
    headline = prose.headline(comparison, scale)
    first, further = prose.first_sentence(answer or headline)
    own = [
        overview.differences(comparison, scale) if comparison.differences else None,
        overview.categories(comparison, scale) if comparison.categories else None,
        overview.control_answers(comparison) if comparison.control_answers else None,
    ]
    people = [overview.people(comparison, scale)] if labels else []
    parts = (overview.scores(comparison, scores, judged, scale), *people, *sections, *filter(None, own))
    by_item = items.scores_of(judged, scores)
    document = ReportDocument(
        title=title or " · ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else ""),
        question=question or _question(names),
        answer=first if answer else headline,
        figures=_figures(comparison, scale),
        cautions=tuple(comparison.warnings),
        ladder=tuple(ladder),
        sections={section.id: section.data for section in parts},
        items=tuple(by_item),
        provenance=_provenance(judged, comparison),
        comparison=comparison,
        diagnosis=diagnosis,
    )
    explanation = f"{further} {headline}".strip() if answer else ""
    return Report(document, explanation, parts, items.browser(judged, by_item, panel, scale, runs))


def write(report: Report, directory: Path) -> tuple[Path, Path]:
    """Write report.json and report.html whole; returns their paths.

    Raises: InputError when `directory` is a file.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: is not a directory", "name a directory with -o")
    json_path, html_path = directory / "report.json", directory / "report.html"
    files.write_json(json_path, report.document, indent=2 if len(report.document.items) <= items.PLAIN else None)
    files.write_text(html_path, html(report))
    return json_path, html_path


def html(report: Report) -> str:
    """report.html: no network, no markup from data, and a policy that lets no other script run."""
    css, script = (
        resources.files("judge.report").joinpath(name).read_text("utf-8") for name in ("page.css", "page.js")
    )
    return str(
        overview.fill(
            "page",
            report=report.document,
            explanation=report.explanation,
            sections=report.sections,
            css=Markup(css),
            script=Markup(script),
            css_hash=hash_of(css),
            script_hash=hash_of(script),
            data=items.embed(report.items),
        )
    )


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
    gaps = [prose.from_ahead(gap) for gap in comparison.differences]
    if len(gaps) == 1:
        gap = gaps[0]
        name = f"{gap.a} − {gap.b}" if gap.difference else "Gap"
        first = KeyFigure(name, number(gap.difference, digits), f"{span(gap.interval, digits)} over {gap.method}")
        if gap.method == "items":
            spread = number(gap.chance_seed_sd, digits)
            second = KeyFigure("One seed a side", f"SD {spread}", "between seeds would make the gap chance")
        else:
            second = KeyFigure("p of no difference", p_value(gap.p), f"two-sided, over {gap.method}")
    else:
        top = max(comparison.models, key=lambda model: model.mean or 0.0)
        first = KeyFigure(top.name, number(top.mean, digits), span(top.interval, digits))
        shown = f"{sum(gap.significant for gap in gaps)} of {len(gaps)}"
        second = KeyFigure("Differences shown", shown, "after Holm's correction") if gaps else None
    left_out = comparison.n_items_any - comparison.n_items
    common = KeyFigure("Items in common", f"{comparison.n_items:,}", f"{left_out or 'none'} left out")
    kind = "" if comparison.is_llm else ", not an LLM"
    repeats = f"{comparison.n_repeats} repeats" if comparison.n_repeats > 1 else "one verdict per answer"
    name = comparison.judge.partition("@")[0]  # the whole address is under Provenance
    judge = KeyFigure("Judge", name, f"{comparison.rubric}, {repeats}{kind}")
    return tuple(figure for figure in (first, second, common, judge) if figure)


def _provenance(judged: Sequence[Judged], comparison: Comparison) -> ReportProvenance:
    panel = Panel(comparison.rubric, comparison.judge)
    verdicts = [verdict for run in judged for verdict in run.verdicts_of(panel)]
    costs = [verdict.cost_usd for verdict in verdicts if verdict.cost_usd is not None]
    return ReportProvenance(
        made_by=provenance.provenance(),
        files=tuple(
            SourceFile(path=str(path), sha256=files.sha256_file(path), run=run.generator)
            for run in judged
            for path in run.files
        ),
        judge=comparison.judge,
        judge_resolved=tuple(sorted({verdict.judge_resolved for verdict in verdicts} - {""})),
        rubric=comparison.rubric,
        rubric_sha=tuple(sorted({verdict.rubric_sha for verdict in verdicts})),
        verdicts=len(verdicts),
        prompt_tokens=sum(verdict.usage.prompt_tokens for verdict in verdicts),
        completion_tokens=sum(verdict.usage.completion_tokens for verdict in verdicts),
        cost_usd=sum(costs) if costs else None,
        confidence=comparison.confidence,
        draws=comparison.draws,
        seed=comparison.seed,
    )
