"""The verdict: the first level that accounts for the gap, by a fixed rule (docs/diagnosis.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equiloss.numerals import estimated_share
from equiloss.records.diagnosis import Cause, DiagnosisVerdict, Level
from judge.diagnose import next_steps, prose
from judge.diagnose.case import Case
from judge.diagnose.differences import decoding_differences, only_seeds_differ, recipe_differences
from judge.diagnose.levels.decoding import CAUSES as FAULTS
from judge.diagnose.levels.decoding import SETTINGS
from judge.diagnose.naming import best_artefact, best_cause, by_elimination, explains, first_supported

PREMISE = "premise-false"
SETTING_FAULTS = {"max_new_tokens": "decoding-truncation", "repetition_penalty": "decoding-repetition"}
"""The fault that a setting makes by itself, so that it is named where the setting is all that differs."""

Decision = tuple[DiagnosisVerdict, tuple[Cause, ...]]
"""The verdict, and the causes of all levels, ranked, with the named one marked."""


@dataclass(frozen=True)
class Findings:
    """What the levels have found: all causes, what speaks against a gap elsewhere, and what is missing."""

    case: Case
    levels: Sequence[Level]
    causes: Sequence[Cause]

    @property
    def against(self) -> tuple[str, ...]:
        """The levels that do not account for the gap."""
        cleared = [level for level in self.levels if level.status == "clear"]
        return tuple(f"Level {level.number} ({level.name}): {level.says}" for level in cleared)

    @property
    def missing(self) -> tuple[str, ...]:
        """What tests that were not made would need."""
        return tuple(dict.fromkeys(one for level in self.levels for one in level.missing))

    def chance(self, reason: str, sentence: str, because: str, command: str | None) -> Decision:
        """The gap is noise, or of nothing but seeds."""
        return DiagnosisVerdict(
            kind="chance",
            reason=reason,
            level=1,
            sentence=sentence,
            because=(because,),
            against=self.against,
            missing=self.levels[1].missing,
            command=command,
        ), _ranked(self.causes)

    def cannot_tell(self, reason: str, sentence: str, command: str | None) -> Decision:
        """No cause can be named."""
        return DiagnosisVerdict(
            kind="cannot-tell",
            reason=reason,
            sentence=f"Cannot tell{sentence}",
            against=self.against,
            missing=self.missing,
            command=command,
        ), _ranked(self.causes)

    def named(self, cause: Cause, level: Level) -> Decision:
        """The cause accounts for the gap."""
        sentence, gap = cause.says, self.case.gap
        if cause.share is not None and cause.basis != "rerun":  # what a rerun closed is said already
            sentence += f" It explains {estimated_share(cause.share)} of the gap."
        if level.number in (2, 3) and gap is not None and not gap.seeds_measured:
            sentence += " This holds for these answers; other fine-tuning seeds were not run."
        return DiagnosisVerdict(
            kind="cause",
            reason="named",
            cause=cause.id,
            level=level.number,
            share=cause.share,
            sentence=sentence,
            because=cause.evidence_for,
            against=self.against,
            missing=self.missing,
            command=cause.command or level.command or _next(self.case),
        ), _ranked(self.causes, cause)


def decide(case: Case, levels: Sequence[Level]) -> Decision:
    """The verdict and the causes of all levels, ranked, with the named one marked."""
    premise, reality, judging, decoding, recipe, base = levels
    false_premise = _premise_cause(case, premise)
    causes = [cause for level in levels for cause in level.causes]
    findings = Findings(case, levels, [false_premise, *causes] if false_premise else causes)
    if case.gap is None or reality.status == "not-tested":
        return findings.cannot_tell("not-judged", ": there are no scores on both sides to compare.", reality.command)
    if reality.status == "accounts":
        # Scores that are missing can hide a gap from a paired test, or make one of their own.
        reason = "no-gap" if case.gap.value == 0 else "within-noise"
        sentence = f"There is nothing to explain: {prose.lower(reality.says)}"
        return findings.chance(reason, sentence, reality.says, reality.command)
    artefact = best_artefact(judging.causes)
    if artefact is None and case.same_answers:
        says = ": A and B gave the same answers, so the gap is the judge's, but which of its faults made it is open."
        return findings.cannot_tell("judge-unknown", says, judging.command)
    if artefact is None and only_seeds_differ(case):
        return findings.chance(
            "seeds-only",
            "Nothing that is recorded differs between A and B but their seeds: the gap is chance.",
            "Fine-tuning recipe, data and the base models' making are the same but for the seeds.",
            next_steps.more_seeds(case),
        )
    if false_premise is not None:
        return findings.named(false_premise, premise)
    if artefact is not None:
        return findings.named(artefact, judging)
    cause = _below(case, decoding, recipe, base)
    if cause is None:
        return _open(findings)
    level = levels[cause.level]
    if level.number >= 4 and not case.gap.seeds_measured:
        says = (
            f" yet: {prose.lower(cause.says)} But with one fine-tuning seed a side, the noise of seeds is not measured."
        )
        verdict, ranked = findings.cannot_tell("one-seed", says, next_steps.more_seeds(case))
        return verdict.model_copy(update={"level": level.number, "because": cause.evidence_for}), ranked
    return findings.named(cause, level)


def _premise_cause(case: Case, premise: Level) -> Cause | None:
    """A difference in loss is the first explanation where the model with the lower loss has the higher scores."""
    if premise.status != "accounts" or premise.effect is None or case.gap is None:
        return None
    if premise.effect.value * case.gap.value >= 0:
        return None
    return Cause(
        id=PREMISE,
        level=0,
        title="the base models are not loss-equivalent",
        status="supported",
        says="The base models are not loss-equivalent, and the one with the lower loss has the higher scores.",
        evidence_for=(premise.says,),
    )


def _below(case: Case, decoding: Level, recipe: Level, base: Level) -> Cause | None:
    """Levels 3 to 5. Faulty answers are named where decoding settings differ, or where nothing below explains them."""
    faulty = best_cause(decoding.causes)
    in_recipe, in_base = first_supported(recipe.causes), first_supported(base.causes)
    by_id = {one.id: one for one in decoding.causes}
    if SETTINGS in by_id and in_recipe is None and in_base is None:
        made = {SETTING_FAULTS.get(setting) for setting in decoding_differences(case)}
        own = next((one for one in decoding.causes if one.id in made and one.status == "supported"), None)
        if own is not None and explains(own.share):
            return own
        if faulty is not None:
            return faulty
        if not any(level.tables.get("differences") or level.status != "clear" for level in (recipe, base)):
            return _by_settings(case, by_id[SETTINGS], decoding)
    if in_recipe is not None:
        # A field of the recipe whose name is a fault of decoding (the loss on the end of text): the fault it makes.
        fault = by_id.get(in_recipe.id)
        return fault if fault is not None and fault.status == "supported" else in_recipe
    return faulty or in_base  # without a recipe that made the answers faulty, the faults come first


def _by_settings(case: Case, settings: Cause, decoding: Level) -> Cause:
    """Only the decoding differs: the fault that the losing side has more of names it, else the settings do."""
    faults = [one for one in decoding.causes if one.id in FAULTS.values()]
    cause = faults[0] if len(faults) == 1 else settings
    return by_elimination(cause, case, f"{settings.says} Nothing else that is recorded differs.")


def _open(findings: Findings) -> Decision:
    case, levels, causes = findings.case, findings.levels, findings.causes
    possible = [one for one in causes if one.status == "possible"]
    untested = [f"level {level.number} ({level.name})" for level in levels if level.status == "not-tested"]
    of_base = {str(row["cause"]) for row in levels[5].tables.get("differences", ())}
    lone = [one for one in possible if one.level == 5 and {one.id} == of_base]
    if lone and not untested:
        says = f" yet: {prose.lower(lone[0].says[:-1])}, but no measure of the base models follows the gap"
        if not (case.a.several_bases and case.b.several_bases):
            says += ", and with one pretraining run a side its chance is not measured"
    else:
        says = ": no level that was tested accounts for the gap"
        says += f"; not tested: {prose.names(untested)}" if untested else ""
        suspects = sorted(possible, key=lambda one: -(one.prior or 0))[:3]
        says += f"; not excluded: {prose.names([one.title for one in suspects])}" if suspects else ""
    partly = [
        f"{one.title}: {estimated_share(one.share)}"
        for one in causes
        if one.status == "supported" and one.share is not None and one.share.value > 0 and one.share.excludes(0.0)
    ]
    says += f"; supported, with less of the gap than names a cause: {prose.names(partly)}" if partly else ""
    differs = any(level.tables.get("differences") for level in levels)
    command = _next(case) if differs and not untested else None
    command = command or next((level.command for level in levels if level.command and level.status != "clear"), None)
    return findings.cannot_tell("nothing-accounts", f"{says}.", command)


def _next(case: Case) -> str:
    """What would test a named cause further: a counterfactual where the recipes differ, else more pretraining seeds."""
    return next_steps.explain(case) if recipe_differences(case) else next_steps.pretrain_again(case)


def _ranked(causes: Sequence[Cause], named: Cause | None = None) -> tuple[Cause, ...]:
    """The named cause first, then by how far the evidence goes, the share, and the weight before any evidence."""
    order = ("named", "supported", "possible", "not-tested", "excluded")
    marked = [one for one in causes if named is None or one.id != named.id]
    if named is not None:
        marked.insert(0, named.model_copy(update={"status": "named"}))
    return tuple(
        sorted(
            marked,
            key=lambda one: (
                order.index(one.status),
                not explains(one.share),
                -(one.share.value if one.share else 0.0),
                -(one.prior or 0.0),
            ),
        )
    )
