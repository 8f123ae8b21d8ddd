"""The verdict: which question is answered, whether the gap is real there, and what may be named (docs/diagnosis.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equiloss.numerals import estimated, number, p_equals, plain, significant
from equiloss.records.diagnosis import Cause, DiagnosisVerdict, Level, Questions, VerdictKind
from equiloss.statistics.estimate import Estimate
from judge.diagnose import next_steps, prose
from judge.diagnose.case import Case
from judge.diagnose.causes import judge_failures
from judge.diagnose.differences import (
    acting,
    base_differences,
    base_seeds,
    decoding_differences,
    in_words,
    made_elsewhere,
    recipe_differences,
    same_base,
)
from judge.diagnose.naming import MENTIONED, Naming, in_points, left, name
from judge.diagnose.naming import in_words as share_in_words

PREMISE = "premise-false"
ONE_SEED_BARS = (0, 4, 5)
"""With one fine-tuning seed a side no cause is named of these levels."""

UNRECORDED = 0.001
"""That something unrecorded differs is claimed of gaps that equal recipes show once in a thousand comparisons."""

Decision = tuple[DiagnosisVerdict, tuple[Cause, ...]]
"""The verdict, and the causes of all levels, ranked, with the named ones marked."""


@dataclass(frozen=True)
class Findings:
    """What the levels have found: all causes settled, what speaks against a gap elsewhere, and what is missing."""

    case: Case
    levels: Sequence[Level]
    causes: Sequence[Cause]
    questions: Questions

    @property
    def one_seed(self) -> str:
        """What one fine-tuning seed a side leaves open, and what a noise ledger says of it."""
        assert self.case.gap is not None
        says, by_ledger = prose.one_seed(self.case.gap), self.questions.bases
        if by_ledger is None:
            return says
        told = Estimate(value=by_ledger.points, low=by_ledger.low, high=by_ledger.high)
        return f"{says} With the spread that the noise ledger measured, A minus B is {estimated(told)}."

    @property
    def gap(self) -> Estimate:
        """The gap, with the interval of the highest unit that was varied."""
        assert self.case.gap is not None
        return self.case.gap.estimate

    @property
    def shows_as(self) -> list[Cause]:
        """What carries a quarter of the gap or more by levels 3 and 5, the largest first: how a gap comes out."""
        found = [one for one in self.causes if one.status == "supported" and one.level in (3, 5) and one.share]
        found = [one for one in found if one.share is not None and one.share.value >= MENTIONED]
        return sorted(found, key=lambda one: -(one.share.value if one.share else 0.0))

    def verdict(self, kind: VerdictKind, reason: str, sentence: str, command: str | None, **more: object) -> Decision:
        """A verdict that names no cause."""
        fields: dict[str, object] = {
            "against": tuple(
                f"Level {level.number} ({level.name}): {level.says}" for level in self.levels if level.status == "clear"
            ),
            "missing": tuple(dict.fromkeys(one for level in self.levels for one in level.missing)),
            **more,
        }
        decided = DiagnosisVerdict.model_validate(
            {"kind": kind, "reason": reason, "sentence": sentence, "command": command, **fields}
        )
        return decided, _ranked(self.causes, decided.causes)

    def named(self, naming: Naming) -> Decision:
        """The causes account for the gap."""
        first = naming.named[0]
        sentence = " ".join([_told(one) for one in naming.named])
        if first.tied:
            both = prose.alternatives([first.title, *(one.title for one in self.causes if one.id in first.tied)])
            sentence = f"{both}: these items cannot tell them apart. {sentence}"
        if any(one.share is not None and one.share.value < 0 for one in naming.named):
            sentence += " The causes pull against each other."
        command = first.command or _next(self.case)
        if waiting := self._untried(naming):
            titles, rest = prose.names([one.title for one in waiting]), self._rest(naming)
            sentence += f" Not made equal: {titles}. What is left could be of it: {in_points(rest)}."
            command = waiting[0].command or command
        sentence += self._reach(first)
        return self.verdict(
            "cause",
            "tied" if first.tied else "named",
            sentence,
            command,
            cause=first.id,
            causes=tuple(dict.fromkeys(id for one in naming.named for id in (one.id, *one.tied))),
            level=first.level,
            share=first.share,
            because=tuple(text for one in naming.named for text in one.evidence_for),
        )

    def _untried(self, naming: Naming) -> list[Cause]:
        """Differences of recipe and decoding, open beside what is named, where a further one to name may be left."""
        rest = self._rest(naming)
        ends = [abs(end) for end in (rest.low, rest.high) if end is not None]
        if max(ends, default=0.0) < MENTIONED * abs(self.gap.value):
            return []
        named = {id for one in naming.named for id in (one.id, *one.tied)}
        return [one for one in self.causes if one.open and one.level in (3, 4) and one.id not in named]

    def _rest(self, naming: Naming) -> Estimate:
        """What the named causes leave of the gap."""
        return left(self.gap, [one.points for one in naming.named if one.points])

    def _reach(self, cause: Cause) -> str:
        """Of what a named cause holds: these answers, these base models, or the recipes."""
        gap = self.case.gap
        assert gap is not None
        if not gap.seeds_measured:
            return f" This holds for these answers: {self.one_seed}"
        if cause.level == 5 and not (gap.split and gap.split.recipes):
            return " This holds for these base models; with one pretraining run a side, not yet for how they were made."
        return ""


def decide(
    case: Case, levels: Sequence[Level], causes: Sequence[Cause], questions: Questions, margin: float
) -> Decision:
    """The verdict and the causes of all levels, ranked, with the named ones marked. `margin`: in points."""
    premise, reality = levels[0], levels[1]
    found = Findings(case, levels, causes, questions)
    if case.gap is None or reality.status == "not-tested":
        says = "Cannot tell: there are no scores on both sides to compare."
        return found.verdict("cannot-tell", "not-judged", says, reality.command)
    if not found.gap.excludes(0.0):
        return _not_shown(found, margin)
    naming = name(causes, () if case.gap.seeds_measured else ONE_SEED_BARS)
    if naming.named and naming.named[0].level == 2:
        return found.named(naming)
    if case.same_answers:
        says = "Cannot tell: A and B gave the same answers, so the gap is the judge's; which of its faults is open."
        return found.verdict("cannot-tell", "judge-unknown", says, levels[2].command or next_steps.audit(case))
    if decided := _nothing_recorded(found):
        return decided
    if naming.named and naming.named[0].grade == "measured":
        return found.named(naming)
    lower_loss_scores_higher = premise.effect is not None and premise.effect.value * case.gap.value < 0
    if case.gap.seeds_measured and premise.status == "accounts" and lower_loss_scores_higher:
        return _premise_false(found, premise)
    if naming.named:
        return found.named(naming)
    return _open(found, naming)


def _not_shown(found: Findings, margin: float) -> Decision:
    """The interval of the gap holds 0: no gap of interest, or one that could not be told."""
    case, gap = found.case, found.gap
    assert case.gap is not None
    low, high = gap.interval
    unit = _unit(case)
    opposing = [
        one for one in found.causes if one.status == "supported" and one.points and abs(one.points.value) >= margin
    ]
    behind, shows = "", {"shows_as": tuple(one.id for one in opposing)}
    if len(opposing) == 1 and opposing[0].points:
        behind = f" In it {prose.lower(opposing[0].title)}: {significant(opposing[0].points.value)} points."
    elif opposing:
        parts = prose.names([f"{one.title} ({significant(one.points.value)})" for one in opposing if one.points])
        behind = f" Behind it, contributions pull against each other: {parts} points."
    if -margin < low and high < margin:
        says = f"There is no gap of interest: A minus B is {estimated(gap)} over {unit}, within {plain(margin)} points."
        for one in found.causes:
            if one.level == 2 and (decided := _hidden_by_the_judge(found, one, margin)):
                return decided
        behind += "".join(f" It is as judged: {one.says}" for one in found.causes if one.level == 2 and one.open)
        reason = "no-gap" if gap.value == 0 else "within-margin"
        return found.verdict("within-margin", reason, says + behind, None, **shows)
    lower = ""
    split = case.gap.split
    if split is not None and split.recipes is not None and split.bases is not None and split.bases.p < 0.05:
        lower = (
            " On these base runs the recipes do differ; whether they would on others is what is not shown."
            if same_base(case)
            else " These base models do differ; whether their recipes do is what is not shown."
        )
    says = (
        f"Cannot tell: A minus B is {estimated(gap)} over {unit}, which holds 0 and also gaps beyond {plain(margin)} "
        f"points.{lower}"
    )
    several_bases = split is not None and split.recipes is not None
    command = next_steps.pretrain_again(case) if several_bases else next_steps.more_seeds(case)
    return found.verdict("underpowered", "within-noise", says + behind, command, **shows)


def _hidden_by_the_judge(found: Findings, cause: Cause, margin: float) -> Decision | None:
    """A fault of the judge that may hide a gap of interest; None where without it there is none either.

    Scores that were not given on one side's answers can hide one whatever they would be; what the judge favours does
    where it was shown to make points.
    """
    gap, made, failures = found.gap, cause.points, cause.id == judge_failures.CAUSE
    if not failures and (made is None or cause.status != "supported"):
        return None
    says = f"Cannot tell: {prose.lower(cause.title)}. {cause.evidence_for[0]} As it is A minus B is {estimated(gap)}"
    if made is not None:
        without = left(gap, [made])
        low, high = without.interval
        if -margin < low and high < margin:
            return None
        says += f", without this {estimated(without)}"
    return found.verdict("cannot-tell", "judge", says + ".", cause.command)


def _unit(case: Case) -> str:
    split = case.gap.split if case.gap else None
    if split is None or split.bases is None:
        return "items alone (one fine-tuning seed a side)" if split is None or split.recipes is None else "base runs"
    return "base runs and items" if split.recipes is not None else "fine-tuning seeds and items"


def _nothing_recorded(found: Findings) -> Decision | None:
    """A real gap between sides whose records differ in nothing that acts but seeds; None where something does."""
    case, gap = found.case, found.case.gap
    assert gap is not None
    if case.a.record is None or case.b.record is None or not gap.seeds_measured:
        return None
    of_base = [] if same_base(case) else base_differences(case)
    if of_base is None or (not same_base(case) and made_elsewhere(case)):
        return None
    of_recipe = [*recipe_differences(case), *decoding_differences(case)]
    inert = [*of_recipe, *of_base]
    if acting(inert):
        return None
    shows = found.shows_as
    comes_out = "".join(f" It shows as {prose.lower(_carried(one))}" for one in shows[:2])
    because = tuple(text for one in shows for text in one.evidence_for)
    more = {"shows_as": tuple(one.id for one in shows), "because": because}
    if inert:
        again = next_steps.pretrain_again(case)
        if of_recipe:
            again = next_steps.explain(case, of_recipe[0].suspect.cause) or again
        says = (
            f"Cannot tell: all that is recorded to differ cannot act: {in_words(inert)}. What can be left of it is "
            "rounding and the order of sums, no more than another seed, or something that is not recorded."
        )
        return found.verdict("cannot-tell", "only-inert", says + comes_out, again, **more)
    if same_base(case) or gap.split is None or gap.split.recipes is not None or not base_seeds(case):
        if found.gap.p is not None and found.gap.p >= UNRECORDED:
            says = (
                f"Cannot tell: the records differ in nothing but seeds, and A minus B is {estimated(found.gap)} over "
                f"{_unit(case)}: beyond them at 5 % and not at 0.1 % (p {p_equals(found.gap.p)}). One such comparison "
                f"in {number(1 / found.gap.p, 0)} shows as much by chance."
            )
            return found.verdict("underpowered", "seeds-only", says + comes_out, next_steps.more_seeds(case), **more)
        says = (
            f"The records differ in nothing but seeds, yet the gap is far beyond them: A minus B is "
            f"{estimated(found.gap)} over {_unit(case)}. Something that is not recorded differs: code, libraries, "
            "data, a mix-up of files, or the judge."
        )
        if reran := found.levels[4].evidence:
            says += "".join(f" {one.says}" for one in reran if one.name == "circumstances")
        return found.verdict("unrecorded-difference", "seeds-only", says + comes_out, next_steps.audit(case), **more)
    says = (
        f"The two base models really differ: A minus B is {estimated(found.gap)} over {_unit(case)}. Their recipes do "
        "not: only seeds of pretraining differ, so it is chance of pretraining."
    )
    if not shows:
        comes_out = " How it shows is not known: no measure of the base models that was tested follows the gap."
    if of_judge := [one.title for one in found.causes if one.level == 2 and one.open]:
        comes_out += f" Not excluded: {prose.names(of_judge)}."
    command = next_steps.pretrain_again(case) if shows else found.levels[5].command or next_steps.pretrain_again(case)
    return found.verdict("chance-of-pretraining", "seeds-of-pretraining", says + comes_out, command, **more)


def _premise_false(found: Findings, premise: Level) -> Decision:
    """The base models differ in loss, and the one with the lower loss has the higher scores: not the riddle."""
    says = f"The premise does not hold, and the lower loss has the higher scores. {premise.says}"
    return found.verdict("premise-false", PREMISE, says, _next(found.case), level=0, because=(premise.says,))


def _open(found: Findings, naming: Naming) -> Decision:
    """A real gap, and nothing that may be named."""
    gap = found.case.gap
    assert gap is not None
    suspects = sorted((one for one in found.causes if one.open), key=lambda one: -(one.prior or 0.0))
    seedless = not gap.seeds_measured
    says = f": {found.one_seed}" if seedless else ""
    if naming.blocked:
        best = naming.blocked[0]
        says += f"{' Yet' if says else ' yet:'} {prose.lower(best.says[:-1])} ({_size(best)}); but "
        says += f"{prose.names([one.title for one in naming.rivals])} could carry as much, and was not made equal."
    elif not says:
        says = ": nothing that was tested accounts for the gap."
    blocked = {one.id for one in naming.blocked}
    partly = [one for one in found.causes if one.status == "supported" and one.id not in blocked and one.share]
    if partly:
        parts = prose.names([f"{one.title} ({_size(one)})" for one in partly])
        says += f" Shown, with less than half of the gap: {parts}."
    titles = [f"more by {prose.lower(one.title)}" if one in partly else one.title for one in suspects]
    open_titles = [title for one, title in zip(suspects, titles, strict=True) if one not in naming.rivals]
    if open_titles:
        says += f" Not excluded: {prose.names(open_titles[:3])}."
    untested = [f"level {level.number} ({level.name})" for level in found.levels if level.status == "not-tested"]
    if untested:
        says += f" Not tested: {prose.names(untested)}."
    for symptom in found.causes:
        if symptom.level == 3 and symptom.points is None and not symptom.open:
            says += f" {symptom.says[:-1]}: it may be a symptom, and names nothing."
    because = tuple(text for one in naming.blocked for text in one.evidence_for)
    reason = "one-seed" if seedless else "open-rival" if naming.blocked else "nothing-accounts"
    return found.verdict("cannot-tell", reason, f"Cannot tell{says}", _test_of(found, suspects), because=because)


def _test_of(found: Findings, suspects: Sequence[Cause]) -> str | None:
    """What would settle most: more seeds where there is one, a rerun of the foremost suspect, a missing measurement."""
    case, gap = found.case, found.case.gap
    if gap is not None and not gap.seeds_measured:
        return next_steps.more_seeds(case)
    if command := next((one.command for one in suspects if one.command and one.level in (3, 4)), None):
        return command
    for level in (found.levels[4], found.levels[5], found.levels[0]):
        if level.status == "not-tested" or (level.number == 5 and level.missing):
            return level.command
    of_judge = next((one.command for one in suspects if one.level == 2), None)
    return of_judge or (next_steps.pretrain_again(case) if not same_base(case) else next_steps.audit(case))


def _next(case: Case) -> str:
    """What would test a named cause further: a counterfactual where the recipes differ, else more pretraining seeds."""
    again = next_steps.explain(case) if acting(recipe_differences(case)) else None
    return again or next_steps.pretrain_again(case)


def _told(cause: Cause) -> str:
    """Its sentence, which says the share where a rerun measured it, and its points."""
    return f"{cause.says} {_carried(cause, 'That is')}"


def _carried(cause: Cause, begin: str = "") -> str:
    """A cause's part of the gap as a sentence."""
    assert cause.points is not None
    how = {"measured": "measured by a rerun", "adjusted": "by adjustment", "located": "by where the gap lies"}
    points = in_points(cause.points)
    if begin and cause.grade == "measured":
        return f"{begin} {points}."
    text = f"{begin or cause.title + ':'} {_size(cause)} ({points}; {how.get(cause.grade, cause.grade)})."
    return text[:1].upper() + text[1:]


def _size(cause: Cause) -> str:
    if cause.share is None:
        return "not measured"
    share = share_in_words(cause.share.value)
    return f"{share} of the gap, the other way" if cause.share.value < 0 else f"{share} of the gap"


def _ranked(causes: Sequence[Cause], named: Sequence[str] = ()) -> tuple[Cause, ...]:
    """The named first, then by status, the points, and the weight before any evidence."""
    order = ("named", "supported", "possible", "not-tested", "excluded")
    marked = [one.model_copy(update={"status": "named"}) if one.id in named else one for one in causes]
    return tuple(
        sorted(
            marked,
            key=lambda one: (
                order.index(one.status),
                -(abs(one.points.value) if one.points else 0.0),
                -(one.prior or 0.0),
            ),
        )
    )
