"""`study explain A B`: make one factor of the recipe equal, run again, judge again, and see what it makes of the gap.

Both sides are fine-tuned again, several seeds each: unchanged, as a control, and with the other side's value of the
factor. Its points are the mean of what the lower side gains and what the higher loses: with two factors these are
Shapley's values (Shapley 1953), which sum to the gap. Where both directions disagree the factor interacts with what
else differs; where two factors are left, both are changed at once. With `--base` the lower side's base model is
pretrained further in the other side's text instead (`continued_pretraining`), with `--pretrain` it is pretrained again
with one field changed (`pretraining_again`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from equiloss import console
from equiloss.errors import InputError
from equiloss.files import child, claim, write_json
from equiloss.numerals import estimated, significant
from equiloss.provenance import provenance
from equiloss.records import counterfactual
from equiloss.records.counterfactual import Explanation, Tried
from equiloss.statistics.estimate import Estimate
from equiloss.statistics.multiplicity import holm
from judge.diagnose.case import Arm, Case
from judge.diagnose.case_reader import read_case
from judge.diagnose.differences import (
    Difference,
    acting,
    by_cause,
    decoding_differences,
    recipe_differences,
    same_base,
)
from judge.diagnose.naming import ACCOUNTS, CORRECTED, left, share_of
from study.counterfactual import continued_pretraining, pretraining_again
from study.counterfactual.reruns import RerunBudget, Reruns, Runner, contrast, gain, run_command, times

CROSSED = 2
"""So many factors that are left are changed at once, too."""


@dataclass(frozen=True)
class Factor:
    """Fields that are made equal together: one cause of `judge diagnose`."""

    cause: str
    fields: tuple[Difference, ...]

    @property
    def weight(self) -> float:
        """How much it is suspected."""
        return self.fields[0].suspect.weight

    def values_of(self, case: Case, arm: Arm) -> dict[str, JsonValue]:
        """The fields as a side of the case has them."""
        return {one.field: one.a if arm is case.a else one.b for one in self.fields}

    @property
    def changed(self) -> str:
        """The fields and their two values."""
        return "; ".join(one.values for one in self.fields)


def factors(case: Case, only: Sequence[str] = ()) -> list[Factor]:
    """What could be made equal, most suspected first.

    Raises: InputError when a side has no run record, nothing differs, or `only` names something that does not differ.
    """
    without = [arm.name for arm in case.arms if arm.record is None]
    if without:
        raise InputError(f"{without[0]}: there is no run record beside its answers", "fine-tune with `ift run`")
    differences = [*recipe_differences(case), *decoding_differences(case)]
    grouped = by_cause(differences if only else acting(differences))
    if not grouped:
        raise InputError(
            f"the recipes of {case.a.name} and {case.b.name} do not differ: there is nothing to make equal",
            "compare the base models with `pretrain probe` and `judge diagnose`",
        )
    unknown = [name for name in only if name not in grouped]
    if unknown:
        raise InputError(f"{unknown[0]!r} does not differ between the two", f"what differs: {', '.join(grouped)}")
    chosen = [Factor(cause, tuple(fields)) for cause, fields in grouped.items() if not only or cause in only]
    return sorted(chosen, key=lambda one: -one.weight)


def explain(
    a: str,
    b: str,
    *,
    results_dir: Path = Path("results"),
    verdicts_dir: Path | None = None,
    seeds: int = 3,
    budget: RerunBudget | None = None,
    only: Sequence[str] = (),
    rubric: str | None = None,
    judge: str | None = None,
    everything: bool = False,
    base_share: float | None = None,
    pretrain: bool = False,
    ask: str | None = None,
    runs: Path | None = None,
    runner: Runner = run_command,
) -> tuple[list[Tried], Path]:
    """Try the factors until one explains the gap; what was tried, and the file that `judge diagnose` reads.

    With `base_share` the text of the base models is tried instead, for that share of the steps (see
    `continued_pretraining`), with `pretrain` what differs in the making of the base models (`pretraining_again`).
    `runs`: a folder of reruns that several explanations share.
    Raises: InputError when there is nothing to try, BudgetError when the budget ends first (the file has what is
    done), EquilossError when a run fails.
    """
    case = read_case(a, b, results_dir, rubric, judge, verdicts_dir)
    if case.gap is None or case.panel is None or case.gap.value == 0:
        raise InputError(
            f"there is no gap between {case.a.name} and {case.b.name} to explain", "run `judge score` first"
        )
    high, low = (case.a, case.b) if case.gap.value > 0 else (case.b, case.a)
    work = child(case.b.folder or case.a.folder or results_dir, f"{case.a.name}.vs.{case.b.name}.explain")
    path = work.with_name(f"{work.name}.json")
    reruns = Reruns(case, high, low, work, seeds, budget or RerunBudget(), runner, ask, runs)
    if case.panel.is_llm:
        _ = reruns.asked_judge  # raises, before anything is trained
    known = {one.cause: one for one in _known(path, reruns.key)}
    tried: list[Tried] = []

    def keep(result: Tried) -> None:
        tried.append(result)
        known[result.cause] = result
        others = [one for cause, one in known.items() if cause not in {one.cause for one in tried}]
        a, b = case.a.name, case.b.name
        write_json(path, Explanation(a=a, b=b, key=reruns.key, tried=(*tried, *others), provenance=provenance()))

    if base_share is not None:
        keep(known.get(continued_pretraining.CAUSE) or continued_pretraining.attempt(reruns, base_share))
        return tried, path
    if pretrain:
        for cause, differences in pretraining_again.fields(case, only).items():
            keep(known.get(cause) or pretraining_again.attempt(reruns, cause, differences))
        return tried, path
    wanted = factors(case, only)
    for arm in (low, high):
        reruns.named(arm, {}, f"{arm.name}.unchanged")
    for factor in wanted:  # equal runs are made once, whichever factor asks for them
        for arm in (low, high):
            reruns.named(arm, factor.values_of(case, reruns.other(arm)), f"{arm.name}.{factor.cause}")
    for factor in wanted:
        if factor.cause not in known:
            console.say(f"making equal: {factor.changed}")
        keep(known.get(factor.cause) or attempt(reruns, [factor]))
        if not everything and settled(tried, case.gap.estimate):
            if untried := [one.changed for one in wanted[wanted.index(factor) + 1 :] if one.cause not in known]:
                says = "what is unexplained cannot hold another half of the gap; --everything goes on"
                console.say(f"not made equal: {'; '.join(untried)} ({says})")
            break
    open_ones = [one for one in wanted if any(rerun.cause == one.cause and not rerun.settled for rerun in tried)]
    if len(open_ones) == CROSSED and (len(wanted) > CROSSED or not same_base(case)):
        crossed = known.get(" × ".join(one.cause for one in open_ones))
        keep(crossed or attempt(reruns, open_ones))
    return tried, path


def attempt(reruns: Reruns, made_equal: Sequence[Factor]) -> Tried:
    """Run the counterfactual of a factor, or of several changed at once, in both sides, and measure its points."""
    begin, paid_usd = time.monotonic(), reruns.spent_usd
    case, high, low = reruns.case, reruns.high, reruns.low
    assert case.gap is not None
    cause = " × ".join(one.cause for one in made_equal)

    def runs(arm: Arm, *changed: Factor) -> list[Path]:
        values = {key: value for one in changed for key, value in one.values_of(case, reruns.other(arm)).items()}
        name = f"{arm.name}.{'.'.join(one.cause for one in changed) or 'unchanged'}"
        return reruns.fine_tune(arm, reruns.named(arm, values, name), values)

    raised, lowered = runs(low, *made_equal), runs(high, *made_equal)
    groups = [runs(high), lowered, raised, runs(low)]
    top, down, up, bottom = reruns.judged(groups, raised[0].name.removesuffix(".s1.jsonl"))
    points = contrast((0.5, up), (-0.5, bottom), (0.5, top), (-0.5, down))
    share = share_of(points, abs(case.gap.value))
    before = gain(bottom, top)
    sign = 1.0 if high is case.a else -1.0
    return Tried(
        cause=cause,
        fields=tuple(difference.field for one in made_equal for difference in one.fields),
        changed="; ".join(one.changed for one in made_equal),
        side=low.name,
        runs=tuple(path.name.removesuffix(".jsonl") for path in raised),
        share=share,
        points=times(points, sign),
        in_lower=times(gain(bottom, up), sign),
        in_higher=times(gain(down, top), sign),
        interaction=times(contrast((1.0, up), (-1.0, bottom), (-1.0, top), (1.0, down)), sign),
        gap_before=before,
        gap_after=gain(up, top),
        settled=share is not None and share.low is not None and max(map(abs, share.interval)) < ACCOUNTS,
        minutes=round((time.monotonic() - begin) / 60, 2),
        cost_usd=reruns.spent_usd - paid_usd or None,
        note=_control(before, abs(case.gap.value)),
    )


def _control(again: Estimate, gap: float) -> str:
    """What the unchanged reruns say of the records, where they do not make the gap again."""
    if again.low is None or again.high is None or again.low <= gap <= again.high:
        return ""
    return f"run again unchanged, the two differ by {estimated(again)} points instead of {significant(gap)}"


def settled(tried: Sequence[Tried], gap: Estimate) -> bool:
    """Whether what is unexplained cannot hold another half of the gap, by the factors that pass Holm's correction.

    The gap itself is not known exactly either, so its interval counts too.
    """
    measured = [one.points for one in tried if one.points is not None and one.points.low is not None]
    passed = [
        one
        for one, p in zip(measured, holm([one.p for one in measured]), strict=True)
        if p is not None and p < CORRECTED
    ]
    rest = left(gap, passed)
    return bool(passed) and rest.low is not None and max(map(abs, rest.interval)) < ACCOUNTS * abs(gap.value)


def _known(path: Path, key: str) -> tuple[Tried, ...]:
    """What an earlier command tried under the same conditions."""
    earlier = counterfactual.read(path) if path.is_file() else None
    same = earlier is None or earlier.key == key
    claim(path, same, "it was measured otherwise (seeds, judge or answers): move it away, or add --overwrite")
    return earlier.tried if earlier is not None and same else ()
