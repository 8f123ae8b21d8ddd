"""Level 3: does the way answers are generated make the gap? Answers cut off, running on, looping, empty, echoing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from scipy import stats

from equiloss.numerals import estimated, estimated_share, p_equals, percent, significant
from equiloss.records.diagnosis import Cause, Evidence, Level, Row, not_tested, tested
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Estimate
from equiloss.statistics.gap import Draw, Gap, mean_difference, on_items
from judge.data.reference import agreement
from judge.diagnose import answer_faults, next_steps, prose
from judge.diagnose.answer_faults import KINDS, TITLES, Look
from judge.diagnose.case import Case
from judge.diagnose.differences import decoding_differences, decoding_of
from judge.diagnose.naming import ALPHA, best_cause, explains

CAUSES = {
    "run-on": "decoding-eos",
    "truncated": "decoding-truncation",
    "repetition": "decoding-repetition",
    "empty": "decoding-empty",
    "echo": "decoding-echo",
}
SETTINGS = "decoding-settings"
"""The cause that is the settings themselves, whatever they do to answers."""
SOURCES = {
    "repetition": "Holtzman et al., arXiv 1904.09751 (degenerate repetition depends on the decoding)",
}
LEAST_CLEAN = 10
"""Items that must be clean on both sides for the gap on clean answers alone."""

Looks = tuple[list[list[Look]], list[list[Look]]]
"""A look at each answer of A and of B: a row per run, an entry per item."""
Settings = Mapping[str, tuple[JsonValue, JsonValue]]
"""Decoding settings that differ: A's value and B's."""


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

    @property
    def clean(self) -> NDArray[np.bool_]:
        """Items on which no answer of either side has it (I,)."""
        return np.logical_not(np.concatenate([self.a, self.b]).any(axis=0))


def level(case: Case) -> Level:
    """Test each fault: more of it on the losing side, and how much of the gap goes when it is set aside or mended."""
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
    if settings and (case.gap or case.reference):
        causes.append(_settings_cause(case, settings))
    best, clean = best_cause(causes), _clean_gap(case, looks)
    if best is not None and best.share is not None:
        status, says = "accounts", f"{best.says} Explained share of the gap: {estimated_share(best.share)}."
    elif case.gap is None and case.reference is None:
        status = "undetermined"
        says = "The answers can be looked at, but without scores no share of a gap can be given."
    else:
        status, says = "clear", "No fault of decoding that was tested accounts for the gap."
        if clean is not None:
            says += f" On answers without any fault, A minus B is {estimated(clean)}."
    words = [float(np.mean([one.words for row in rows for one in row])) for rows in looks]
    told = f"A's answers have {significant(words[0])} words on average, B's {significant(words[1])}."
    evidence.append(Evidence(name="length", says=told, a=words[0], b=words[1]))
    return tested(
        3,
        status,
        says,
        effect=best.share if best else clean,
        share=best.share if best else None,
        evidence=tuple(evidence),
        causes=tuple(causes),
        command=best.command if best else None,
        tables={"faults": rows},
    )


def _looks(case: Case) -> Looks:
    nothing = Look(frozenset(), 0)
    a, b = (
        [
            [answer_faults.look(run.responses[id]) if id in run.responses else nothing for id in case.ids]
            for run in arm.runs
        ]
        for arm in case.arms
    )
    return a, b


def _in_words(settings: Settings) -> str:
    return prose.names([f"{key} ({a} against {b})" for key, (a, b) in settings.items()])


def _settings_evidence(case: Case, settings: Settings) -> Evidence:
    if not all(decoding_of(arm.record) for arm in case.arms):
        return Evidence(name="settings", says="The decoding settings of at least one side are not recorded.")
    if not settings:
        return Evidence(name="settings", says="Both sides were decoded with the same settings.", bearing="against")
    return Evidence(name="settings", says=f"The decoding settings differ: {_in_words(settings)}.", bearing="for")


def _settings_cause(case: Case, settings: Settings) -> Cause:
    return Cause(
        id=SETTINGS,
        level=3,
        title="different decoding settings",
        status="possible",
        says=f"The two sides were decoded with different settings: {_in_words(settings)}.",
        evidence_for=(f"The decoding settings differ: {_in_words(settings)}.",),
        command=_respond(case, "", settings),
    )


def _fault(case: Case, kind: str, faults: Faults, settings: Settings) -> tuple[Row, list[Evidence], Cause | None]:
    """The fault's row in the table, its evidence, and the cause that it may be."""
    rate_a, rate_b = faults.rates
    row: Row = {"fault": kind, "a": rate_a, "b": rate_b, "clean_items": int(faults.clean.sum())}
    if rate_a == rate_b == 0:
        return row, [], None
    d = faults.a.mean(axis=0) - faults.b.mean(axis=0)
    p = float(stats.wilcoxon(d).pvalue) if np.any(d != 0) else 1.0
    title = TITLES[kind]
    says = f"{title.capitalize()}: {percent(rate_a)} of A's and {percent(rate_b)} of B's"
    evidence = Evidence(name=kind, says=f"{says} (Wilcoxon over items: p {p_equals(p)}).", a=rate_a, b=rate_b)
    row["p"] = p
    scored = case.gap or case.reference
    if scored is None or scored.value == 0:
        return row, [evidence], None
    aside, mended = _set_aside(scored, faults), _mended(case, kind, faults)
    row |= {"set_aside": aside.value if aside else None, "mended": mended.value if mended else None}
    worse_has_more = (rate_a - rate_b) * scored.value < 0
    if p >= ALPHA or not worse_has_more:
        return row, [evidence.model_copy(update={"bearing": "against"})], None
    checks = [
        words.format(estimated_share(share))
        for words, share in (
            ("on items where neither side has such an answer, {} of the gap is gone", aside),
            ("in the reference score, mending the texts closes {} of the gap", mended),
        )
        if share is not None
    ]
    share = _share_of(aside, mended)
    # Two views must agree where both can be had: setting aside selects items, mending only sees the reference.
    contradicted = share is not None and any(one is not None and one.value < 0.25 for one in (aside, mended))
    worse, most, least = (case.a.name, rate_a, rate_b) if rate_a > rate_b else (case.b.name, rate_b, rate_a)
    cause = Cause(
        id=CAUSES[kind],
        level=3,
        title=title,
        status="supported" if share is not None and not contradicted else "possible",
        share=share,
        share_method=share.method if share else "",
        says=f"{worse} has more {title} ({percent(most)} against {percent(least)}).",
        evidence_for=(evidence.says, *checks),
        evidence_against=("setting such items aside and mending them disagree",) if contradicted else (),
        source=SOURCES.get(kind, ""),
        command=_respond(case, kind, settings),
    )
    return row, [evidence.model_copy(update={"bearing": "for"})], cause


def _share_of(aside: Estimate | None, mended: Estimate | None) -> Estimate | None:
    """The share to report: from clean items where there are enough, else from the mended texts."""
    if aside is not None and (mended is None or not explains(mended) or aside.value <= mended.value):
        return aside
    return mended


def _set_aside(gap: Gap, faults: Faults) -> Estimate | None:
    clean = faults.clean
    if clean.sum() < LEAST_CLEAN or clean.all():
        return None
    return gap.share(on_items(clean), "the gap on items where neither side has the fault")


def _mended(case: Case, kind: str, faults: Faults) -> Estimate | None:
    """The share of the reference-score gap that goes when the texts with the fault are mended.

    A counterfactual on text alone: `repetition` reduces loops to one; `echo` keeps what comes before a header;
    `run-on` cuts the answer to as many words as the reference has; `truncated` cuts the *other* side's answers to
    the same item to the length of the cut-off one. Answers without the fault stay as they are.
    """
    reference = case.reference
    if reference is None or kind == "empty" or not reference.estimate.excludes(0.0):
        return None
    of_a, of_b = case.outputs
    a = _mended_scores(case, kind, reference.a, of_a, faults.a, of_b, faults.b)
    b = _mended_scores(case, kind, reference.b, of_b, faults.b, of_a, faults.a)

    def left(_a: Floats, _b: Floats, draw: Draw) -> float:
        return mean_difference(draw.of_a(a), draw.of_b(b))

    return reference.share(left, "the texts mended, in the reference score")


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


def _respond(case: Case, kind: str, settings: Settings) -> str:
    gap = case.gap or case.reference
    worse = case.b if gap is None or gap.value >= 0 else case.a
    return next_steps.respond(case, worse, kind, settings)


def _clean_gap(case: Case, looks: Looks) -> Estimate | None:
    """The gap on items where no answer of either side has any fault; None when there are too few."""
    clean = Faults.of(looks, KINDS).clean
    return case.gap.part(clean).estimate if case.gap is not None and clean.sum() >= LEAST_CLEAN else None
