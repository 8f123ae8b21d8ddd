"""Level 2: does the judge make the gap? Position, length, failures, drift, and what the reference score says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from judge.diagnose import prose
from judge.diagnose.answers import count_words
from judge.diagnose.gap import Array, Draw, Fit, Gap, mean_difference, regress, row_mean
from judge.diagnose.inputs import Arm, Case
from judge.diagnose.records import Cause, CauseStatus, Estimate, Evidence, Level, not_tested, tested
from judge.results import Panel
from judge.verdicts import Verdict

ACCOUNTS = 0.5
"""A level accounts for the gap when it explains at least half of it and the share's interval leaves out 0."""
ALPHA = 0.01
"""Each artefact is tested at 1 %: four of them together at less than 5 %."""

POSITION_SOURCE = "Shi et al., arXiv 2406.07791 (position bias of LLM judges)"
LENGTH_SOURCE = "Dubois et al., arXiv 2404.04475 (length-controlled comparison by regression)"


@dataclass(frozen=True)
class Shown:
    """The panel's verdicts of one arm, and where each stood."""

    verdicts: list[Verdict]

    @cached_property
    def prompts(self) -> set[tuple[str, int, str, str]]:
        """The prompts: (item, repeat, request, and whose answer it is where it was shown alone).

        Equal answers may share a place, which `group` does not show; alone, they make equal requests at two times.
        """
        return {(v.id, v.repeat, v.request_sha, "" if len(v.group) > 1 else _sharers(v)) for v in self.verdicts}

    @cached_property
    def resolved(self) -> Counter[str]:
        """Which models answered as the judge, and how often."""
        return Counter(v.judge_resolved for v in self.verdicts)


def level(case: Case) -> Level:
    """Test the artefacts of judging one by one; each with the gap that is left when it is adjusted for."""
    gap = case.gap
    if gap is None or case.panel is None:
        files = " ".join(str(run.path or run.generator) for arm in case.arms for run in arm.runs)
        return not_tested(2, "verdicts on the answers", f"judge score {files}")
    shown = (_shown(case.a, case.panel), _shown(case.b, case.panel))
    evidence, reference_share = _reference(case, gap)
    equal, equal_answers = _equal_answers(case, gap)
    evidence += equal_answers
    causes: list[Cause] = []
    if case.panel.is_llm:
        made = _judge_made(gap, equal, reference_share)
        for found, cause in (
            _position(case, gap, equal, made),
            _length(case, gap),
            _drift(case, gap, shown, equal, made),
        ):
            evidence += found
            causes += [cause] if cause else []
    else:
        evidence.append(
            Evidence(
                name="kind of judge",
                says=f"{case.panel.judge} is a formula, not an LLM: it has no position effect, no drift and no noise.",
                bearing="against",
            )
        )
    found, cause = _failures(case, gap)
    evidence += found
    causes += [cause] if cause else []
    best = best_artefact(causes)
    reference_gap = case.reference.estimate if case.reference is not None else None
    if best is not None:
        status, says = "accounts", f"{best.says} Explained share of the gap: {prose.share(_known(best.share))}."
    else:
        status, says = "clear", "No artefact of judging that was tested accounts for the gap."
        if reference_gap is not None and reference_gap.excludes(0.0) and reference_gap.value * gap.value > 0:
            says += f" The reference score has it too: A minus B is {prose.span(reference_gap)} of 1."
    return tested(
        2,
        status,
        says,
        effect=evidence[0].value if evidence else None,
        share=best.share if best else None,
        evidence=tuple(evidence),
        causes=tuple(causes),
        command=best.command if best else None,
    )


UNPREDICTED = "regression of the item's gap on the difference in agreement"
"""The share of the gap that the reference score does not predict: the judge made it, but by which artefact is open."""


def best_artefact(causes: Sequence[Cause]) -> Cause | None:
    """The artefact that explains most; one that was measured goes before one that only could have made the gap."""
    measured = [one for one in causes if one.share is not None and one.share.method != UNPREDICTED]
    return best_cause(measured) or best_cause(list(causes))


def best_cause(causes: list[Cause]) -> Cause | None:
    """The supported cause that explains the largest share, if one explains enough."""
    enough = [one for one in causes if one.status == "supported" and explains(one.share)]
    return max(enough, key=lambda one: _known(one.share).value, default=None)


def explains(share: Estimate | None) -> bool:
    """Whether a share is at least half and its interval leaves out 0."""
    return share is not None and share.value >= ACCOUNTS and share.low is not None and share.low > 0


def _known(estimate: Estimate | None) -> Estimate:
    if estimate is None:
        raise ValueError("this cause has no share")
    return estimate


def _shown(arm: Arm, panel: Panel) -> Shown:
    return Shown([v for run in arm.runs for v in run.verdicts if Panel(v.rubric, v.judge) == panel])


# The reference score, and answers that are equal


def _reference(case: Case, gap: Gap) -> tuple[list[Evidence], Estimate | None]:
    """The gap in agreement with the reference, and the share of the judge's gap that it does not predict."""
    reference = case.reference
    if reference is None:
        says = "The items have no reference answers: the judge cannot be checked against them."
        return [Evidence(name="reference score", says=says)], None
    estimate = reference.estimate
    evidence = [
        Evidence(
            name="reference score",
            says=f"In agreement with the reference (0 to 1, by formula) A minus B is {prose.span(estimate)}.",
            bearing="against" if estimate.excludes(0) and estimate.value * gap.value > 0 else "neutral",
            value=estimate,
        )
    ]
    values = np.concatenate([gap.a.ravel(), gap.b.ravel()])
    agreements = np.concatenate([reference.a.ravel(), reference.b.ravel()])
    there = ~np.isnan(values) & ~np.isnan(agreements)
    if there.sum() > 3 and np.ptp(values[there]) > 0 and np.ptp(agreements[there]) > 0:
        rho = float(stats.spearmanr(values[there], agreements[there]).statistic)
        evidence.append(
            Evidence(
                name="agreement with the reference score",
                says=f"The judge's scores correlate with the reference score at {prose.number(rho)} (Spearman).",
                value=Estimate(value=rho, unit="Spearman correlation"),
            )
        )

    def unpredicted(a: Array, b: Array, draw: Draw) -> float:
        """The gap that is left at equal agreement: the intercept of d on the difference in agreement."""
        d = row_mean(a) - row_mean(b)
        q = row_mean(draw.of_a(reference.a)) - row_mean(draw.of_b(reference.b))
        both = ~np.isnan(d) & ~np.isnan(q)
        d, q = d[both], q[both]
        if len(d) < 5:
            return float("nan")
        spread = float(q.var())
        slope = float(((q - q.mean()) * (d - d.mean())).mean()) / spread if spread > 0 else 0.0
        return float(d.mean() - max(0.0, slope) * q.mean())

    predicted = gap.share(unpredicted, UNPREDICTED)
    return evidence, None if predicted is None else _complement(predicted)


def _complement(share: Estimate) -> Estimate:
    low = None if share.high is None else 1 - share.high
    high = None if share.low is None else 1 - share.low
    return share.model_copy(update={"value": 1 - share.value, "low": low, "high": high})


Place = tuple[str, int, int, str]
"""Where an answer was shown: request, repeat, position, and for whom."""
_Places = dict[str, set[Place]]


def _sharers(v: Verdict) -> str:
    """All who gave this answer and were judged by it being shown once, the verdict's own model among them."""
    others = cast("list[str]", (v.model_extra or {}).get("shared_with") or [])
    return "\n".join(sorted({v.generator, *others}))


def _places_of(arm: Arm, panel: Panel) -> list[_Places]:
    """Where each run's answers were shown. Equal answers may have been shown once, for all that gave them."""
    rows: list[_Places] = []
    for run in arm.runs:
        places: _Places = {}
        for v in run.verdicts:
            if Panel(v.rubric, v.judge) == panel:
                places.setdefault(v.id, set()).add((v.request_sha, v.repeat, v.position, _sharers(v)))
        rows.append(places)
    return rows


def _equal_answers(case: Case, gap: Gap) -> tuple[Estimate | None, list[Evidence]]:
    """The mean score difference, A minus B, where their answers are the same text: any is the judge's doing.

    Equal answers that were shown once, for both, have one score between them, and say nothing.
    """
    differences: list[float] = []
    at_a, at_b = (_places_of(arm, _panel(case)) for arm in case.arms)
    nowhere: set[Place] = set()
    for index, one in enumerate(case.ids):
        pairs = [
            float(gap.a[i, index] - gap.b[j, index])
            for i, of_a in enumerate(case.outputs_a)
            for j, of_b in enumerate(case.outputs_b)
            if of_a[index] is not None
            and of_a[index] == of_b[index]
            and not at_a[i].get(one, nowhere) & at_b[j].get(one, nowhere)
        ]
        known = [one for one in pairs if not math.isnan(one)]
        if known:
            differences.append(sum(known) / len(known))
    if len(differences) < 5:
        return None, []
    d = np.array(differences, dtype=np.float64)
    mean = float(d.mean())
    error = float(d.std(ddof=1)) / math.sqrt(len(d))
    half = float(stats.t.ppf(0.975, len(d) - 1)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, len(d) - 1)) if error else float(mean == 0)
    estimate = Estimate(value=mean, low=mean - half, high=mean + half, unit=gap.unit, p=p, method="t")
    differs = p < ALPHA
    says = (
        f"On the {len(d)} items where A and B gave the same answer, the judge scores A minus B {prose.span(estimate)}"
        + (": equal answers are not scored equally." if differs else ".")
    )
    bearing = "for" if differs and estimate.value * gap.value > 0 else "against" if not differs else "neutral"
    return estimate, [Evidence(name="equal answers", says=says, bearing=bearing, value=estimate)]


def _judge_made(gap: Gap, equal: Estimate | None, reference_share: Estimate | None) -> Estimate | None:
    """The share of the gap that the judge itself makes: from equal answers, else what the reference cannot predict."""
    if equal is not None and gap.value and equal.p is not None and equal.p < ALPHA:
        low, high = sorted(((equal.low or 0.0) / gap.value, (equal.high or 0.0) / gap.value))
        return Estimate(value=equal.value / gap.value, low=low, high=high, unit="share", method="equal answers")
    if equal is not None:
        return None
    return reference_share if reference_share and reference_share.low and reference_share.low > ACCOUNTS else None


def _unless_fair(gap: Gap, equal: Estimate | None) -> CauseStatus:
    """`excluded` where equal answers show that such an effect is less than half the gap, else `possible`."""
    if equal is None or equal.low is None or equal.high is None:
        return "possible"
    return "excluded" if max(abs(equal.low), abs(equal.high)) < ACCOUNTS * abs(gap.value) else "possible"


# Position


def _places(case: Case) -> tuple[Array, Array]:
    """Where A and B stood on average, from 0 (first) to 1 (last): (I, R) each; NaN where not shown together."""
    index = {one: i for i, one in enumerate(case.ids)}
    repeats = case.scores.values.shape[2] if case.scores else 1
    totals = [np.full((len(case.ids), repeats), np.nan) for _ in case.arms]
    counts = [np.zeros((len(case.ids), repeats)) for _ in case.arms]
    numbers = sorted({v.repeat for arm in case.arms for v in _shown(arm, _panel(case)).verdicts})
    row = {number: i for i, number in enumerate(numbers)}
    for side, arm in enumerate(case.arms):
        for v in _shown(arm, _panel(case)).verdicts:
            if len(v.group) > 1 and v.id in index:
                where = (index[v.id], row[v.repeat])
                total = 0.0 if np.isnan(totals[side][where]) else totals[side][where]
                totals[side][where] = total + v.position / (len(v.group) - 1)
                counts[side][where] += 1
    first, second = (t / np.maximum(c, 1) for t, c in zip(totals, counts, strict=True))
    return first, second


def _shown_once(case: Case) -> NDArray[np.bool_]:
    """Items on which A's and B's answers were the same, and shown in the same places for both (I,)."""
    both = [_places_of(arm, _panel(case)) for arm in case.arms]
    nowhere: set[Place] = set()
    at = [[set[Place]().union(*(row.get(one, nowhere) for row in rows)) for one in case.ids] for rows in both]
    return np.array([a == b for a, b in zip(*at, strict=True)], dtype=np.bool_)


def _panel(case: Case) -> Panel:
    if case.panel is None:
        raise ValueError("not judged")
    return case.panel


def _position(
    case: Case, gap: Gap, equal: Estimate | None, made: Estimate | None
) -> tuple[list[Evidence], Cause | None]:
    first, second = _places(case)
    distance = first - second  # (I, R): negative where A stood before B
    distance[_shown_once(case)] = np.nan
    if np.isnan(distance).all():
        return [Evidence(name="position", says="A and B were not shown in one prompt: no position effect.")], None
    values = case.scores.values if case.scores else np.empty((0, 0, 0))
    split = len(case.a.runs)
    d = row_mean(values[:split]) - row_mean(values[split:])  # (I, R)
    mean_place = row_mean(distance.T)  # (I,)
    there = ~np.isnan(distance) & ~np.isnan(d)
    balance = float(np.nanmean(distance))
    varies = float(np.nanstd(distance)) > 1e-9
    if not varies and balance != 0:
        who = "A" if balance < 0 else "B"
        says = f"{who} was shown before the other in every prompt: position and model cannot be told apart."
        share = made
        supported = explains(share)
        return [Evidence(name="position", says=says, bearing="for", source=POSITION_SOURCE)], Cause(
            id="judge-position",
            level=2,
            title="the judge favours a position",
            status="supported" if supported else _unless_fair(gap, equal),
            share=share,
            share_method=share.method if share else "",
            says=says + (" And the gap is not in the answers themselves." if supported else ""),
            evidence_for=(says,),
            source=POSITION_SOURCE,
            command=_rescore(case, "--repeats 2"),
        )
    columns = [distance[there]]
    if case.reference is not None:  # which answer is better must not pass for where it stood
        q = np.broadcast_to((row_mean(case.reference.a) - row_mean(case.reference.b))[:, None], d.shape)
        there &= ~np.isnan(q)
        columns = [distance[there], *([q[there]] if there.any() and float(np.ptp(q[there])) > 0 else [])]
    fit = regress(d[there], columns)
    if fit is None:
        return [Evidence(name="position", says="Each item was judged in both orders: position cancels.")], None
    effect = fit.estimate(1, gap.unit)
    significant = effect.p is not None and effect.p < ALPHA
    evidence = [
        Evidence(
            name="position",
            says=f"Standing last instead of first changes the score by {prose.span(effect)}; on average A stood "
            f"{prose.number(abs(balance))} of the way {'before' if balance < 0 else 'behind'} B.",
            bearing="for" if significant and effect.value * balance * gap.value > 0 else "against",
            value=effect,
            source=POSITION_SOURCE,
        )
    ]
    if not significant:
        return evidence, None

    def at_equal_place(a: Array, b: Array, draw: Draw) -> float:
        x, y = mean_place[draw.items], row_mean(a) - row_mean(b)
        both = ~np.isnan(x) & ~np.isnan(y)
        return float(np.mean(y[both] - effect.value * x[both])) if both.sum() > 4 else float("nan")

    share = gap.share(at_equal_place, "adjusted for position by regression")
    return evidence, Cause(
        id="judge-position",
        level=2,
        title="the judge favours a position",
        status="supported",
        share=share,
        share_method="adjusted for position by regression",
        says=f"The judge favours the {'last' if effect.value > 0 else 'first'} place, and orders were not balanced.",
        evidence_for=(evidence[0].says,),
        source=POSITION_SOURCE,
        command=_rescore(case, "--repeats 2"),
    )


# Length


def _length(case: Case, gap: Gap) -> tuple[list[Evidence], Cause | None]:
    """Longer answers, more points, at equal agreement with the reference."""
    a, b = (
        np.array([[float("nan") if one is None else float(count_words(one)) for one in row] for row in rows])
        for rows in (case.outputs_a, case.outputs_b)
    )
    x = row_mean(np.log2(a + 1)) - row_mean(np.log2(b + 1))  # (I,) doublings of length
    if np.isnan(x).all() or np.nanstd(x) == 0:
        return [Evidence(name="length", says="A's and B's answers differ by the same length everywhere.")], None
    reference = case.reference
    q = None if reference is None else row_mean(reference.a) - row_mean(reference.b)
    vary = q is not None and float(np.nanstd(q)) > 0
    doublings = (np.log2(a + 1), np.log2(b + 1))

    def fitted(a: Array, b: Array, draw: Draw) -> tuple[Fit | None, Array]:
        d = row_mean(a) - row_mean(b)
        x = row_mean(draw.of_a(doublings[0])) - row_mean(draw.of_b(doublings[1]))
        columns = [x]
        if reference is not None and vary:
            columns.append(row_mean(draw.of_a(reference.a)) - row_mean(draw.of_b(reference.b)))
        both = ~np.isnan(d) & np.all([~np.isnan(one) for one in columns], axis=0)
        return regress(d[both], [one[both] for one in columns]), x[both]

    fit, used = fitted(gap.a, gap.b, gap.all)
    if fit is None:
        return [Evidence(name="length", says="Length and agreement cannot be told apart on these items.")], None
    effect = fit.estimate(1, gap.unit)
    at_mean = effect.value * float(used.mean())
    favours = effect.p is not None and effect.p < ALPHA and effect.value > 0
    evidence = [
        Evidence(
            name="length",
            says=f"A's answers have {prose.number(float(np.nanmean(a)))} words, "
            f"B's {prose.number(float(np.nanmean(b)))}; "
            f"{'at equal agreement with the reference, ' if q is not None else ''}doubling an answer's length "
            f"changes the score by {prose.span(effect)}.",
            bearing="for" if favours and at_mean * gap.value > 0 else "against",
            value=effect,
            a=float(np.nanmean(a)),
            b=float(np.nanmean(b)),
            source=LENGTH_SOURCE,
        )
    ]
    if not favours or at_mean * gap.value <= 0:
        return evidence, None

    def at_equal_length(a: Array, b: Array, draw: Draw) -> float:
        again, x_used = fitted(a, b, draw)
        if again is None:
            return float("nan")
        return mean_difference(a, b) - float(again.coefficients[1]) * float(x_used.mean())

    share = gap.share(at_equal_length, "adjusted for length by regression")
    return evidence, Cause(
        id="judge-length",
        level=2,
        title="the judge favours length",
        status="supported" if q is not None else "possible",
        share=share,
        share_method="adjusted for length by regression",
        says="The judge gives longer answers more"
        + (" at equal agreement with the reference." if q is not None else "."),
        evidence_for=(evidence[0].says,),
        source=LENGTH_SOURCE,
        command=_rescore(case, "--rubric correctness"),
    )


# Drift


def _drift(
    case: Case, gap: Gap, shown: tuple[Shown, Shown], equal: Estimate | None, made: Estimate | None
) -> tuple[list[Evidence], Cause | None]:
    """A and B judged in different prompts, perhaps by different versions of the judge."""
    together = len(shown[0].prompts & shown[1].prompts)
    models = [set(one.resolved) for one in shown]
    told = f"A was judged by {prose.names(sorted(models[0]))}, B by {prose.names(sorted(models[1]))}"
    if together == len(shown[0].prompts | shown[1].prompts) and models[0] == models[1]:
        says = "A and B were judged in the same prompts by the same model: drift cancels."
        return [Evidence(name="drift", says=says, bearing="against")], None
    if together:
        return [Evidence(name="drift", says=f"{together} prompts showed both A and B; {told}.")], None
    changed = models[0] != models[1]
    says = "A and B were never judged in one prompt" + (f", and {told}" if changed else "")
    says += ": a drift of the judge would look like a gap."
    share = made
    return [Evidence(name="drift", says=says, bearing="for")], Cause(
        id="judge-drift",
        level=2,
        title="the judge changed between A and B",
        status="supported" if explains(share) else _unless_fair(gap, equal),
        share=share,
        share_method=share.method if share else "",
        says=says + (" And the gap is not in the answers themselves." if explains(share) else ""),
        evidence_for=(says,),
        command=_rescore(case, ""),
    )


# Failures


def _failures(case: Case, gap: Gap) -> tuple[list[Evidence], Cause | None]:
    """Answers without a score: as many on both sides, and would their scores change the gap?"""
    missing = [np.isnan(one) for one in (gap.a, gap.b)]
    rates = [float(one.mean()) for one in missing]
    if not any(rates):
        return [Evidence(name="failures", says="Every answer has a score.", bearing="against", a=0.0, b=0.0)], None
    table = np.array([[int(one.sum()), int((~one).sum())] for one in missing])
    p = float(stats.fisher_exact(table)[1])
    says = (
        f"Without a score: {prose.percent(rates[0])} of A's answers and {prose.percent(rates[1])} of B's "
        f"(Fisher's exact test: p = {p:.2g})."
    )
    reference = case.reference
    if reference is None:
        return [Evidence(name="failures", says=says, a=rates[0], b=rates[1])], None

    def imputed(a: Array, b: Array, draw: Draw) -> float:
        """The gap with missing scores predicted from agreement with the reference, one line for both models."""
        q_a, q_b = draw.of_a(reference.a), draw.of_b(reference.b)
        q, y = np.concatenate([q_a.ravel(), q_b.ravel()]), np.concatenate([a.ravel(), b.ravel()])
        there = ~np.isnan(q) & ~np.isnan(y)
        if there.sum() < 10 or np.ptp(q[there]) == 0:
            return float("nan")
        slope, start = np.polyfit(q[there], y[there], 1)
        full = [np.where(np.isnan(one), start + slope * q, one) for one, q in ((a, q_a), (b, q_b))]
        return mean_difference(full[0], full[1])

    share = gap.share(imputed, "failed verdicts predicted from agreement with the reference")
    for side, q, m in (("A", reference.a, missing[0]), ("B", reference.b, missing[1])):
        if m.any() and not m.all():
            lost, kept = float(np.nanmean(q[m])), float(np.nanmean(q[~m]))
            says += f" {side}'s unscored answers agree with the reference at {prose.number(lost)}"
            says += f", its scored ones at {prose.number(kept)}."
    evidence = [Evidence(name="failures", says=says, bearing="for" if p < ALPHA else "against", a=rates[0], b=rates[1])]
    if p >= ALPHA or share is None:
        return evidence, None
    return evidence, Cause(
        id="judge-failures",
        level=2,
        title="the judge's failures are not missing at random",
        status="supported",
        share=share,
        share_method=share.method,
        says="The judge failed more often on one model's answers, and not on answers like the others.",
        evidence_for=(says,),
        command=_rescore(case, ""),
    )


def _rescore(case: Case, options: str) -> str:
    files = " ".join(str(run.path or run.generator) for arm in case.arms for run in arm.runs)
    judge = case.panel.judge if case.panel else "MODEL"
    return f"judge score {files} --judge {judge} {options}".rstrip()
