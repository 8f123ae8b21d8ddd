"""`study explain A B`: make one factor of the recipe equal, run again, judge again, and see how much of the gap closes.

The side that scores lower is fine-tuned again with the other side's value of the factor, several seeds of it
(`session` says how the share that closes is measured); with `--base` its base model reads on in the other side's
text instead (`continued_pretraining`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from equiloss import console
from equiloss.errors import InputError
from equiloss.files import read_json, write_json
from equiloss.provenance import provenance
from equiloss.records.counterfactual import FORMAT, Tried
from judge.diagnose.case import Case, read_case
from judge.diagnose.differences import Differing
from judge.diagnose.levels.recipe import recipe_differences
from judge.diagnose.naming import ACCOUNTS, explains
from study.counterfactual import continued_pretraining
from study.counterfactual.session import Budget, Runner, Session, closed, run_command


@dataclass(frozen=True)
class Factor:
    """Fields that are made equal together: one cause of `judge diagnose`."""

    cause: str
    fields: tuple[Differing, ...]
    weight: float

    @property
    def changed(self) -> str:
        """The fields and their two values."""
        return "; ".join(one.says for one in self.fields)


def factors(case: Case, only: Sequence[str] = ()) -> list[Factor]:
    """What could be made equal, most suspected first.

    Raises: InputError when a side has no run record, nothing differs, or `only` names something that does not differ.
    """
    a, b = case.a.record, case.b.record
    if a is None or b is None:
        without = case.a.name if a is None else case.b.name
        raise InputError(f"{without}: there is no run record beside its answers", "fine-tune with `ift run`")
    grouped: dict[str, list[Differing]] = {}
    for one in recipe_differences(a, b):
        grouped.setdefault(one.field.cause, []).append(one)
    if not grouped:
        raise InputError(
            f"the recipes of {case.a.name} and {case.b.name} do not differ: there is nothing to make equal",
            "compare the base models with `pretrain probe` and `judge diagnose`",
        )
    unknown = [name for name in only if name not in grouped]
    if unknown:
        raise InputError(f"{unknown[0]!r} does not differ between the two", f"what differs: {', '.join(grouped)}")
    found = [Factor(name, tuple(members), members[0].field.weight) for name, members in grouped.items()]
    return sorted((one for one in found if not only or one.cause in only), key=lambda one: -one.weight)


def explain(
    a: str,
    b: str,
    *,
    results_dir: Path = Path("results"),
    verdicts_dir: Path | None = None,
    seeds: int = 3,
    budget: Budget | None = None,
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
    folder = next((run.path.parent for run in high.runs if run.path), results_dir)
    path = folder / f"{case.a.name}.vs.{case.b.name}.explain.json"
    work = folder / f"{case.a.name}.vs.{case.b.name}.explain"
    budget = budget or Budget()
    session = Session(case, high, low, work, seeds, budget, runner, ask)
    done = {one.cause: one for one in _read(path, session.key)}
    tried: list[Tried] = []
    if base_share is not None:
        tried = [done.get(continued_pretraining.CAUSE) or continued_pretraining.attempt(session, base_share)]
        _write(
            path,
            case,
            session.key,
            [*tried, *(one for cause, one in done.items() if cause != continued_pretraining.CAUSE)],
        )
        return tried, path
    for factor in factors(case, only):
        if factor.cause in done:
            tried.append(done[factor.cause])
        else:
            console.say(f"making equal: {factor.changed}")
            tried.append(attempt(session, factor))
        everything_known = [*tried, *(one for cause, one in done.items() if cause not in {t.cause for t in tried})]
        _write(path, case, session.key, everything_known)
        if explains(tried[-1].share) and not everything:
            break
    return tried, path


def attempt(session: Session, factor: Factor) -> Tried:
    """Run one counterfactual and measure how much of the gap it closes."""
    begin, paid_usd = time.monotonic(), session.spent_usd
    low = session.low
    values = {one.key: (one.a if session.high is session.case.a else one.b) for one in factor.fields}
    changed = session.fine_tune(low, f"{low.name}.{factor.cause}", values)
    before = session.several(low)
    top = session.several(session.high)
    share, gap_before, gap_after = closed(*session.judged(top, before, changed))
    return Tried(
        cause=factor.cause,
        fields=tuple(one.key for one in factor.fields),
        changed=factor.changed,
        side=low.name,
        runs=tuple(path.name.removesuffix(".jsonl") for path in changed),
        share=share,
        gap_before=gap_before,
        gap_after=gap_after,
        settled=share.high is not None and share.high < ACCOUNTS,
        minutes=round((time.monotonic() - begin) / 60, 2),
        cost_usd=session.spent_usd - paid_usd or None,
    )


def _read(path: Path, key: str) -> list[Tried]:
    """What an earlier command tried under the same conditions."""
    if not path.is_file():
        return []
    document = cast("dict[str, Any]", read_json(path))
    if document.get("format") != FORMAT or document.get("key") != key:
        return []
    return [Tried.model_validate(one) for one in cast("list[Any]", document.get("tried") or [])]


def _write(path: Path, case: Case, key: str, tried: Sequence[Tried]) -> None:
    document = {
        "format": FORMAT,
        "a": case.a.name,
        "b": case.b.name,
        "key": key,
        "tried": [one.model_dump(mode="json") for one in tried],
        "provenance": provenance(),
    }
    write_json(path, document)
