"""Level 0: are the base models loss-equivalent? Two one-sided tests on paired per-document losses."""

from __future__ import annotations

from judge.diagnose import prose
from judge.diagnose.inputs import Case
from judge.diagnose.recipe import same_base
from judge.diagnose.records import LEVEL_TITLES, Estimate, Evidence, Level, not_tested
from pretrain.errors import InputError

MARGIN_NATS = 0.05


def level(case: Case, margin_nats: float = MARGIN_NATS) -> Level:
    """Compare the base models' losses on the same test documents."""
    if same_base(case):
        return Level(
            number=0,
            name="premise",
            title=LEVEL_TITLES[0],
            status="clear",
            says="Both sides started from the same base model, so their losses are equal.",
            evidence=(Evidence(name="base", says="The checkpoints' hashes are equal.", bearing="against"),),
        )
    paths = [arm.base.evaluation for arm in case.arms]
    if paths[0] is None or paths[1] is None:
        without = [arm for arm, path in zip(case.arms, paths, strict=True) if path is None]
        known = [arm.base.path or "CHECKPOINT" for arm in without]
        return not_tested(
            0,
            f"per-document losses of the base model of {prose.names([arm.name for arm in without])}",
            " && ".join(f"pretrain eval {path} --data DATA" for path in dict.fromkeys(known)),
        )
    from pretrain import equivalence

    try:
        outcome = equivalence.compare(equivalence.read(paths[0]), equivalence.read(paths[1]), margin_nats=margin_nats)
    except InputError as error:
        return not_tested(0, f"evaluations that can be compared ({error.message})", error.hint or None)
    return outcome_level(
        Estimate(
            value=outcome.difference_nats,
            low=outcome.low_nats,
            high=outcome.high_nats,
            unit="nats per token, A minus B",
            confidence=outcome.confidence,
            p=outcome.p,
            method="paired over documents",
        ),
        margin_nats,
    )


def outcome_level(difference: Estimate, margin_nats: float) -> Level:
    """The level for a difference in loss whose interval is the one that two one-sided tests at 5 % use (90 %)."""
    low, high = difference.low, difference.high
    if low is None or high is None:
        raise ValueError("the difference in loss needs its interval")
    told = f"A's loss minus B's is {prose.span(difference)} nats a token"
    if -margin_nats < low and high < margin_nats:
        status, says = "clear", f"The base models are loss-equivalent within {margin_nats:g} nats: {told}."
    elif low > margin_nats or high < -margin_nats:
        status, says = "accounts", f"The base models are not loss-equivalent: {told}, beyond {margin_nats:g}."
    else:
        status, says = (
            "undetermined",
            f"Whether the base models are loss-equivalent within {margin_nats:g} is open: {told}.",
        )
    return Level(
        number=0,
        name="premise",
        title=LEVEL_TITLES[0],
        status=status,
        says=says,
        effect=difference,
        evidence=(Evidence(name="loss difference", says=f"{told}.", value=difference),),
    )
