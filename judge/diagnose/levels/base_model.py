"""Level 5: the base model. What equal test loss hides, whether it has the gap's direction, and on which items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from equiloss.numerals import estimated, estimated_share, significant
from equiloss.records.counterfactual import Tried
from equiloss.records.diagnosis import Cause, Evidence, Level, not_tested, tested
from judge.diagnose import next_steps, prose
from judge.diagnose.case import Base, Case
from judge.diagnose.causes import base_hypotheses, composition, contamination
from judge.diagnose.causes.measures import Measure, difference
from judge.diagnose.differences import BASE, Differing, differing, seeds_differ
from judge.diagnose.levels.decoding import different_settings
from judge.diagnose.levels.recipe import recipe_differences, same_base, whole_gap

DESCRIPTIVE = (
    ("calibration.error", "expected calibration error"),
    ("noise.rise_at_0.05", "loss rise under 5 % relative weight noise"),
    ("sharpness.trace", "trace of the loss's Hessian"),
    ("sharpness.top_eigenvalue", "top eigenvalue of the Hessian"),
    ("copying.induction_score", "induction score"),
    ("few_shot.lift", "gain from examples in the prompt"),
    ("weights.norm", "norm of the weights"),
    ("weights.anisotropy", "anisotropy of the embedding"),
    ("tolerance.best_loss", "loss after fine-tuning at the best learning rate"),
    ("forgetting.rise", "loss on pretraining text after fine-tuning, minus before"),
)
PLASTIC = ("overtrained", "weight-decay", "rate-decay", "base-batch", "base-optimizer", "base-dropout")


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
    found = [base.probe.measures if base.probe else {} for base in bases]
    made = [_made(base) for base in bases]
    if not all(found) and not all(made):
        return not_tested(
            5,
            "probes or run records of the base models",
            next_steps.probe(bases),
        )
    fields = differing(made[0], made[1], BASE, "base") if all(made) else []
    only_seeds = all(made) and not fields and bool(seeds_differ(made[0], made[1]))
    evidence: list[Evidence] = []
    if all(made):
        told = prose.names([one.says for one in fields]) if fields else "no recorded field but the seeds"
        if not fields and not only_seeds:
            told = "no recorded field"
        evidence.append(
            Evidence(
                name="differences",
                says=f"The base runs differ in {told}.",
                bearing="for" if fields else "against",
            )
        )
    if all(found):
        evidence += _descriptive(found[0], found[1])
    elif missing := [arm.name for arm, one in zip(case.arms, found, strict=True) if not one]:
        evidence.append(Evidence(name="probes", says=f"The base model of {prose.names(missing)} was not probed."))
    causes = [] if only_seeds else _causes(case, found[0], found[1], fields, tried)
    best = next((one for one in causes if one.status == "supported"), None)
    unprobed = () if all(found) else ("probes of both base models",)
    if only_seeds:
        status, says = "clear", "The base runs differ in nothing but their seeds."
    elif best is not None:
        status, says = "accounts", best.says
    elif unprobed or any(one.status == "possible" for one in causes):
        status, says = "undetermined", "The base models differ, but nothing that was measured accounts for the gap."
    else:
        status, says = "clear", "No tested property of the base models accounts for the gap."
    unprobed_bases = [base for base, one in zip(bases, found, strict=True) if not one]
    return tested(
        5,
        status,
        says,
        effect=best.share if best else None,
        share=best.share if best else None,
        evidence=tuple(evidence),
        causes=tuple(causes),
        missing=unprobed,
        command=next_steps.probe(unprobed_bases) if unprobed_bases else None,
        tables={
            "measures": _table(found[0], found[1]),
            "differences": [one.row() for one in fields],
        },
    )


def _made(base: Base) -> dict[str, Any]:
    """What a base model was made from: its shape, its training config and its data."""
    made: dict[str, Any] = {}
    if base.config:
        made["model"] = dict(base.config)
    run = base.run or {}
    for key in ("config", "train"):
        part = run.get(key)
        if isinstance(part, dict):
            made[key] = {k: v for k, v in cast("dict[str, Any]", part).items() if k != "model"}
    data = run.get("data")
    if isinstance(data, dict):
        about = cast("dict[str, Any]", data)
        source = about.get("source")
        name = cast("dict[str, Any]", source).get("name") if isinstance(source, dict) else source
        made["data"] = f"{name or about.get('directory') or 'data'} ({str(about.get('sha256'))[:8]})"
    return made if base.run else {}


def only_seeds_differ(case: Case) -> bool:
    """Whether A and B are known to differ in nothing but seeds, in fine-tuning and in pretraining."""
    a, b = case.a.record, case.b.record
    if a is None or b is None or recipe_differences(a, b) or different_settings(case):
        return False
    if same_base(case):
        return True
    made = [_made(arm.base) for arm in case.arms]
    return all(made) and not differing(made[0], made[1], BASE, "base") and bool(seeds_differ(made[0], made[1]))


def _causes(
    case: Case,
    a: Mapping[str, Measure],
    b: Mapping[str, Measure],
    fields: Sequence[Differing],
    tried: Sequence[Tried],
) -> list[Cause]:
    causes = [
        cause for one in base_hypotheses.HYPOTHESES if (cause := base_hypotheses.test(case, one, a, b)) is not None
    ]
    causes += [one for one in (contamination.test(case, a, b), composition.test(case)) if one]
    grouped: dict[str, list[Differing]] = {}
    for one in fields:
        grouped.setdefault(one.field.cause, []).append(one)
    for index, cause in enumerate(causes):
        if cause.id in grouped and cause.status == "possible" and _stands_alone(case, grouped):
            causes[index] = cause.model_copy(
                update={
                    "status": "supported",
                    "share": whole_gap(case),
                    "share_method": "by elimination: nothing else that is recorded differs",
                    "says": _only(grouped[cause.id]),
                }
            )
    known = {cause.id for cause in causes}
    for name, members in grouped.items():
        if name not in known:
            causes.append(_structural(case, name, members, grouped, any(c.status == "supported" for c in causes)))
    for index, cause in enumerate(causes):
        rerun = next((one for one in tried if one.cause == cause.id and one.share is not None), None)
        if rerun is not None and rerun.share is not None:
            closes = rerun.share.low is not None and rerun.share.low > 0
            causes[index] = cause.model_copy(
                update={
                    "status": "supported" if closes else "excluded" if rerun.settled else cause.status,
                    "share": rerun.share,
                    "share_method": "made equal and run again",
                }
            )
    causes = [_confirmed(cause, tried) for cause in causes]
    rank = {"supported": 0, "possible": 1, "not-tested": 2, "excluded": 3, "named": 0}
    mechanisms = {one.cause for one in base_hypotheses.HYPOTHESES} | {composition.CAUSE, contamination.CAUSE}
    # What a field does to a model says more than the field: the mechanism goes before it.
    return sorted(
        causes,
        key=lambda one: (
            rank[one.status],
            one.id not in mechanisms,
            -(one.share.value if one.share else 0),
            -(one.prior or 0),
        ),
    )


def _confirmed(cause: Cause, tried: Sequence[Tried]) -> Cause:
    """A mechanism with what reading on in the other side's text did to the gap, where that was tried."""
    hypothesis = next((one for one in base_hypotheses.HYPOTHESES if one.cause == cause.id), None)
    rerun = next((one for one in tried if one.cause == "base-data" and one.share is not None), None)
    if hypothesis is None or cause.status != "supported" or rerun is None or rerun.share is None:
        return cause
    told = f"{rerun.side}'s base model {rerun.changed}: {estimated_share(rerun.share)} of the gap closes"
    told += f" ({rerun.note})." if rerun.note else "."
    if not rerun.share.excludes(0.0) or rerun.share.value < 0:
        return cause.model_copy(update={"evidence_against": (*cause.evidence_against, told)})
    there = [one for one in rerun.gains if one.items == hypothesis.items and (one.points.low or 0.0) > 0]
    gained = [f"It gains {estimated(one.points)} points on {one.count} {one.items}." for one in there]
    says = f"{cause.says} A counterfactual run agrees: {told}" if there else cause.says
    return cause.model_copy(update={"says": says, "evidence_for": (*cause.evidence_for, told, *gained)})


def _stands_alone(case: Case, grouped: Mapping[str, Sequence[Differing]]) -> bool:
    """Whether one group of fields is all that differs between A and B, in pretraining and fine-tuning.

    With one pretraining run a side, chance in pretraining is not measured, and nothing is settled by elimination.
    """
    if not (case.a.several_bases and case.b.several_bases):
        return False
    a, b = case.a.record, case.b.record
    if len(grouped) != 1 or a is None or b is None or case.gap is None:
        return False
    return not recipe_differences(a, b) and not different_settings(case) and case.gap.estimate.excludes(0.0)


def _only(members: Sequence[Differing]) -> str:
    return f"The only recorded difference between the base runs is {prose.names([one.says for one in members])}."


def _structural(
    case: Case, name: str, members: Sequence[Differing], grouped: Mapping[str, Sequence[Differing]], explained: bool
) -> Cause:
    """A difference in how the base models were made: a cause by elimination where it is the only one."""
    alone = _stands_alone(case, grouped) and not explained
    says = _only(members) if len(grouped) == 1 else f"The base runs differ in {prose.names([m.says for m in members])}."
    return Cause(
        id=name,
        level=5,
        title=members[0].field.title,
        status="supported" if alone else "possible",
        share=whole_gap(case) if alone else None,
        share_method="by elimination: nothing else that is recorded differs" if alone else "",
        prior=members[0].field.weight,
        says=says,
        evidence_for=(says,),
        source=members[0].field.source,
    )


def _descriptive(a: Mapping[str, Measure], b: Mapping[str, Measure]) -> list[Evidence]:
    """Measures that describe a base model and never name a cause by themselves (sharpness was a decoy)."""
    found: list[Evidence] = []
    for name, title in DESCRIPTIVE:
        if name in a and name in b:
            effect = difference(a[name], b[name])
            says = f"{title.capitalize()}: {significant(a[name].value)} for A, {significant(b[name].value)} for B."
            found.append(Evidence(name=name, says=says, value=effect, a=a[name].value, b=b[name].value))
    return found


def _table(a: Mapping[str, Measure], b: Mapping[str, Measure]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
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
