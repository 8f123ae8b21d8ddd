"""Comparisons and audits in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from equiloss import console
from equiloss.numerals import interval, number, p_value
from equiloss.statistics.estimate import Interval
from judge.auditing.documents import Audit
from judge.comparison.document import Comparison, Difference, ModelScore

if TYPE_CHECKING:
    from rich.table import Table


def emit_comparison(comparison: Comparison) -> None:
    """Print a comparison: tables on stdout, warnings and control answers on stderr."""
    for warning in comparison.warnings:
        console.warn(warning)
    console.emit_table(models(comparison))
    if comparison.differences:
        console.emit_table(differences(comparison))
    if comparison.categories:
        console.emit_table(categories(comparison))
    if line := control_answers(comparison):
        console.say(line)


def emit_audit(audit: Audit) -> None:
    """Print an audit: what was measured, and what it means."""
    share = f"{audit.confidence:.0%}"
    title = f"audit of {audit.judge} by rubric {audit.rubric}, {audit.n_verdicts:,} verdicts"
    console.emit_table(console.table(title, "lrrr", ("check", "value", f"{share} interval", "n"), checks(audit)))
    for finding in audit.findings:
        console.out().print(finding, markup=False)


def models(comparison: Comparison) -> Table:
    """Every model's mean with its interval, best first."""
    spread = f"{comparison.confidence:.0%} interval"
    headings = ["model", "mean", spread, "s.e.", "scored", "missing", "failures"]
    labelled = any(model.human for model in comparison.models)
    if labelled:
        headings += ["person's mean", spread, "labels"]

    def row(model: ModelScore) -> list[str]:
        failures = ", ".join(f"{count} {reason}" for reason, count in model.failures.items()) or "0"
        cells = [
            model.name + (f" ({len(model.runs)} seeds)" if len(model.runs) > 1 else ""),
            number(model.mean),
            interval(model.interval),
            number(model.standard_error),
            str(model.n_scored),
            str(model.n_missing),
            failures,
        ]
        if person := model.human:
            return [*cells, number(person.mean), interval(person.interval), str(person.n_labelled)]
        return [*cells, "–", "–", "–"] if labelled else cells

    title = f"{comparison.rubric} by {comparison.judge}, {comparison.n_items} items in common"
    best_first = sorted(comparison.models, key=lambda model: -(model.mean or 0.0))
    return console.table(title, "w" + "r" * (len(headings) - 1), headings, map(row, best_first))


def differences(comparison: Comparison) -> Table:
    """All paired differences."""
    headings = ["a", "b", "a − b", f"{comparison.confidence:.0%} interval", "wins/ties/losses", "items", "p (Holm)"]
    headings += ["finds", "equal length"]
    labelled = any(pair.human for pair in comparison.differences)
    if labelled:
        headings.append("person's a − b")

    def row(pair: Difference) -> list[str]:
        cells = [
            pair.a,
            pair.b,
            number(pair.difference),
            interval(pair.interval),
            f"{pair.wins}/{pair.ties}/{pair.losses}",
            str(pair.n_items),
            p_value(pair.p_holm),
            number(pair.minimum_detectable),
            number(pair.length_adjusted.difference if pair.length_adjusted else None),
        ]
        if labelled:
            cells.append(f"{number(pair.human.difference)} {interval(pair.human.interval)}" if pair.human else "–")
        return cells

    over_seeds = any(pair.method == "seeds and items" for pair in comparison.differences)
    caption = "p over seeds and items" if over_seeds else "p over items, for these runs alone"
    caption += "; finds: the gap found with 80 % power; equal length: the gap at equal length of answers"
    align = "ww" + "r" * (len(headings) - 2)
    return console.table("paired differences", align, headings, map(row, comparison.differences), caption)


def categories(comparison: Comparison) -> Table:
    """Means by category, one column per model."""
    names = [model.name for model in comparison.models]
    rows = (
        (row.category, str(row.n_items), *(f"{number(row.means[n])} {interval(row.intervals[n], 1)}" for n in names))
        for row in comparison.categories
    )
    return console.table("by category", "wr" + "r" * len(names), ("category", "items", *names), rows)


def control_answers(comparison: Comparison) -> str:
    """What the judge gave the control answers, on one line; empty without any."""
    parts = [
        f"{kind} {score.mean:.0%}"
        if score.mean_abs_difference is None
        else f"{kind} {score.mean_abs_difference:.0%} apart"
        for kind, score in comparison.control_answers.items()
    ]
    return f"control answers (mean share of the scale): {', '.join(parts)}" if parts else ""


def checks(audit: Audit) -> Iterator[tuple[str, str, str, str]]:
    """What an audit measured, a row a check: shares of the scale in per cent, agreement as it is."""

    def percent(name: str, value: float | None, span: Interval | None, n: int | str = "") -> tuple[str, str, str, str]:
        scaled = None if span is None else (span[0] * 100, span[1] * 100)
        return name, number(None if value is None else value * 100, 1), interval(scaled, 1), str(n)

    def plain(name: str, value: float | None, span: Interval | None, n: int) -> tuple[str, str, str, str]:
        return name, number(value), interval(span), str(n)

    for name, bias in (
        ("first against last place, %", audit.position),
        ("per doubling of length, %", audit.length),
        ("drift per 1,000 prompts, %", audit.drift),
    ):
        if bias is not None:
            yield percent(f"{name}, scores as given", bias.as_given, bias.as_given_interval)
            yield percent(f"{name}, behind the scale's ends", bias.behind, bias.behind_interval)
    if (again := audit.repeatability) is not None:
        yield percent("standard deviation of a verdict, %", again.standard_deviation, None, again.n_answers)
        yield percent(
            "of them noise, in one place and off the ends, %", again.noise, again.noise_interval, again.n_away
        )
        yield plain("reliability of a verdict, ICC(1,1)", again.icc_one, again.icc_one_interval, again.n_answers)
        yield plain("Krippendorff's alpha of repeats", again.alpha, again.alpha_interval, again.n_answers)
    for other in audit.agreement:
        yield plain(f"Spearman with {other.with_}", other.spearman, other.spearman_interval, other.n)
        if other.kappa is not None:
            yield plain(f"weighted kappa with {other.with_}", other.kappa, other.kappa_interval, other.n)
    if (jury := audit.jury) is not None:
        names = f"{len(jury.judges)} judges"
        yield plain(f"Krippendorff's alpha between {names}", jury.alpha, jury.alpha_interval, jury.n_answers)
        yield plain(f"one judge for another, ICC(2,1), {names}", jury.icc, None, jury.n_answers)
        yield plain(f"Kendall's W of {names}", jury.kendalls_w, None, jury.n_answers)
    for kind, control in audit.control_answers.items():
        yield percent(f"control answer: {kind}, mean score %", control.mean, control.interval, control.n)
    yield percent("verdicts at an end of the scale, %", audit.share_at_ends, None, audit.n_verdicts)
