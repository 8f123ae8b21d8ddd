"""Tables for the terminal."""

from __future__ import annotations

from rich.table import Table

from equiloss import console
from equiloss.numerals import interval, number, p_value
from equiloss.statistics.estimate import Interval
from judge.auditing.documents import Audit
from judge.comparison.document import Comparison, ModelScore


def emit_comparison(comparison: Comparison) -> None:
    """Print a comparison: tables on stdout, warnings and planted answers on stderr."""
    for warning in comparison.warnings:
        console.warn(warning)
    console.emit_table(models(comparison))
    if comparison.differences:
        console.emit_table(differences(comparison))
    if comparison.categories:
        console.emit_table(categories(comparison))
    if line := control_answers(comparison):
        console.say(line)


def emit_audit(found: Audit) -> None:
    """Print an audit: what was measured, and what it means."""
    console.emit_table(audit(found))
    for finding in found.findings:
        console.out().print(finding, markup=False)


def models(comparison: Comparison) -> Table:
    """Every model's mean with its interval, best first."""
    share = f"{comparison.confidence:.0%}"
    table = Table(title=f"{comparison.rubric} by {comparison.judge}, {comparison.n_items} items in common")
    table.add_column("model", no_wrap=True)
    people = any(one.human for one in comparison.models)
    by_people = ("person's mean", f"{share} interval", "labels") if people else ()
    for name in ("mean", f"{share} interval", "s.e.", "scored", "missing", "failures", *by_people):
        table.add_column(name, justify="right")
    for one in sorted(comparison.models, key=lambda model: -(model.mean or 0.0)):
        seeds = f" ({len(one.runs)} seeds)" if len(one.runs) > 1 else ""
        failures = ", ".join(f"{count} {reason}" for reason, count in one.failures.items()) or "0"
        table.add_row(
            one.name + seeds,
            number(one.mean),
            interval(one.interval),
            number(one.standard_error),
            str(one.n_scored),
            str(one.n_missing),
            failures,
            *(_by_people(one) if people else ()),
        )
    return table


def _by_people(one: ModelScore) -> tuple[str, str, str]:
    if one.human is None:
        return "–", "–", "–"
    return number(one.human.mean), interval(one.human.interval), str(one.human.n_labelled)


def differences(comparison: Comparison) -> Table:
    """All paired differences."""
    over_seeds = any(one.method == "seeds and items" for one in comparison.differences)
    caption = "p over seeds and items" if over_seeds else "p over items, for these runs alone"
    table = Table(
        title="paired differences",
        caption=f"{caption}; finds: the gap found with 80 % power; equal length: the gap at equal length of answers",
    )
    for name in ("a", "b"):
        table.add_column(name, no_wrap=True)
    people = any(one.human for one in comparison.differences)
    for name in (
        "a − b",
        f"{comparison.confidence:.0%} interval",
        "wins/ties/losses",
        "items",
        "p (Holm)",
        "finds",
        "equal length",
        *(("person's a − b",) if people else ()),
    ):
        table.add_column(name, justify="right")
    for one in comparison.differences:
        table.add_row(
            one.a,
            one.b,
            number(one.difference),
            interval(one.interval),
            f"{one.wins}/{one.ties}/{one.losses}",
            str(one.n_items),
            p_value(one.p_holm),
            number(one.minimum_detectable),
            number(one.length_adjusted.difference if one.length_adjusted else None),
            *(
                (f"{number(one.human.difference)} {interval(one.human.interval)}" if one.human else "–",)
                if people
                else ()
            ),
        )
    return table


def categories(comparison: Comparison) -> Table:
    """Means by category, one column per model."""
    table = Table(title="by category")
    table.add_column("category", no_wrap=True)
    table.add_column("items", justify="right")
    for model in comparison.models:
        table.add_column(model.name, justify="right")
    for one in comparison.categories:
        cells = [f"{number(one.means[m.name])} {interval(one.intervals[m.name], 1)}" for m in comparison.models]
        table.add_row(one.category, str(one.n_items), *cells)
    return table


def control_answers(comparison: Comparison) -> str:
    """What the judge gave the control answers, on one line; empty without any."""
    parts = [
        f"{kind} {one.mean:.0%}" if one.mean_abs_difference is None else f"{kind} {one.mean_abs_difference:.0%} apart"
        for kind, one in comparison.control_answers.items()
    ]
    return f"control answers (mean share of the scale): {', '.join(parts)}" if parts else ""


def audit(found: Audit) -> Table:
    """What an audit measured, in per cent of the scale."""
    table = Table(title=f"audit of {found.judge} by rubric {found.rubric}, {found.n_verdicts:,} verdicts")
    table.add_column("check")
    for name in ("value", f"{found.confidence:.0%} interval", "n"):
        table.add_column(name, justify="right")

    def row(name: str, value: float | None, span: Interval | None, n: int | str = "", factor: float = 100) -> None:
        scaled = None if span is None else (span[0] * factor, span[1] * factor)
        digits = 1 if factor == 100 else 2
        shown = number(None if value is None else value * factor, digits)
        table.add_row(name, shown, interval(scaled, digits), str(n))

    for name, bias in (
        ("first against last place, %", found.position),
        ("per doubling of length, %", found.length),
        ("drift per 1,000 prompts, %", found.drift),
    ):
        if bias is not None:
            row(f"{name}, scores as given", bias.as_given, bias.as_given_interval)
            row(f"{name}, behind the scale's ends", bias.behind, bias.behind_interval)
    if found.repeatability is not None:
        again = found.repeatability
        row("standard deviation of a verdict, %", again.standard_deviation, None, again.n_answers)
        row("of them noise, in one place and off the ends, %", again.noise, again.noise_interval, again.n_away)
        row("reliability of a verdict, ICC(1,1)", again.icc_one, again.icc_one_interval, again.n_answers, 1)
        row("Krippendorff's alpha of repeats", again.alpha, again.alpha_interval, again.n_answers, 1)
    for one in found.agreement:
        row(f"Spearman with {one.with_}", one.spearman, one.spearman_interval, one.n, 1)
        if one.kappa is not None:
            row(f"weighted kappa with {one.with_}", one.kappa, one.kappa_interval, one.n, 1)
    if (jury := found.jury) is not None:
        names = f"{len(jury.judges)} judges"
        row(f"Krippendorff's alpha between {names}", jury.alpha, jury.alpha_interval, jury.n_answers, 1)
        row(f"one judge for another, ICC(2,1), {names}", jury.icc, None, jury.n_answers, 1)
        row(f"Kendall's W of {names}", jury.kendalls_w, None, jury.n_answers, 1)
    for kind, control in found.control_answers.items():
        row(f"control answer: {kind}, mean score %", control.mean, control.interval, control.n)
    row("verdicts at an end of the scale, %", found.share_at_ends, None, found.n_verdicts)
    return table
