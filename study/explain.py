"""`study explain A B`: make one factor of the recipe equal, run again, judge again, and see how much of the gap closes.

The side that scores lower is fine-tuned again with the other side's value of the factor, several seeds of it, and all
answers (higher side, lower side, counterfactual) are judged in the same prompts through one ledger. Share closed =
(mean of the counterfactual - mean of the lower side) / (mean of the higher side - mean of the lower side), with a
bootstrap interval over items and seeds. Where a side has one seed, it is run again unchanged with several, since the
spread over seeds is what a change has to be told from.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from judge import results
from judge.diagnose.counterfactuals import FORMAT, Tried
from judge.diagnose.fields import Differing
from judge.diagnose.gap import CONFIDENCE, DRAWS, Array, interval
from judge.diagnose.inputs import Arm, Case, read_case
from judge.diagnose.recipe import recipe_differences
from judge.diagnose.records import Estimate
from judge.diagnose.shares import ACCOUNTS
from judge.results import Judged
from pretrain import console
from pretrain.config import to_toml
from pretrain.errors import BudgetError, EquilossError, InputError
from pretrain.runs import provenance, read_json, sha256_of, write_json, write_text

Runner = Callable[[Sequence[str], float | None], int]
"""Runs a command of the project for at most so many seconds: its exit code, or 124 when it was cut off."""

CUT_OFF = 124


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


@dataclass
class Budget:
    """Minutes and dollars. `minutes` counts what is spent by this command; None: no limit."""

    minutes: float | None = None
    usd: float | None = None
    start: float = field(default_factory=time.monotonic)

    def left_s(self) -> float | None:
        """Seconds left; None without a limit.

        Raises: BudgetError when nothing is left.
        """
        if self.minutes is None:
            return None
        left = 60 * self.minutes - (time.monotonic() - self.start)
        if left <= 0:
            raise BudgetError(f"the {self.minutes:g} minutes are used up", "the same command with --minutes goes on")
        return left


def run_command(argv: Sequence[str], timeout_s: float | None) -> int:
    """Run a program of the project in a process of its own; its messages go to stderr."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", *argv]
    try:
        return subprocess.run(command, stdout=sys.stderr, timeout=timeout_s, env=environment, check=False).returncode
    except subprocess.TimeoutExpired:
        return CUT_OFF


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

    With `base_share` the text of the base models is tried instead (see `study.continued`), for that share of the steps.
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
        from study import continued

        tried = [done.get(continued.CAUSE) or continued.attempt(session, base_share)]
        _write(path, case, session.key, [*tried, *(one for cause, one in done.items() if cause != continued.CAUSE)])
        return tried, path
    for factor in factors(case, only):
        if factor.cause in done:
            tried.append(done[factor.cause])
        else:
            console.say(f"making equal: {factor.changed}")
            tried.append(session.attempt(factor))
        everything_known = [*tried, *(one for cause, one in done.items() if cause not in {t.cause for t in tried})]
        _write(path, case, session.key, everything_known)
        if _explains(tried[-1]) and not everything:
            break
    return tried, path


def _explains(one: Tried) -> bool:
    """Whether a factor explains the gap: at least half of it, the interval above 0."""
    return one.share is not None and one.share.value >= ACCOUNTS and (one.share.low or 0.0) > 0


@dataclass
class Session:
    """One explanation under way: the two sides, where its runs go, the budget, and who is asked to judge.

    `ask`: the judge as MODEL@URL, where it is no longer where the verdicts came from.
    """

    case: Case
    high: Arm
    low: Arm
    work: Path
    seeds: int
    budget: Budget
    runner: Runner
    ask: str | None = None
    spent_usd: float = 0.0

    @property
    def key(self) -> str:
        """What the tries depend on besides the factor: the two runs, the seeds, the judge."""
        prints = [
            sorted(str(r.get("fingerprint") or sha256_of(dict(r))) for r in arm.records) for arm in self.case.arms
        ]
        return sha256_of([prints, self.seeds, str(self.case.panel)])

    def attempt(self, factor: Factor) -> Tried:
        """Run one counterfactual and measure how much of the gap it closes."""
        begin = time.monotonic()
        values = {one.key: (one.a if self.high is self.case.a else one.b) for one in factor.fields}
        changed = self.fine_tune(self.low, f"{self.low.name}.{factor.cause}", values)
        before = self.several(self.low)
        top = self.several(self.high)
        share, gap_before, gap_after = self.closed(self.judged(top, before, changed))
        return Tried(
            cause=factor.cause,
            fields=tuple(one.key for one in factor.fields),
            changed=factor.changed,
            side=self.low.name,
            runs=tuple(path.name.removesuffix(".jsonl") for path in changed),
            share=share,
            gap_before=gap_before,
            gap_after=gap_after,
            settled=share.high is not None and share.high < ACCOUNTS,
            minutes=round((time.monotonic() - begin) / 60, 2),
            cost_usd=self.spent_usd or None,
        )

    def several(self, arm: Arm) -> list[Path]:
        """The arm's answers from several seeds: those at hand, or reruns of it unchanged."""
        if len(arm.runs) > 1:
            return [run.path for run in arm.runs if run.path]
        return self.fine_tune(arm, f"{arm.name}.unchanged", {})

    def fine_tune(
        self, arm: Arm, name: str, values: Mapping[str, Any], base: Path | None = None, threads: int | None = None
    ) -> list[Path]:
        """Answers of `seeds` fine-tunings of the arm's base (or another) with some fields changed.

        Finished ones are left alone. `threads`: so many each, where several run side by side.
        """
        record = dict(arm.record or {})
        source = str(values.get("data.source") or _get(record, "data", "source") or "")
        if any(key.startswith("data.") for key in values):
            other = self.high.record or {}
            source = str(_get(dict(other), "data", "source") or source)
        recipe = changed_recipe(record, values)
        path = self.work / f"{name}.toml"
        write_text(path, to_toml(recipe))
        base = base or base_path(arm)
        argv = ["ift", "run", "--base", str(base), "--data", source, "--name", name, "-o", str(self.work)]
        argv += ["--models", str(self.work / "models"), "--seeds", str(self.seeds), "--recipe", str(path)]
        argv += ["--set", f"threads={threads}"] if threads else []
        self.call(argv, f"fine-tuning {name}")
        return [self.work / f"{name}.s{seed}.jsonl" for seed in range(1, self.seeds + 1)]

    @staticmethod
    def closed(scores: tuple[Array, Array, Array]) -> tuple[Estimate, Estimate, Estimate]:
        """The share of the gap that closes, and the gap before and after."""
        return closed(*scores)

    def judged(self, high: Sequence[Path], low: Sequence[Path], changed: Sequence[Path]) -> tuple[Array, Array, Array]:
        """Judge all answers in the same prompts; the scores of each (seeds, I), items in the order of the case."""
        panel = self.case.panel
        assert panel is not None
        verdicts = self.work / "verdicts" / changed[0].name.removesuffix(".s1.jsonl")
        ledger = (self.high.runs[0].path or self.work).parent / "ledger.sqlite"
        argv = ["judge", "score", *map(str, [*high, *low, *changed]), "--rubric", panel.rubric, "-o", str(verdicts)]
        if panel.is_llm:
            argv += ["--judge", self.ask or panel.judge, "--ledger", str(ledger), "--group-size", "8"]
            if self.budget.usd is not None:
                argv += ["--max-usd", str(max(0.0, self.budget.usd - self.spent_usd))]
        self.call(argv, "judging")
        files = sorted(verdicts.glob("*.jsonl"))
        judged = results.load([one for one in files if results.kind_of(one) == "verdicts"])
        scores = results.scores(judged, results.choose_panel(judged, panel.rubric))
        row = {name: number for number, name in enumerate(scores.generators)}
        column = {one: number for number, one in enumerate(scores.ids)}
        missing = [one for one in self.case.ids if one not in column]
        if missing:
            raise EquilossError(f"{len(missing)} items were not judged again", "run the same command once more")
        values = scores.by_item()[:, [column[one] for one in self.case.ids]]
        arms = [values[[row[_generator(path)] for path in paths]] for paths in (high, low, changed)]
        self.spent_usd += sum(v.cost_usd or 0.0 for one in judged for v in one.verdicts)
        return arms[0], arms[1], arms[2]

    def call(self, argv: Sequence[str], what: str) -> None:
        code = self.runner(argv, self.budget.left_s())
        if code == CUT_OFF:
            raise BudgetError(f"the minutes ended while {what}", "the same command with more --minutes goes on")
        if code == BudgetError.exit_code:
            raise BudgetError(f"the dollars ended while {what}", "the same command with more --max-usd goes on")
        if code:
            raise EquilossError(
                f"{what} failed (`{' '.join(argv[:2])}` gave exit code {code})", "see its message above"
            )


def closed(high: Array, low: Array, changed: Array) -> tuple[Estimate, Estimate, Estimate]:
    """The share of the gap high - low that `changed` closes, and the gaps before and after; scores (seeds, I) each.

    Percentile bootstrap over items, the same for all three, and over each arm's seeds.
    """
    arms = (high, low, changed)
    rng = np.random.default_rng(20240615)
    items = int(high.shape[1])
    before: list[float] = []
    after: list[float] = []
    share: list[float] = []
    for _ in range(DRAWS):
        drawn = rng.integers(0, items, size=items, dtype=np.int64)
        means = [float(np.nanmean(one[rng.integers(0, len(one), len(one))][:, drawn])) for one in arms]
        before.append(means[0] - means[1])
        after.append(means[0] - means[2])
        if means[0] > means[1]:
            share.append((means[2] - means[1]) / (means[0] - means[1]))
    top, bottom, new = (float(np.nanmean(one)) for one in arms)
    method = f"bootstrap over items and seeds, {100 * CONFIDENCE:g} %"
    value = (new - bottom) / (top - bottom) if top != bottom else 0.0
    return (
        interval(value, np.array(share or [0.0]), "share", method),
        interval(top - bottom, np.array(before), "points", method),
        interval(top - new, np.array(after), "points", method),
    )


def interval_of_gain(control: Array, changed: Array) -> Estimate:
    """The mean of `changed` minus that of `control`, scores (seeds, I) each: bootstrap over items and seeds."""
    rng = np.random.default_rng(20240615)
    items = int(control.shape[1])
    draws: list[float] = []
    for _ in range(DRAWS):
        drawn = rng.integers(0, items, size=items, dtype=np.int64)
        means = [float(np.nanmean(one[rng.integers(0, len(one), len(one))][:, drawn])) for one in (control, changed)]
        draws.append(means[1] - means[0])
    method = f"bootstrap over items and seeds, {100 * CONFIDENCE:g} %"
    return interval(float(np.nanmean(changed) - np.nanmean(control)), np.array(draws), "points", method)


def changed_recipe(record: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A run's recipe with some fields (`recipe.lr`, ...) set to other values; the template goes with its name."""
    recipe = _copy(cast("dict[str, Any]", record.get("recipe") or {}))
    for key, value in values.items():
        parts = key.split(".")
        if parts[0] == "template" and parts[-1] == "name":
            parts = ["recipe", "template"]
        if parts[0] != "recipe":
            continue
        table = recipe
        for part in parts[1:-1]:
            table = cast("dict[str, Any]", table.setdefault(part, {}))
        table[parts[-1]] = value
    return recipe


def base_path(arm: Arm) -> Path:
    """Where the arm's base checkpoint lies.

    Raises: InputError when the record does not say, or it is not there.
    """
    named = arm.base.path
    folder = next((run.path.parent for run in arm.runs if run.path), Path("."))
    for place in [Path(named), folder / named, folder.parent / named] if named else []:
        if place.is_file():
            return place
    raise InputError(f"{arm.name}: its base checkpoint {named or ''} is not there", "run where `ift run` was run")


def _copy(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _copy(cast("dict[str, Any]", value)) if isinstance(value, dict) else value for key, value in table.items()
    }


def _get(record: Mapping[str, Any], *keys: str) -> Any:
    value: Any = record
    for key in keys:
        value = cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None
    return value


def _generator(path: Path) -> str:
    judged: list[Judged] = results.load([path])
    return judged[0].generator


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
