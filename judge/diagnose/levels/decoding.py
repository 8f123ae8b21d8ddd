"""Level 3: does the way answers are generated make the gap? Answers cut off, running on, looping, empty, echoing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from equiloss.numerals import estimated, estimated_share, p_equals, percent, significant
from equiloss.records.diagnosis import Cause, Evidence, Level, not_tested, tested
from equiloss.records.response import Response
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.estimate import Estimate
from equiloss.statistics.gap import Draw, Gap, mean_difference, on_items
from judge.data.reference import agreement
from judge.diagnose import answer_faults, next_steps, prose
from judge.diagnose.answer_faults import KINDS, TITLES
from judge.diagnose.case import Arm, Case
from judge.diagnose.naming import ALPHA, best_cause, explains

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
SETTINGS = ("max_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "stop", "template")
"""What a record's `decoding` says about how answers were generated."""
LEAST_CLEAN = 10
"""Items that must be clean on both sides for the gap on clean answers alone."""


@dataclass(frozen=True)
class Faults:
    """One fault in all answers: true where an answer has it, A (S_a, I) and B (S_b, I)."""

    a: NDArray[np.bool_]
    b: NDArray[np.bool_]

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
    looks = [_looks(arm, case.ids) for arm in case.arms]
    gap, reference = case.gap, case.reference
    scored = gap or reference
    settings = different_settings(case)
    evidence: list[Evidence] = [_settings_evidence(case, settings)]
    causes: list[Cause] = []
    table: list[dict[str, Any]] = []
    for kind in KINDS:
        faults = Faults(*(np.array([[kind in one.faults for one in row] for row in rows]) for rows in looks))
        row, found, cause = _fault(case, kind, faults, scored, settings)
        table.append(row)
        evidence += found
        causes += [cause] if cause else []
    if settings and scored is not None:
        causes.append(_settings_cause(case, settings))
    best = best_cause(causes)
    clean = clean_gap(case)
    if best is not None and best.share is not None:
        status, says = "accounts", f"{best.says} Explained share of the gap: {estimated_share(best.share)}."
    elif scored is None:
        status, says = (
            "undetermined",
            "The answers can be looked at, but without scores no share of a gap can be given.",
        )
    else:
        status, says = "clear", "No fault of decoding that was tested accounts for the gap."
        if clean is not None:
            says += f" On answers without any fault, A minus B is {estimated(clean)}."
    words = [float(np.mean([one.words for row in rows for one in row])) for rows in looks]
    evidence.append(
        Evidence(
            name="length",
            says=f"A's answers have {significant(words[0])} words on average, B's {significant(words[1])}.",
            a=words[0],
            b=words[1],
        )
    )
    return tested(
        3,
        status,
        says,
        effect=best.share if best else clean,
        share=best.share if best else None,
        evidence=tuple(evidence),
        causes=tuple(causes),
        command=best.command if best else None,
        tables={"faults": table},
    )


def _looks(arm: Arm, ids: tuple[str, ...]) -> list[list[answer_faults.Look]]:
    nothing = answer_faults.Look(frozenset(), 0)
    return [
        [answer_faults.look(run.responses[one]) if one in run.responses else nothing for one in ids] for run in arm.runs
    ]


def different_settings(case: Case) -> dict[str, tuple[Any, Any]]:
    """The decoding settings in which the two runs' records differ; {} where they are equal or not recorded.

    The seed of sampling is not a setting.
    """
    found = [_decoding(arm.record) for arm in case.arms]
    if not all(found):
        return {}
    keys = [key for key in SETTINGS if key in found[0] or key in found[1]]
    return {key: (found[0].get(key), found[1].get(key)) for key in keys if found[0].get(key) != found[1].get(key)}


def _decoding(record: Mapping[str, Any] | None) -> Mapping[str, Any]:
    for holder in (record, record.get("recipe") if record else None):
        decoding = cast("Mapping[str, Any]", holder).get("decoding") if isinstance(holder, dict) else None
        if isinstance(decoding, dict):
            return cast("Mapping[str, Any]", decoding)
    return {}


def _settings_evidence(case: Case, settings: Mapping[str, tuple[Any, Any]]) -> Evidence:
    if any(not _decoding(arm.record) for arm in case.arms):
        return Evidence(name="settings", says="The decoding settings of at least one side are not recorded.")
    if not settings:
        return Evidence(name="settings", says="Both sides were decoded with the same settings.", bearing="against")
    told = prose.names([f"{key} ({a} against {b})" for key, (a, b) in settings.items()])
    return Evidence(name="settings", says=f"The decoding settings differ: {told}.", bearing="for")


def _fault(
    case: Case, kind: str, faults: Faults, scored: Gap | None, settings: Mapping[str, tuple[Any, Any]]
) -> tuple[dict[str, Any], list[Evidence], Cause | None]:
    rate_a, rate_b = faults.rates
    row: dict[str, Any] = {"fault": kind, "a": rate_a, "b": rate_b, "clean_items": int(faults.clean.sum())}
    if rate_a == rate_b == 0:
        return row, [], None
    d = faults.a.mean(axis=0) - faults.b.mean(axis=0)
    p = float(stats.wilcoxon(d).pvalue) if np.any(d != 0) else 1.0
    row["p"] = p
    differs = p < ALPHA
    says = f"{TITLES[kind].capitalize()}: {percent(rate_a)} of A's and {percent(rate_b)} of B's"
    evidence = Evidence(name=kind, says=f"{says} (Wilcoxon over items: p {p_equals(p)}).", a=rate_a, b=rate_b)
    if scored is None or scored.value == 0:
        return row, [evidence], None
    worse_has_more = (rate_a - rate_b) * scored.value < 0
    aside = _set_aside(scored, faults)
    mended = _mended(case, kind, faults)
    row |= {"set_aside": _number(aside), "mended": _number(mended)}
    if not differs or not worse_has_more:
        return row, [evidence.model_copy(update={"bearing": "against"})], None
    share, method = _share_of(aside, mended)
    title = TITLES[kind]
    checks = [
        f"on items where neither side has such an answer, {estimated_share(one)} of the gap is gone"
        for one in [aside]
        if one
    ]
    checks += [
        f"in the reference score, mending the texts closes {estimated_share(one)} of the gap" for one in [mended] if one
    ]
    # Two views must agree where both can be had: setting aside selects items, mending only sees the reference.
    contradicted = share is not None and any(one is not None and one.value < 0.25 for one in (aside, mended))
    worse = case.a.name if rate_a > rate_b else case.b.name
    cause = Cause(
        id=CAUSES[kind],
        level=3,
        title=title,
        status="supported" if share is not None and not contradicted else "possible",
        share=share,
        share_method=method,
        says=f"{worse} has more {title} ({percent(max(rate_a, rate_b))} against {percent(min(rate_a, rate_b))}).",
        evidence_for=(evidence.says, *checks),
        evidence_against=() if not contradicted else ("setting such items aside and mending them disagree",),
        source=SOURCES.get(kind, ""),
        command=_respond(case, kind, settings),
    )
    return row, [evidence.model_copy(update={"bearing": "for"})], cause


def _number(share: Estimate | None) -> float | None:
    return None if share is None else share.value


def _share_of(aside: Estimate | None, mended: Estimate | None) -> tuple[Estimate | None, str]:
    """The share to report: from clean items where there are enough, else from the mended texts."""
    if aside is not None and (mended is None or not explains(mended) or aside.value <= mended.value):
        return aside, aside.method
    return mended, mended.method if mended else ""


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
    a, b = reference.a.copy(), reference.b.copy()
    for index, one in enumerate(case.ids):
        _, wanted = case.texts(one)
        if not wanted.strip():
            continue
        sides = (
            (a, case.outputs_a, faults.a, case.outputs_b, faults.b),
            (b, case.outputs_b, faults.b, case.outputs_a, faults.a),
        )
        for values, own, own_faults, other, other_faults in sides:
            for row in range(len(values)):
                text = own[row][index]
                if text is None:
                    continue
                if kind == "truncated":
                    lengths = [
                        answer_faults.count_words(cut)
                        for cut, faulty in zip((line[index] for line in other), other_faults[:, index], strict=True)
                        if faulty and cut is not None
                    ]
                    if lengths and not own_faults[row, index]:
                        values[row, index] = agreement(answer_faults.first_words(text, max(lengths)), wanted)
                elif own_faults[row, index]:
                    values[row, index] = agreement(mend(kind, text, wanted), wanted)

    def left(_a: Floats, _b: Floats, draw: Draw) -> float:
        return mean_difference(draw.of_a(a), draw.of_b(b))

    return reference.share(left, "the texts mended, in the reference score")


def mend(kind: str, text: str, reference: str) -> str:
    """A text without its fault (see `_mended`)."""
    if kind == "repetition":
        return " ".join(answer_faults.collapse(text.split()))
    if kind == "echo":
        return answer_faults.before_header(text)
    return answer_faults.first_words(answer_faults.before_header(text), answer_faults.count_words(reference))


def _settings_cause(case: Case, settings: Mapping[str, tuple[Any, Any]]) -> Cause:
    told = prose.names([f"{key} ({a} against {b})" for key, (a, b) in settings.items()])
    return Cause(
        id="decoding-settings",
        level=3,
        title="different decoding settings",
        status="possible",
        says=f"The two sides were decoded with different settings: {told}.",
        evidence_for=(f"The decoding settings differ: {told}.",),
        command=_respond(case, "", settings),
    )


def _respond(case: Case, kind: str, settings: Mapping[str, tuple[Any, Any]]) -> str:
    gap = case.gap or case.reference
    worse = case.b if gap is None or gap.value >= 0 else case.a
    return next_steps.respond(case, worse, kind, settings)


def clean_gap(case: Case) -> Estimate | None:
    """The gap on items where no answer of either side has any fault; None when there are too few."""
    gap = case.gap
    if gap is None:
        return None
    looks = [_looks(arm, case.ids) for arm in case.arms]
    faulty = np.array([any(row[i].faults for rows in looks for row in rows) for i in range(len(case.ids))])
    kept = np.flatnonzero(~faulty)
    if len(kept) < LEAST_CLEAN:
        return None
    part = Gap(gap.a[:, kept], gap.b[:, kept], tuple(case.ids[i] for i in kept), (), gap.unit)
    return part.estimate


def faults_of(response: Response) -> list[str]:
    """The faults of one answer, for a reader of items."""
    return sorted(answer_faults.look(response).faults)
