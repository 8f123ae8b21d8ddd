"""Level 0: are the base models loss-equivalent? Two one-sided tests on paired per-document losses."""

from __future__ import annotations

from equiloss.errors import InputError
from equiloss.numerals import estimated, plain
from equiloss.records.diagnosis import Evidence, Level, not_tested, tested
from equiloss.statistics.equivalence import LEVEL, equivalence_test, mean_over_tokens
from equiloss.statistics.estimate import Estimate
from judge.diagnose import next_steps, prose
from judge.diagnose.case import Case, Options, comparable
from judge.diagnose.differences import same_base


def level(case: Case, options: Options) -> Level:
    """Compare the base models' losses on the same test documents."""
    if same_base(case):
        return tested(
            0,
            "clear",
            "Both sides started from the same base model, so their losses are equal.",
            evidence=(Evidence(name="base", says="The checkpoints' hashes are equal.", bearing="against"),),
        )
    without = [arm for arm in case.arms if not arm.base.evaluations]
    if without:
        return not_tested(
            0,
            f"per-document losses of the base model of {prose.names([arm.name for arm in without])}",
            next_steps.evaluate(case),
        )
    try:
        first, second = comparable(case)
    except InputError as error:
        return not_tested(0, f"evaluations that can be compared ({error.message})", next_steps.evaluate(case))
    sums, tokens = first.arrays["nats"] - second.arrays["nats"], first.arrays["tokens"]
    outcome = equivalence_test(sums, tokens, options.margin_nats)
    interval = mean_over_tokens(sums, tokens, level=2 * LEVEL - 1)
    return outcome_level(
        Estimate(
            value=interval.value,
            low=interval.low,
            high=interval.high,
            unit="nats per token, A minus B",
            confidence=2 * LEVEL - 1,
            p=outcome.p_equivalence,
            method=f"two one-sided tests, paired over {interval.documents} documents",
        ),
        options.margin_nats,
    )


def outcome_level(difference: Estimate, margin_nats: float) -> Level:
    """The level for a difference in loss whose interval is the one that two one-sided tests at 5 % use (90 %)."""
    low, high = difference.low, difference.high
    if low is None or high is None:
        return not_tested(0, "more than one test document", None)
    told = f"A's loss minus B's is {estimated(difference)} nats a token"
    if -margin_nats < low and high < margin_nats:
        status, says = "clear", f"The base models are loss-equivalent within {plain(margin_nats)} nats: {told}."
    elif low > margin_nats or high < -margin_nats:
        status, says = "accounts", f"The base models are not loss-equivalent: {told}, beyond {plain(margin_nats)}."
    else:
        status, says = (
            "undetermined",
            f"Whether the base models are loss-equivalent within {plain(margin_nats)} is open: {told}.",
        )
    return tested(
        0,
        status,
        says,
        effect=difference,
        evidence=(Evidence(name="loss difference", says=f"{told}.", value=difference),),
    )
