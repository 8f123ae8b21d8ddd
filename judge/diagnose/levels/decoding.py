"""Level 3: does the way answers are generated make the gap? Answers cut off, running on, looping, empty, echoing.

A fault's points are what mending the texts changes in agreement with the reference, in points of the judge: only where
there are references that predict this judge on these items. Items are never set aside by their answers: an empty answer
may be what a model gives that does not know, and would have lost as much with words. Such symptoms name nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiloss.numerals import estimated, p_equals, percent, significant
from equiloss.records.counterfactual import Tried
from equiloss.records.diagnosis import Cause, Evidence, Level, Row, not_tested, tested
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Estimate
from judge.data.reference import agreement
from judge.data.verdicts import Judged
from judge.diagnose import answer_faults, next_steps, prose
from judge.diagnose.answer_faults import KINDS, TITLES, Look
from judge.diagnose.case import Case, Options
from judge.diagnose.differences import (
    Difference,
    acting,
    by_cause,
    decoding_differences,
    decoding_of,
    in_words,
    suspicion,
)
from judge.diagnose.naming import ALPHA, by_rerun, of_adjustment

CAUSES = {
    "run-on": "decoding-eos",
    "truncated": "decoding-truncation",
    "repetition": "decoding-repetition",
    "empty": "decoding-empty",
    "echo": "decoding-echo",
}
SOURCES = {
    "repetition": "Holtzman et al., arXiv 1904.09751 (degenerate repetition depends on the decoding)",
}
Looks = tuple[list[list[Look]], list[list[Look]]]
"""A look at each answer of A and of B: a row per run, an entry per item."""


@dataclass(frozen=True)
class Faults:
    """One fault in all answers: true where an answer has it, A (S_a, I) and B (S_b, I)."""

    a: NDArray[np.bool_]
    b: NDArray[np.bool_]

    @classmethod
    def of(cls, looks: Looks, kinds: tuple[str, ...]) -> Faults:
        """Which answers have any of these faults."""
        return cls(*(np.array([[not one.faults.isdisjoint(kinds) for one in row] for row in rows]) for rows in looks))

    @property
    def rates(self) -> tuple[float, float]:
        """The share of answers with the fault."""
        return float(self.a.mean()), float(self.b.mean())


def level(case: Case, options: Options) -> Level:
    """Test each fault: more of it on the losing side, and the points that mending it changes."""
    if not case.ids:
        return not_tested(3, "answers of both models to the same items", None)
    if not all(run.responses for arm in case.arms for run in arm.runs):
        return not_tested(3, "the answers themselves beside the verdicts", next_steps.with_answers(case))
    looks = _looks(case)
    settings = decoding_differences(case)
    evidence, causes, rows = [_settings_evidence(case, settings)], list[Cause](), list[Row]()
    for kind in KINDS:
        row, seen, cause = _fault(case, kind, Faults.of(looks, (kind,)), settings)
        rows.append(row)
        evidence += seen
        causes += [cause] if cause else []
    if case.gap or case.reference:
        causes += [_settings_cause(case, one, options.tried) for one in by_cause(acting(settings)).values()]
    if case.gap is None and case.reference is None:
        status = "undetermined"
        says = "The answers can be looked at, but without scores no contribution to a gap can be given."
    elif open_titles := [one.title for one in causes if one.open or one.points is None]:
        status, says = "undetermined", f"Seen, and not settled by a test: {prose.names(open_titles)}."
    else:
        status, says = "clear", "No fault of decoding that was tested accounts for the gap."
    words = [float(np.mean([one.words for row in rows for one in row])) for rows in looks]
    counted = f"A's answers have {significant(words[0])} words on average, B's {significant(words[1])}."
    evidence.append(Evidence(name="length", says=counted, a=words[0], b=words[1]))
    return tested(
        3,
        status,
        says,
        evidence=tuple(evidence),
        causes=tuple(causes),
        command=next((one.command for one in causes if one.open), None),
        tables={"faults": rows, "differences": [one.row() for one in settings]},
    )


def _looks(case: Case) -> Looks:
    a, b = ([_looks_of(run, case.ids) for run in arm.runs] for arm in case.arms)
    return a, b


def _looks_of(run: Judged, ids: Sequence[str]) -> list[Look]:
    taught = run.run is None or run.run.recipe.get("end_of_text_loss") is not False
    given = run.responses
    return [answer_faults.look(given[id], taught) if id in given else Look(frozenset(), 0) for id in ids]


def _settings_evidence(case: Case, settings: Sequence[Difference]) -> Evidence:
    if not all(decoding_of(arm.record) for arm in case.arms):
        return Evidence(name="settings", says="The decoding settings of at least one side are not recorded.")
    if not settings:
        return Evidence(name="settings", says="Both sides were decoded with the same settings.", bearing="against")
    bearing = "for" if acting(settings) else "against"
    return Evidence(name="settings", says=f"The decoding settings differ: {in_words(settings)}.", bearing=bearing)


def _settings_cause(case: Case, settings: Sequence[Difference], tried: Sequence[Tried]) -> Cause:
    says = f"The two sides were decoded with different settings: {in_words(settings)}."
    cause = suspicion(3, settings, says, _respond(case, "", settings))
    rerun = next((one for one in tried if one.cause == cause.id), None)
    return cause if rerun is None or case.gap is None else by_rerun(cause, rerun, case.gap.value)


def _paired_p(differences: Floats) -> float:
    """P of no difference over items: Wilcoxon's signed ranks; exact where all that differ do so by the same amount.

    With one run a side a fault is there or not, and all ranks are tied: what is left is the sign test (McNemar's).
    """
    changed = differences[differences != 0]
    if not changed.size:
        return 1.0
    if np.ptp(np.abs(changed)) < 1e-12:
        from scipy.special import bdtr

        fewer = min(int((changed > 0).sum()), int((changed < 0).sum()))
        return min(1.0, 2 * float(bdtr(fewer, changed.size, 0.5)))
    from scipy import stats

    return float(stats.wilcoxon(changed).pvalue)


def _fault(
    case: Case, kind: str, faults: Faults, settings: Sequence[Difference]
) -> tuple[Row, list[Evidence], Cause | None]:
    """The fault's row in the table, its evidence, and the cause that it may be."""
    rate_a, rate_b = faults.rates
    row: Row = {"fault": kind, "a": rate_a, "b": rate_b}
    if rate_a == rate_b == 0:
        return row, [], None
    d = faults.a.mean(axis=0) - faults.b.mean(axis=0)
    p = _paired_p(d)
    title = TITLES[kind]
    says = f"{title.capitalize()}: {percent(rate_a)} of A's and {percent(rate_b)} of B's"
    evidence = Evidence(name=kind, says=f"{says} (signed ranks over items: p {p_equals(p)}).", a=rate_a, b=rate_b)
    row["p"] = p
    scored = case.gap or case.reference
    if scored is None or scored.value == 0:
        return row, [evidence], None
    points = _mended(case, kind, faults)
    row["points"] = points.value if points else None
    worse_has_more = (rate_a - rate_b) * scored.value < 0
    if p >= ALPHA or not worse_has_more:
        return row, [evidence.model_copy(update={"bearing": "against"})], None
    worse, most, least = (case.a.name, rate_a, rate_b) if rate_a > rate_b else (case.b.name, rate_b, rate_a)
    checks = (f"with the texts mended, agreement with the reference moves by {estimated(points)}",) if points else ()
    symptom = "it may be a symptom: a model that does not know may answer so, and would lose as much with other words"
    cause = Cause(
        id=CAUSES[kind],
        level=3,
        title=title,
        status="possible",
        grade="adjusted" if points else "suspected",
        points=points,
        says=f"{worse} has more {title} ({percent(most)} against {percent(least)}).",
        evidence_for=(evidence.says, *checks),
        evidence_against=() if points else (symptom,),
        source=SOURCES.get(kind, ""),
        command=_respond(case, kind, settings),
    )
    return row, [evidence.model_copy(update={"bearing": "for"})], cause


def _mended(case: Case, kind: str, faults: Faults) -> Estimate | None:
    """The points of the gap that go when the texts with the fault are mended; None where the check has no power.

    A counterfactual on text alone: `repetition` reduces loops to one; `echo` keeps what comes before a header;
    `run-on` cuts the answer to as many words as the reference has; `truncated` cuts the *other* side's answers to
    the same item to the length of the cut-off one. Answers without the fault stay as they are. What agreement with the
    reference gains is counted in points by the judge's own slope over it, within runs.
    """
    gap, reference = case.gap, case.reference
    if gap is None or reference is None or kind == "empty" or not case.reference_predicts:
        return None
    of_a, of_b = case.outputs
    slope = _slope([*gap.a, *gap.b], [*reference.a, *reference.b])
    made = [
        np.nan_to_num(slope * (scores - _mended_scores(case, kind, scores, own, faulty, other, others)))
        for scores, own, faulty, other, others in (
            (reference.a, of_a, faults.a, of_b, faults.b),
            (reference.b, of_b, faults.b, of_a, faults.a),
        )
    ]
    return of_adjustment(gap, made[0], made[1], "the texts mended, in agreement with the reference")


def _slope(scores: Sequence[Floats], agreements: Sequence[Floats]) -> float:
    """Points of the judge per unit of agreement with the reference, within runs."""
    products = squares = 0.0
    for y, q in zip(scores, agreements, strict=True):
        known = ~np.isnan(y) & ~np.isnan(q)
        if known.any():
            centred = q[known] - q[known].mean()
            products += float((centred * y[known]).sum())
            squares += float((centred**2).sum())
    return products / squares if squares else 0.0


def _mended_scores(
    case: Case,
    kind: str,
    scores: Floats,
    own: list[list[str | None]],
    own_faults: NDArray[np.bool_],
    other: list[list[str | None]],
    other_faults: NDArray[np.bool_],
) -> Floats:
    """One side's agreement with the reference (S, I), its texts mended."""
    scores = scores.copy()
    for column, id in enumerate(case.ids):
        wanted = case.items[id].reference
        cut_off = [row[column] for row, faulty in zip(other, other_faults[:, column], strict=True) if faulty]
        length = max((answer_faults.count_words(text) for text in cut_off if text is not None), default=None)
        for row, texts in enumerate(own):
            text = texts[column]
            if text is None or not wanted.strip():
                continue
            if kind == "truncated":
                if length is not None and not own_faults[row, column]:
                    scores[row, column] = agreement(answer_faults.first_words(text, length), wanted)
            elif own_faults[row, column]:
                scores[row, column] = agreement(_mend(kind, text, wanted), wanted)
    return scores


def _mend(kind: str, text: str, reference: str) -> str:
    """A text without its fault (see `_mended`)."""
    if kind == "repetition":
        return " ".join(answer_faults.collapse(text.split()))
    text = answer_faults.before_header(text)
    return text if kind == "echo" else answer_faults.first_words(text, answer_faults.count_words(reference))


def _respond(case: Case, kind: str, settings: Sequence[Difference]) -> str:
    gap = case.gap or case.reference
    worse = case.b if gap is None or gap.value >= 0 else case.a
    return next_steps.respond(case, worse, kind, settings)
