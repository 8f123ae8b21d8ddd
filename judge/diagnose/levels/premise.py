"""Level 0: are the base models loss-equivalent, and on which text? Two one-sided tests on per-document losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from equiloss import commands
from equiloss.errors import InputError
from equiloss.loss_comparison import mean_over_sets
from equiloss.numerals import estimated, percent, plain, significant
from equiloss.records.diagnosis import Cause, Evidence, Level, LevelStatus, Row, not_tested, tested
from equiloss.records.evaluation import Evaluation
from equiloss.records.ift_run import IftRun
from equiloss.statistics.equivalence import LEVEL, mean_over_tokens
from equiloss.statistics.estimate import ClusteredMean, Estimate, student_p
from judge.diagnose import next_steps, prose
from judge.diagnose.case import Case, Options, comparables
from judge.diagnose.differences import same_base

UNIT = "nats per token, A minus B"
CONTAMINATED = "contaminated-loss"


@dataclass(frozen=True)
class TestSet:
    """A test set that both base models were evaluated on."""

    name: str
    a: Evaluation
    b: Evaluation
    margin_nats: float

    @property
    def seen(self) -> tuple[int, int]:
        """How many of its documents stand in A's and in B's training text, as far as that is known."""
        return int(self.a.seen.sum()), int(self.b.seen.sum())

    def mean(self, unseen: bool) -> ClusteredMean:
        """A's loss minus B's, with the interval that two one-sided tests use; without the documents read before."""
        sums, tokens = self.a.arrays["nats"] - self.b.arrays["nats"], self.a.arrays["tokens"]
        keep = ~(self.a.seen | self.b.seen)
        keep = keep if unseen and keep.any() else keep | True
        return mean_over_tokens(sums[keep], tokens[keep], level=2 * LEVEL - 1)

    @property
    def difference(self) -> Estimate:
        """A's loss minus B's on the documents that neither has read in training."""
        return _estimate(self.mean(unseen=True), self.margin_nats, "paired over")

    @property
    def owner(self) -> str:
        """The side, "A" or "B", whose training text alone has this text in it; "" where both or neither, or unknown."""
        shares = [one.record.checkpoint.own_share for one in (self.a, self.b)]
        if None in shares or bool(shares[0]) == bool(shares[1]):
            return ""
        return "A" if shares[0] else "B"

    @property
    def favours_owner(self) -> bool:
        """Whether the loss is lower for the side whose own text it is, which decides nothing about other text."""
        return self.owner == ("A" if self.difference.value < 0 else "B")

    def row(self) -> Row:
        """The set as a row of the level's table."""
        own_a, own_b = (one.record.checkpoint.own_share for one in (self.a, self.b))
        return {
            "text": self.name,
            "a": self.a.record.loss_nats.value,
            "b": self.b.record.loss_nats.value,
            "difference": self.difference.value,
            "low": self.difference.low,
            "high": self.difference.high,
            "share_of_training_a": own_a,
            "share_of_training_b": own_b,
            "seen_by_a": self.a.record.checkpoint.seen_documents,
            "seen_by_b": self.b.record.checkpoint.seen_documents,
        }


def level(case: Case, options: Options) -> Level:
    """Compare the base models' losses on the same test documents, text by text."""
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
        pairs = comparables(case)
    except InputError as error:
        return not_tested(0, f"evaluations that can be compared ({error.message})", next_steps.evaluate(case))
    labels = [Path(first.record.data.path).name or first.record.data.sha256[:8] for first, _ in pairs]
    sets = [
        TestSet(label if labels.count(label) == 1 else pair[0].record.data.path, *pair, options.margin_nats)
        for label, pair in zip(labels, pairs, strict=True)
    ]
    judged = outcome_over(sets, options.margin_nats)
    references = _references(case)
    one_sided = all(one.owner and one.favours_owner for one in sets) and judged.status == "accounts"
    if one_sided:
        judged = judged.model_copy(update={"status": "undetermined"})
    owned = [_ownership(one) for one in sets if one.owner]
    elsewhere = commands.pretrain_eval([arm.base.path for arm in case.arms]) if one_sided else judged.command
    several = [arm.name for arm in case.arms if len(arm.bases) > 1]
    first = (
        [f"Of the several base runs of {prose.names(several)}, these are the losses of the first."] if several else []
    )
    says = " ".join([judged.says, *first, *(evidence.says for evidence in owned)])
    rows = [one.row() for one in sets]
    if references is not None:
        rows.append({"text": references.name, "a": references.a, "b": references.b})
    return judged.model_copy(
        update={
            "says": says,
            "evidence": (*judged.evidence, *owned, *([references] if references else [])),
            "causes": tuple(_contaminated(one) for one in sets if any(one.seen))[:1],
            "command": elsewhere,
            "tables": {"losses": rows},
        }
    )


def outcome_over(sets: Sequence[TestSet], margin_nats: float) -> Level:
    """The level over several texts: what holds on all of them that are not one side's own, else what holds where."""
    deciding = [one for one in sets if not one.owner] or list(sets)
    if len(sets) == 1:
        return outcome_level(sets[0].difference, margin_nats)
    outcomes = [outcome_level(one.difference, margin_nats) for one in deciding]
    statuses: set[LevelStatus] = {one.status for one in outcomes}
    signs = {one.difference.value > 0 for one in deciding}
    status: LevelStatus = statuses.pop() if len(statuses) == 1 and len(signs) == 1 else "undetermined"
    status = "clear" if {one.status for one in outcomes} == {"clear"} else status
    mean = mean_over_sets([one.mean(unseen=True) for one in deciding], 2 * LEVEL - 1)
    overall = _estimate(mean, margin_nats, "mean over the texts,")
    where = "; ".join(_on(one, margin_nats) for one in sets)
    begin = {
        "clear": f"The base models are loss-equivalent within {plain(margin_nats)} nats on every text",
        "accounts": f"The base models are not loss-equivalent on any text, beyond {plain(margin_nats)} nats",
    }.get(status, "Whether the base models are loss-equivalent depends on the text")
    evidence = [
        Evidence(name="loss difference", says=f"{told(one.difference)} on {one.name}.", value=one.difference)
        for one in sets
    ]
    return tested(0, status, f"{begin}: A's base is {where}.", effect=overall, evidence=tuple(evidence))


def told(difference: Estimate) -> str:
    """A difference in loss in words, without a full stop."""
    return f"A's loss minus B's is {estimated(difference)} nats a token"


def _on(one: TestSet, margin_nats: float) -> str:
    """How A's base stands to B's on a text: "0.13 nats worse on fineweb", "equivalent on fineweb-edu"."""
    status = outcome_level(one.difference, margin_nats).status
    if status == "clear":
        return f"equivalent on {one.name}"
    size = f"{significant(abs(one.difference.value))} nats {'worse' if one.difference.value > 0 else 'better'}"
    return f"{size} on {one.name}" if status == "accounts" else f"{size} (open) on {one.name}"


def _ownership(one: TestSet) -> Evidence:
    model = one.a if one.owner == "A" else one.b
    other = "B" if one.owner == "A" else "A"
    share = percent(model.record.checkpoint.own_share)
    says = f"{one.name} is {share} of the text that {one.owner}'s base was trained on, and none of {other}'s"
    says += ": that its loss is lower there decides nothing." if one.favours_owner else "."
    return Evidence(name="own text", says=says)


def _estimate(mean: ClusteredMean, margin_nats: float, method: str) -> Estimate:
    """A mean difference as an estimate; its p is that of two one-sided tests of equivalence."""
    p = None if not mean.se else student_p(max(0.0, margin_nats - abs(mean.value)), mean.se, mean.documents - 1) / 2
    return Estimate(
        value=mean.value,
        low=mean.low,
        high=mean.high,
        unit=UNIT,
        confidence=2 * LEVEL - 1,
        p=p,
        method=f"two one-sided tests, {method} {mean.documents} documents",
    )


def _references(case: Case) -> Evidence | None:
    """The losses on the instructions' own references before fine-tuning; None where they are not comparable."""
    records = [arm.record for arm in case.arms]
    if not all(isinstance(record, IftRun) and record.base_validation_loss is not None for record in records):
        return None
    first, second = (record for record in records if isinstance(record, IftRun))
    asked = [
        (one.data.sha256, one.data.split.get("validation"), one.template, *map(one.recipe.get, ("template", "loss_on")))
        for one in (first, second)
    ]
    if asked[0] != asked[1]:
        return None
    a, b = first.base_validation_loss, second.base_validation_loss
    says = "Before any fine-tuning the references of the validation instructions cost "
    says += f"{significant(a)} nats a token with A's base and {significant(b)} with B's."
    return Evidence(name="the instructions' references, before fine-tuning", says=says, a=a, b=b)


def _contaminated(one: TestSet) -> Cause:
    """Test documents that a base model read in training: how far the difference in loss is their doing."""
    of_a, of_b = one.seen
    whole, clean = (_estimate(one.mean(unseen), one.margin_nats, "paired over") for unseen in (False, True))
    says = f"Of the {len(one.a.arrays['index'])} test documents of {one.name}, {of_a} stand in A's training text and "
    says += f"{of_b} in B's. With them {told(whole)}; without them {estimated(clean)}."
    before, after = (outcome_level(value, one.margin_nats).status for value in (whole, clean))
    says += " The verdict on the premise is without them." + (" With them it was another." if before != after else "")
    return Cause(
        id=CONTAMINATED,
        level=0,
        title="test text in the pretraining text",
        status="excluded" if before == after else "possible",
        says=says,
        evidence_for=(says,) if before != after else (),
        evidence_against=() if before != after else (says,),
        source='the training diary "Writing an LLM from scratch" (test documents in two training mixes)',
    )


def outcome_level(difference: Estimate, margin_nats: float) -> Level:
    """The level for a difference in loss whose interval is the one that two one-sided tests at 5 % use (90 %)."""
    low, high = difference.low, difference.high
    if low is None or high is None:
        return not_tested(0, "more than one test document", None)
    says = told(difference)
    if -margin_nats < low and high < margin_nats:
        status, claim = "clear", f"The base models are loss-equivalent within {plain(margin_nats)} nats: {says}."
    elif low > margin_nats or high < -margin_nats:
        status, claim = "accounts", f"The base models are not loss-equivalent: {says}, beyond {plain(margin_nats)}."
    else:
        status, claim = (
            "undetermined",
            f"Whether the base models are loss-equivalent within {plain(margin_nats)} is open: {says}.",
        )
    return tested(
        0,
        status,
        claim,
        effect=difference,
        evidence=(Evidence(name="loss difference", says=f"{says}.", value=difference),),
    )
