"""`study explain A B`: make one factor of the recipe equal, run again, judge again, and see how much of the gap closes.

The side that scores lower is fine-tuned again with the other side's value of the factor, several seeds of it
(`reruns` says how the share that closes is measured); with `--base` its base model is pretrained further in the other
side's text instead (`continued_pretraining`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from equiloss import console
from equiloss.errors import InputError
from equiloss.files import child, write_json
from equiloss.provenance import provenance
from equiloss.records import counterfactual
from equiloss.records.counterfactual import Explanation, Tried
from judge.diagnose.case import Case
from judge.diagnose.case_reader import read_case
from judge.diagnose.differences import Difference, acting, by_cause, decoding_differences, recipe_differences
from judge.diagnose.naming import ACCOUNTS
from study.counterfactual import continued_pretraining
from study.counterfactual.reruns import RerunBudget, Reruns, Runner, closed, run_command


@dataclass(frozen=True)
class Factor:
    """Fields that are made equal together: one cause of `judge diagnose`."""

    cause: str
    fields: tuple[Difference, ...]

    @property
    def weight(self) -> float:
        """How much it is suspected."""
        return self.fields[0].suspect.weight

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
    ask: str | None = None,
    runner: Runner = run_command,
) -> tuple[list[Tried], Path]:
    """Try the factors until one explains the gap; what was tried, and the file that `judge diagnose` reads.

    With `base_share` the text of the base models is tried instead, for that share of the steps (see
    `continued_pretraining`).
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
    reruns = Reruns(case, high, low, work, seeds, budget or RerunBudget(), runner, ask)
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
    for factor in factors(case, only):
        if factor.cause in known:
            keep(known[factor.cause])
        else:
            console.say(f"making equal: {factor.changed}")
            keep(attempt(reruns, factor))
        share = tried[-1].share
        if share is not None and share.excludes(0.0) and share.value >= ACCOUNTS and not everything:
            break
    return tried, path


def attempt(reruns: Reruns, factor: Factor) -> Tried:
    """Run one counterfactual and measure how much of the gap it closes."""
    begin, paid_usd = time.monotonic(), reruns.spent_usd
    high, low = reruns.high, reruns.low
    values = {one.field: (one.a if high is reruns.case.a else one.b) for one in factor.fields}
    changed = reruns.fine_tune(low, f"{low.name}.{factor.cause}", values)
    before, top = reruns.several(low), reruns.several(high)
    share, gap_before, gap_after = closed(*reruns.judged(top, before, changed))
    return Tried(
        cause=factor.cause,
        fields=tuple(one.field for one in factor.fields),
        changed=factor.changed,
        side=low.name,
        runs=tuple(path.name.removesuffix(".jsonl") for path in changed),
        share=share,
        gap_before=gap_before,
        gap_after=gap_after,
        settled=share.high is not None and share.high < ACCOUNTS,
        minutes=round((time.monotonic() - begin) / 60, 2),
        cost_usd=reruns.spent_usd - paid_usd or None,
    )


def _known(path: Path, key: str) -> tuple[Tried, ...]:
    """What an earlier command tried under the same conditions."""
    earlier = counterfactual.read(path) if path.is_file() else None
    return earlier.tried if earlier is not None and earlier.key == key else ()
