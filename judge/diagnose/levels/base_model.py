"""Level 5: the base model. What equal test loss hides, whether it has the gap's direction, and on which items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equiloss.numerals import estimated, estimated_share, significant
from equiloss.records.counterfactual import Tried
from equiloss.records.diagnosis import Cause, Evidence, Level, Row, not_tested, tested
from equiloss.records.probe import OF_TEXT, Measure
from judge.diagnose import next_steps, prose
from judge.diagnose.case import Base, Case, Options
from judge.diagnose.causes import base_hypotheses, composition, contamination
from judge.diagnose.causes.measures import difference
from judge.diagnose.causes.patterns import Prediction, located
from judge.diagnose.differences import (
    Difference,
    acting,
    base_differences,
    base_seeds,
    by_cause,
    in_words,
    same_base,
    suspicion,
)
from judge.diagnose.naming import by_rerun, share_of

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


def level(case: Case, options: Options) -> Level:
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
    apart = _of_text(a, b) if _texts_differ(bases) else []
    a, b = ({name: one for name, one in side.items() if name not in apart} for side in (a, b))
    differences = base_differences(case)
    unprobed = [base for base, measures in zip(bases, (a, b), strict=True) if not measures]
    if unprobed and differences is None:
        return not_tested(5, "probes or run records of the base models", next_steps.probe(bases))
    evidence: list[Evidence] = []
    if differences is not None:
        fields = in_words(differences) if differences else "no recorded field"
        seeds = "" if acting(differences) else " but the seeds" if base_seeds(case) else ""
        bearing = "for" if acting(differences) else "against"
        evidence.append(Evidence(name="differences", says=f"The base runs differ in {fields}{seeds}.", bearing=bearing))
    if unprobed:
        names = prose.names([arm.name for arm, measures in zip(case.arms, (a, b), strict=True) if not measures])
        evidence.append(Evidence(name="probes", says=f"The base model of {names} was not probed."))
    else:
        evidence += _descriptive(a, b)
    if apart:
        says = "The two were probed on different texts, so what was measured on them is not compared"
        evidence.append(Evidence(name="texts", says=f"{says}: {prose.names(apart)}."))
    causes = _causes(case, a, b, acting(differences or []), options.tried)
    if unprobed or any(one.status == "possible" for one in causes):
        status, says = "undetermined", "The base models differ, but nothing that was measured accounts for the gap."
    else:
        status, says = "clear", "No tested property of the base models accounts for the gap."
    return tested(
        5,
        status,
        says,
        evidence=tuple(evidence),
        causes=tuple(causes),
        missing=("probes of both base models",) if unprobed else ("probes on one text",) if apart else (),
        command=next_steps.probe_on_one_text(bases) if apart else next_steps.probe(unprobed) or None,
        tables={"measures": _table(a, b), "differences": [one.row() for one in differences or []]},
    )


def _texts_differ(bases: Sequence[Base]) -> bool:
    texts = {base.probe.text_sha256 for base in bases if base.probe} - {None}
    return len(texts) > 1


def _of_text(a: Mapping[str, Measure], b: Mapping[str, Measure]) -> list[str]:
    """The measures of both sides that were made on a test text."""
    return [name for name in a if name in b and name.partition(".")[0] in OF_TEXT]


def _causes(
    case: Case,
    a: Mapping[str, Measure],
    b: Mapping[str, Measure],
    differences: Sequence[Difference],
    tried: Sequence[Tried],
) -> list[Cause]:
    """What the probes test, what the records differ in, and what reruns have shown."""
    tests = [base_hypotheses.test(case, one, a, b) for one in base_hypotheses.HYPOTHESES]
    tests += [contamination.test(case, a, b), composition.test(case)]
    causes = located(case, [one for one in tests if isinstance(one, Prediction)])
    causes += [one for one in tests if isinstance(one, Cause)]
    reruns = {one.cause: one for one in tried if one.share is not None}
    gap = case.gap.value if case.gap else 0.0
    of_text = reruns.get("base-data")
    if any(one.points is not None for one in causes):  # the text made what the base cannot do: not one part more
        causes = [_beside_rerun(one, of_text, gap) for one in causes]
        reruns.pop("base-data", None)
    for id, members in by_cause(differences).items():
        if any(one.id == id for one in causes):
            continue
        causes.append(suspicion(5, members, f"The base runs differ in {in_words(members)}."))
    return [by_rerun(one, reruns[one.id], gap) if one.id in reruns else one for one in causes]


def _beside_rerun(cause: Cause, rerun: Tried | None, gap: float) -> Cause:
    """A mechanism beside what continued pretraining in the other side's text did to the gap, where that was tried.

    They agree where the share that closed may be as large as the located one, and the predicted items gained.
    """
    mechanism = MECHANISMS.get(cause.id)
    if mechanism is None or cause.points is None or rerun is None or rerun.share is None:
        return cause
    located_share = share_of(cause.points, gap)
    says = f"{rerun.side}'s base model {rerun.changed}: {estimated_share(rerun.share)} of the gap closes"
    says += f" ({rerun.note})." if rerun.note else "."
    gained = [f"On {gain.count} {gain.items} the change is {estimated(gain.points)} points." for gain in rerun.gains]
    on_items = [gain.points for gain in rerun.gains if gain.items == mechanism.items]
    as_much = located_share is not None and (rerun.share.high or 0.0) >= (located_share.low or 0.0)
    closes = rerun.share.excludes(0.0) and rerun.share.value > 0
    if closes and as_much and all((points.low or 0.0) > 0 for points in on_items):
        changes = {"says": f"{cause.says} A counterfactual run agrees: {says}"}
        return cause.model_copy(update={**changes, "evidence_for": (*cause.evidence_for, says, *gained)})
    found = "does not settle it" if as_much and not rerun.share.excludes(0.0) else "does not agree"
    changes = {"says": f"{cause.says} A counterfactual run {found}: {' '.join([says, *gained])}"}
    return cause.model_copy(update={**changes, "evidence_against": (*cause.evidence_against, says, *gained)})


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
