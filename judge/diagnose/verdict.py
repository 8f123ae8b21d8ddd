"""The verdict: the first level that accounts for the gap, by a fixed rule (docs/diagnosis.md)."""

from __future__ import annotations

from collections.abc import Sequence

from equiloss.numerals import estimated_share
from equiloss.records.diagnosis import Cause, Level, Verdict
from judge.diagnose import next_steps, prose
from judge.diagnose.case import Case
from judge.diagnose.levels.base_model import only_seeds_differ
from judge.diagnose.levels.decoding import different_settings
from judge.diagnose.levels.noise import identical_share
from judge.diagnose.levels.recipe import recipe_differences
from judge.diagnose.naming import best_artefact, best_cause, explains

PREMISE = "premise-false"
SETTING_FAULTS = {"max_new_tokens": "decoding-truncation", "repetition_penalty": "decoding-repetition"}
"""The fault that a setting makes by itself, so that it is named where the setting is all that differs."""
MECHANISMS = ("decoding-eos", "decoding-truncation", "decoding-repetition", "decoding-empty", "decoding-echo")


def decide(case: Case, levels: Sequence[Level]) -> tuple[Verdict, tuple[Cause, ...]]:
    """The verdict and the causes of all levels, ranked, with the named one marked."""
    premise, reality, judging, decoding, recipe, base = levels
    causes = [cause for level in levels for cause in level.causes]
    premise_cause = _premise_cause(case, premise)
    if premise_cause is not None:
        causes.insert(0, premise_cause)
    missing = tuple(dict.fromkeys(one for level in levels for one in level.missing))
    against = tuple(_against(level) for level in levels if level.status == "clear")

    if case.gap is None or reality.status == "not-tested":
        return _cannot_tell(
            "not-judged",
            "Cannot tell: there are no scores on both sides to compare.",
            causes,
            against,
            missing,
            reality.command,
        )

    in_judging = best_artefact(judging.causes)
    if reality.status == "accounts":
        # Scores that are missing can hide a gap from a paired test, or make one of their own.
        return Verdict(
            kind="chance",
            reason="no-gap" if case.gap.value == 0 else "within-noise",
            level=1,
            sentence=f"There is nothing to explain: {_lower(reality.says)}",
            because=(reality.says,),
            against=against,
            missing=reality.missing,
            command=reality.command,
        ), _ranked(causes, None)
    if identical_share(case) == 1.0 and in_judging is None:
        says = "A and B gave the same answers, so the gap is the judge's, but which of its faults made it is open."
        return _cannot_tell("judge-unknown", says, causes, against, missing, judging.command)
    if only_seeds_differ(case) and in_judging is None:
        return Verdict(
            kind="chance",
            reason="seeds-only",
            level=1,
            sentence="Nothing that is recorded differs between A and B but their seeds: the gap is chance.",
            because=("Fine-tuning recipe, data and the base models' making are the same but for the seeds.",),
            against=against,
            missing=reality.missing,
            command=next_steps.more_seeds(case),
        ), _ranked(causes, None)
    if premise_cause is not None:
        return _named(case, premise_cause, premise, causes, against, missing)
    if in_judging is not None:
        return _named(case, in_judging, judging, causes, against, missing)

    in_decoding = best_cause(list(decoding.causes))
    in_recipe = next((one for one in recipe.causes if one.status == "supported"), None)
    in_base = next((one for one in base.causes if one.status == "supported"), None)
    settings = next((one for one in decoding.causes if one.id == "decoding-settings"), None)
    chosen, level = _below(case, in_decoding, in_recipe, in_base, settings, levels)
    if chosen is None or level is None:
        return _open(case, levels, causes, against, missing)
    if level.number >= 4 and not case.gap.seeds_measured:
        sentence = (
            f"Cannot tell yet: {_lower(chosen.says)} But with one fine-tuning seed a side, the noise of seeds is "
            f"not measured."
        )
        verdict, ranked = _cannot_tell("one-seed", sentence, causes, against, missing, next_steps.more_seeds(case))
        return verdict.model_copy(update={"level": level.number, "because": chosen.evidence_for}), ranked
    return _named(case, chosen, level, causes, against, missing)


def _below(
    case: Case,
    decoding: Cause | None,
    recipe: Cause | None,
    base: Cause | None,
    settings: Cause | None,
    levels: Sequence[Level],
) -> tuple[Cause | None, Level | None]:
    """Levels 3 to 5. Faulty answers are named where decoding settings differ, or where nothing below explains them."""
    if settings is not None and recipe is None and base is None:
        nothing_else = not levels[4].tables.get("differences") and not levels[5].tables.get("differences")
        made = {SETTING_FAULTS.get(key) for key in different_settings(case)}
        own = next((one for one in levels[3].causes if one.id in made and one.status == "supported"), None)
        if own is not None and explains(own.share):
            return own, levels[3]
        if decoding is not None:
            return decoding, levels[3]
        if nothing_else and levels[4].status == "clear" and levels[5].status == "clear":
            return _by_settings(case, settings, levels[3]), levels[3]
    if recipe is not None and recipe.id in MECHANISMS:
        # A field of the recipe whose name is a fault of decoding (the loss on the end of text): the fault it makes.
        fault = next((one for one in levels[3].causes if one.id == recipe.id and one.status == "supported"), None)
        return (fault, levels[3]) if fault is not None else (recipe, levels[4])
    if recipe is not None:
        return recipe, levels[4]  # the recipe made the answers faulty
    if decoding is not None:
        return decoding, levels[3]
    return (base, levels[5]) if base is not None else (None, None)


def _by_settings(case: Case, settings: Cause, level: Level) -> Cause:
    """Only the decoding differs: the fault that the losing side has more of names it, else the settings do."""
    from judge.diagnose.levels.recipe import whole_gap

    faults = [one for one in level.causes if one.id in MECHANISMS]
    named = faults[0] if len(faults) == 1 else settings
    return named.model_copy(
        update={
            "status": "supported",
            "share": whole_gap(case),
            "share_method": "by elimination: nothing else that is recorded differs",
            "says": f"{settings.says} Nothing else that is recorded differs.",
        }
    )


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


def _named(
    case: Case,
    cause: Cause,
    level: Level,
    causes: Sequence[Cause],
    against: Sequence[str],
    missing: Sequence[str],
) -> tuple[Verdict, tuple[Cause, ...]]:
    sentence = cause.says
    told = estimated_share(cause.share) if cause.share is not None else ""
    if told not in sentence:  # what a counterfactual closed is said already
        sentence += f" It explains {told} of the gap."
    if level.number in (2, 3) and case.gap is not None and not case.gap.seeds_measured:
        sentence += " This holds for these answers; other fine-tuning seeds were not run."
    return Verdict(
        kind="cause",
        reason="named",
        cause=cause.id,
        level=level.number,
        share=cause.share,
        sentence=sentence,
        because=cause.evidence_for,
        against=tuple(against),
        missing=tuple(missing),
        command=cause.command or level.command or _next(case),
    ), _ranked(causes, cause)


def _open(
    case: Case, levels: Sequence[Level], causes: Sequence[Cause], against: Sequence[str], missing: Sequence[str]
) -> tuple[Verdict, tuple[Cause, ...]]:
    possible = [one for one in causes if one.status == "possible"]
    untested = [level for level in levels if level.status == "not-tested"]
    told = "Cannot tell: no level that was tested accounts for the gap"
    if untested:
        told += f"; not tested: {prose.names([f'level {one.number} ({one.name})' for one in untested])}"
    lone = [one for one in possible if one.level == 5 and one.says.startswith("The only recorded difference")]
    if lone and not untested:
        told = f"Cannot tell yet: {_lower(lone[0].says.rstrip('.'))}, but no measure of the base models follows the gap"
        told += "" if _several_bases(case) else ", and with one pretraining run a side its chance is not measured"
    elif possible:
        suspects = sorted(possible, key=lambda one: -(one.prior or 0))[:3]
        told += f"; not excluded: {prose.names([one.title for one in suspects])}"
    partly = [
        f"{one.title}: {estimated_share(one.share)}"
        for one in causes
        if one.status == "supported" and one.share is not None and one.share.value > 0 and one.share.excludes(0.0)
    ]
    told += f"; supported, with less of the gap than names a cause: {prose.names(partly)}" if partly else ""
    differs = any(level.tables.get("differences") for level in levels)
    command = _next(case) if differs and not untested else None
    command = command or next((level.command for level in levels if level.command and level.status != "clear"), None)
    return _cannot_tell("nothing-accounts", f"{told}.", causes, against, missing, command)


def _next(case: Case) -> str:
    """What would test a named cause further: a counterfactual where the recipes differ, else more pretraining seeds."""
    a, b = case.a.record, case.b.record
    if a is not None and b is not None and recipe_differences(a, b):
        return next_steps.explain(case)
    return next_steps.pretrain_again(case)


def _several_bases(case: Case) -> bool:
    return case.a.several_bases and case.b.several_bases


def _cannot_tell(
    reason: str,
    sentence: str,
    causes: Sequence[Cause],
    against: Sequence[str],
    missing: Sequence[str],
    command: str | None,
) -> tuple[Verdict, tuple[Cause, ...]]:
    return Verdict(
        kind="cannot-tell",
        reason=reason,
        sentence=sentence,
        against=tuple(against),
        missing=tuple(missing),
        command=command,
    ), _ranked(causes, None)


def _ranked(causes: Sequence[Cause], named: Cause | None) -> tuple[Cause, ...]:
    """The named cause first, then by how far the evidence goes, the share, and the weight before any evidence."""
    order = {"named": 0, "supported": 1, "possible": 2, "not-tested": 3, "excluded": 4}
    marked = [one for one in causes if named is None or one.id != named.id]
    if named is not None:
        marked.insert(0, named.model_copy(update={"status": "named"}))
    return tuple(
        sorted(
            marked,
            key=lambda one: (
                order[one.status],
                not explains(one.share),
                -(one.share.value if one.share else 0.0),
                -(one.prior or 0.0),
            ),
        )
    )


def _against(level: Level) -> str:
    return f"Level {level.number} ({level.name}): {level.says}"


def _lower(says: str) -> str:
    return says[0].lower() + says[1:] if not says.startswith(("A ", "B ")) else says
