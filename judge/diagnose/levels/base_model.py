"""Level 5: the base model. What equal test loss hides, whether it has the gap's direction, and on which items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equiloss.numerals import estimated, estimated_share, significant
from equiloss.records.counterfactual import Tried
from equiloss.records.diagnosis import Cause, Evidence, Level, Row, not_tested, tested
from equiloss.records.probe import Measure
from judge.diagnose import next_steps, prose
from judge.diagnose.case import Case
from judge.diagnose.causes import base_hypotheses, composition, contamination
from judge.diagnose.causes.measures import difference
from judge.diagnose.differences import (
    Difference,
    base_differences,
    by_cause,
    decoding_differences,
    only_base_seeds,
    recipe_differences,
    same_base,
)
from judge.diagnose.naming import by_elimination, by_rerun, first_supported

MECHANISMS = {one.id: one for one in base_hypotheses.HYPOTHESES}
"""Causes that say what a base model cannot do; what a field does to a model says more than the field."""


DESCRIPTIVE = {
    "calibration.error": "expected calibration error",
    "noise.rise_at_0.05": "loss rise under 5 % relative weight noise",
    "sharpness.trace": "trace of the loss's Hessian",
    "sharpness.top_eigenvalue": "top eigenvalue of the Hessian",
    "copying.induction_score": "induction score",
    "few_shot.lift": "gain from examples in the prompt",
    "weights.norm": "norm of the weights",
    "weights.anisotropy": "anisotropy of the embedding",
    "tolerance.best_loss": "loss after fine-tuning at the best learning rate",
    "forgetting.rise": "loss on pretraining text after fine-tuning, minus before",
}
"""Measures that describe a base model and never name a cause by themselves (sharpness was a decoy)."""


def level(case: Case, tried: Sequence[Tried] = ()) -> Level:
    """Compare what the two base models are made of and what the probes measured."""
    bases = [arm.base for arm in case.arms]
    if same_base(case):
        return tested(
            5,
            "clear",
            "Both sides started from the same base model, so no property of it can make a gap.",
            evidence=(Evidence(name="base", says="The checkpoints' hashes are equal.", bearing="against"),),
        )
    a, b = (base.probe.measures if base.probe else {} for base in bases)
    differences = base_differences(case)
    unprobed = [base for base, measures in zip(bases, (a, b), strict=True) if not measures]
    if unprobed and differences is None:
        return not_tested(5, "probes or run records of the base models", next_steps.probe(bases))
    only_seeds = only_base_seeds(case)
    evidence: list[Evidence] = []
    if differences is not None:
        fields = prose.names([one.says for one in differences]) if differences else "no recorded field"
        says = f"The base runs differ in {fields}{' but the seeds' if only_seeds else ''}."
        evidence.append(Evidence(name="differences", says=says, bearing="for" if differences else "against"))
    if unprobed:
        names = prose.names([arm.name for arm, of in zip(case.arms, (a, b), strict=True) if not of])
        evidence.append(Evidence(name="probes", says=f"The base model of {names} was not probed."))
    else:
        evidence += _descriptive(a, b)
    causes = [] if only_seeds else _causes(case, a, b, differences or [], tried)
    best = first_supported(causes)
    if only_seeds:
        status, says = "clear", "The base runs differ in nothing but their seeds."
    elif best is not None:
        status, says = "accounts", best.says
    elif unprobed or any(one.status == "possible" for one in causes):
        status, says = "undetermined", "The base models differ, but nothing that was measured accounts for the gap."
    else:
        status, says = "clear", "No tested property of the base models accounts for the gap."
    return tested(
        5,
        status,
        says,
        effect=best.share if best else None,
        share=best.share if best else None,
        evidence=tuple(evidence),
        causes=tuple(causes),
        missing=("probes of both base models",) if unprobed else (),
        command=next_steps.probe(unprobed) or None,
        tables={"measures": _table(a, b), "differences": [one.row() for one in differences or []]},
    )


def _causes(
    case: Case,
    a: Mapping[str, Measure],
    b: Mapping[str, Measure],
    differences: Sequence[Difference],
    tried: Sequence[Tried],
) -> list[Cause]:
    """What the probes test, what the records differ in, and what reruns have shown, the best supported first."""
    causes = [base_hypotheses.test(case, one, a, b) for one in base_hypotheses.HYPOTHESES]
    causes = [one for one in (*causes, contamination.test(case, a, b), composition.test(case)) if one is not None]
    mechanisms = {*MECHANISMS, contamination.CAUSE.id, composition.CAUSE.id}
    grouped = by_cause(differences)
    alone = len(grouped) == 1 and _all_that_differs(case)
    for id, members in grouped.items():
        fields = prose.names([one.says for one in members])
        only = f"The only recorded difference between the base runs is {fields}."
        index = next((index for index, one in enumerate(causes) if one.id == id), None)
        if index is not None:
            if alone and causes[index].status == "possible":
                causes[index] = by_elimination(causes[index], case, only)
            continue
        says = only if len(grouped) == 1 else f"The base runs differ in {fields}."
        suspect = members[0].suspect
        cause = Cause(
            id=id,
            level=5,
            title=suspect.title,
            status="possible",
            prior=suspect.weight,
            says=says,
            evidence_for=(says,),
            source=suspect.source,
        )
        explained = first_supported(causes) is not None
        causes.append(by_elimination(cause, case, only) if alone and not explained else cause)
    reruns = {one.cause: one for one in tried if one.share is not None}
    causes = [by_rerun(one, reruns[one.id]) if one.id in reruns else one for one in causes]
    causes = [_confirmed(one, reruns.get("base-data")) for one in causes]
    rank = ("supported", "possible", "not-tested", "excluded")
    return sorted(
        causes,
        key=lambda one: (
            rank.index(one.status),
            one.id not in mechanisms,
            -(one.share.value if one.share else 0),
            -(one.prior or 0),
        ),
    )


def _confirmed(cause: Cause, rerun: Tried | None) -> Cause:
    """A mechanism with what continued pretraining in the other side's text did to the gap, where that was tried."""
    hypothesis = MECHANISMS.get(cause.id)
    if hypothesis is None or cause.status != "supported" or rerun is None or rerun.share is None:
        return cause
    told = f"{rerun.side}'s base model {rerun.changed}: {estimated_share(rerun.share)} of the gap closes"
    told += f" ({rerun.note})." if rerun.note else "."
    if not rerun.share.excludes(0.0) or rerun.share.value < 0:
        return cause.model_copy(update={"evidence_against": (*cause.evidence_against, told)})
    gains = [one for one in rerun.gains if one.items == hypothesis.items and (one.points.low or 0.0) > 0]
    gained = [f"It gains {estimated(one.points)} points on {one.count} {one.items}." for one in gains]
    says = f"{cause.says} A counterfactual run agrees: {told}" if gains else cause.says
    return cause.model_copy(update={"says": says, "evidence_for": (*cause.evidence_for, told, *gained)})


def _all_that_differs(case: Case) -> bool:
    """Whether the base models' making is all that differs between A and B.

    With one pretraining run a side, chance in pretraining is not measured, and nothing is settled by elimination.
    """
    several = case.a.several_bases and case.b.several_bases
    recorded = case.a.record is not None and case.b.record is not None
    real = case.gap is not None and case.gap.estimate.excludes(0.0)
    return several and recorded and real and not recipe_differences(case) and not decoding_differences(case)


def _descriptive(a: Mapping[str, Measure], b: Mapping[str, Measure]) -> list[Evidence]:
    return [
        Evidence(
            name=name,
            says=f"{title.capitalize()}: {significant(a[name].value)} for A, {significant(b[name].value)} for B.",
            value=difference(a[name], b[name]),
            a=a[name].value,
            b=b[name].value,
        )
        for name, title in DESCRIPTIVE.items()
        if name in a and name in b
    ]


def _table(a: Mapping[str, Measure], b: Mapping[str, Measure]) -> list[Row]:
    rows: list[Row] = []
    for name in a:
        if name in b:
            effect = difference(a[name], b[name])
            rows.append(
                {
                    "measure": name,
                    "unit": a[name].unit,
                    "a": a[name].value,
                    "b": b[name].value,
                    "difference": effect.value,
                    "low": effect.low,
                    "high": effect.high,
                }
            )
    return rows
