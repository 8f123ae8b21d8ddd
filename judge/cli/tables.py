"""Comparisons and audits in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from equiloss import console
from equiloss.numerals import interval, number, p_value, percent, plain
from equiloss.records.anchor import AnchorEvidence, Judging
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
    console.say(*control_answers(comparison))


def emit_audit(audit: Audit) -> None:
    """Print an audit: what was measured, and what it means."""
    share = percent(audit.confidence)
    title = f"audit of {audit.judge} by rubric {audit.rubric}, {audit.n_verdicts:,} verdicts"
    console.emit_table(console.table(title, "lrrr", ("check", "value", f"{share} interval", "n"), checks(audit)))
    for finding in audit.findings:
        console.out().print(finding, markup=False)


def emit_against(evidence: AnchorEvidence, path: Path | None, *, as_json: bool) -> None:
    """Print how two judgings of the same answers agree, and whether they may stand in one table."""
    if as_json:
        console.emit_json(evidence.model_dump(mode="json"))
    else:
        rows: list[tuple[str, str, str, str]] = []
        for row in evidence.criteria:
            parts = {"shift, points": row.shift, "slope": row.slope, "per SD, points": row.stretch}
            parts |= {"rank correlation": row.ranks, "drift from first to last item, points": row.drift}
            parts |= {f"shift of {name}, points": shift for name, shift in row.by_model.items()}
            for name, found in parts.items():
                ends = None if found is None or found.low is None or found.high is None else (found.low, found.high)
                rows.append((row.criterion, name, number(found.value if found else None), interval(ends)))
        title = f"{evidence.rubric}: {_judging(evidence.second)} against {_judging(evidence.first)}"
        spread = f"{percent(evidence.confidence)} interval"
        console.emit_table(console.table(title, "llrr", ("criterion", "of the second", "value", spread), rows))
        verdict = "may" if evidence.one_table else "may not"
        console.out().print(f"The two {verdict} stand in one table (margin {plain(evidence.margin)} points).")
        console.say(*(f"{row.criterion}: {fault}" for row in evidence.criteria for fault in row.faults))
    if path:
        console.say(f"wrote {path}")


def _judging(judging: Judging) -> str:
    return judging.judge + (f" ({', '.join(judging.resolved)})" if judging.resolved else "")


def models(comparison: Comparison) -> Table:
    """Every model's mean with its interval, best first."""
    spread = f"{percent(comparison.confidence)} interval"
    columns: list[tuple[str, Callable[[ModelScore], str]]] = [
        ("model", lambda model: model.name + (f" ({len(model.runs)} seeds)" if len(model.runs) > 1 else "")),
        ("mean", lambda model: number(model.mean)),
        (spread, lambda model: interval(model.interval)),
        ("s.e.", lambda model: number(model.standard_error)),
        ("scored", lambda model: str(model.n_scored)),
        ("missing", lambda model: str(model.n_missing)),
        ("failures", lambda model: ", ".join(f"{count} {why}" for why, count in model.failures.items()) or "0"),
    ]
    if any(model.human for model in comparison.models):
        columns.append(("person's mean", lambda model: number(model.human and model.human.mean)))
        columns.append((spread, lambda model: interval(model.human and model.human.interval)))
        columns.append(("labels", lambda model: str(model.human.n_labelled) if model.human else "–"))
    rows = [[cell(model) for _, cell in columns] for model in sorted(comparison.models, key=lambda m: -(m.mean or 0.0))]
    title = f"{comparison.rubric} by {comparison.judge}, {comparison.n_items} {comparison.unit} in common"
    return console.table(title, "w" + "r" * (len(columns) - 1), [heading for heading, _ in columns], rows)


def differences(comparison: Comparison) -> Table:
    """All paired differences."""
    spread = f"{percent(comparison.confidence)} interval"
    over_seeds: list[tuple[str, Callable[[Difference], str]]] = [
        ("p (Holm)", lambda pair: p_value(pair.p_holm)),
        ("finds", lambda pair: number(pair.minimum_detectable)),
    ]
    alone: list[tuple[str, Callable[[Difference], str]]] = [
        ("chance if SD of seeds", lambda pair: number(pair.chance_seed_sd))
    ]
    columns: list[tuple[str, Callable[[Difference], str]]] = [
        ("a", lambda pair: pair.a),
        ("b", lambda pair: pair.b),
        ("a − b", lambda pair: number(pair.difference)),
        (spread, lambda pair: interval(pair.interval)),
        ("wins/ties/losses", lambda pair: f"{pair.wins}/{pair.ties}/{pair.losses}"),
        (comparison.unit, lambda pair: str(pair.n_items)),
        *(over_seeds if any(pair.method == "seeds and items" for pair in comparison.differences) else alone),
        ("equal length", lambda pair: number(pair.length_adjusted and pair.length_adjusted.difference)),
    ]
    if any(pair.human for pair in comparison.differences):
        columns.append(("person's a − b", lambda pair: number(pair.human and pair.human.difference)))
        columns.append((spread, lambda pair: interval(pair.human and pair.human.interval)))
    if any(pair.with_noise for pair in comparison.differences):
        columns.append(("other seeds (ledger)", lambda pair: interval(pair.with_noise and pair.with_noise.bases)))
        columns.append(("other base runs (ledger)", lambda pair: interval(pair.with_noise and pair.with_noise.recipes)))
    rows = [[cell(pair) for _, cell in columns] for pair in comparison.differences]
    if any(pair.method == "seeds and items" for pair in comparison.differences):
        caption = "interval and p over seeds and items; finds: the gap found with 80 % power"
    else:
        caption = f"interval over {comparison.unit} alone, of these very answers; "
        caption += "at that SD between seeds the gap would be chance"
    caption += "; equal length: the gap at equal length of answers"
    if equal := comparison.equal_models:
        over = equal.unit.replace("items", comparison.unit)
        caption += (
            f"\nmeans spread over {number(equal.observed)}; {equal.n_models} equal models would spread over "
            f"{number(equal.expected)} (below {number(equal.largest)} in {percent(comparison.confidence)} of draws), "
            f"and over as much in {percent(equal.chance)}; noise over {over}"
        )
    align = "ww" + "r" * (len(columns) - 2)
    return console.table("paired differences", align, [heading for heading, _ in columns], rows, caption)


def categories(comparison: Comparison) -> Table:
    """Means by category, one column per model."""
    names = [model.name for model in comparison.models]
    rows = (
        (row.category, str(row.n_items), *(f"{number(row.means[n])} {interval(row.intervals[n], 1)}" for n in names))
        for row in comparison.categories
    )
    return console.table("by category", "wr" + "r" * len(names), ("category", "items", *names), rows)


def control_answers(comparison: Comparison) -> list[str]:
    """What the judge gave the control answers, on one line; none without any."""
    parts = [
        f"{kind} {percent(score.mean)}"
        if score.mean_abs_difference is None
        else f"{kind} {percent(score.mean_abs_difference)} apart"
        for kind, score in comparison.control_answers.items()
    ]
    return [f"control answers (mean share of the scale): {', '.join(parts)}"] if parts else []


def checks(audit: Audit) -> Iterator[tuple[str, str, str, str]]:
    """What an audit measured, a row a check: shares of the scale in per cent, agreement as it is."""

    def share(name: str, value: float | None, span: Interval | None, n: int | str = "") -> tuple[str, str, str, str]:
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
            yield share(f"{name}, scores as given", bias.as_given, bias.as_given_interval)
            yield share(f"{name}, behind the scale's ends", bias.behind, bias.behind_interval)
    if (again := audit.repeatability) is not None:
        yield share("standard deviation of a verdict, %", again.standard_deviation, None, again.n_answers)
        yield share("of them noise, in one place and off the ends, %", again.noise, again.noise_interval, again.n_away)
        yield plain("reliability of a verdict, ICC(1,1)", again.icc_one, again.icc_one_interval, again.n_answers)
        yield plain("Krippendorff's alpha of repeats", again.alpha, again.alpha_interval, again.n_answers)
    for other in audit.agreement:
        yield plain(f"Spearman with {other.with_}", other.spearman, other.spearman_interval, other.n)
        if other.same is not None:
            yield share(f"the same as {other.with_}, %", other.same, None, other.n)
        if other.kappa is not None:
            yield plain(f"weighted kappa with {other.with_}", other.kappa, other.kappa_interval, other.n)
    if (jury := audit.jury) is not None:
        names = f"{len(jury.judges)} judges"
        yield plain(f"Krippendorff's alpha between {names}", jury.alpha, jury.alpha_interval, jury.n_answers)
        yield plain(f"one judge for another, ICC(2,1), {names}", jury.icc, None, jury.n_answers)
        yield plain(f"Kendall's W of {names}", jury.kendalls_w, None, jury.n_answers)
    for kind, control in audit.control_answers.items():
        yield share(f"control answer: {kind}, mean score %", control.mean, control.interval, control.n)
    yield share("verdicts at an end of the scale, %", audit.share_at_ends, None, audit.n_verdicts)
