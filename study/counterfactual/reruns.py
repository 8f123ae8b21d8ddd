"""Counterfactual runs: fine-tune with something changed, judge with what it is held against, measure what closes.

All answers (both sides run again unchanged, and what is changed in each) are judged in the same prompts through one
ledger. What a change makes is a contrast of the groups' means, uncertain over items and seeds (`contrast`).
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from equiloss.config import to_toml
from equiloss.errors import BudgetError, EquilossError, InputError
from equiloss.files import locked, sha256_of, write_text
from equiloss.records.ift_run import RunRecord, Settings, plain_run
from equiloss.redaction import scrub
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.crossed import Stratum, complete, over_units_and_items
from equiloss.statistics.estimate import Estimate
from judge.data.scores import Scores, choose_panel
from judge.data.verdicts import kind_of, load_judged
from judge.diagnose.case import Arm, Case
from judge.diagnose.case_reader import places_of
from judge.diagnose.naming import share_of
from judge.endpoints.judges import parse_judge

Runner = Callable[[Sequence[str], float | None], int]
"""Runs a command of the project for at most so many seconds: its exit code, or 124 when it was cut off."""

CUT_OFF = 124


@dataclass
class RerunBudget:
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


@dataclass
class Reruns:
    """The runs of one explanation: the two sides, where their verdicts go, the budget, and who is asked to judge.

    `ask`: the judge as MODEL@URL, where it is no longer where the verdicts came from; `runs`: where the runs of the
    sides' own bases go, which several explanations may share: what is equal to one that lies there is not made again.
    """

    case: Case
    high: Arm
    low: Arm
    work: Path
    seeds: int
    budget: RerunBudget
    runner: Runner
    ask: str | None = None
    runs: Path | None = None
    spent_usd: float = 0.0
    names: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def key(self) -> str:
        """What the tries depend on besides the factor: the two runs, the seeds, the judge."""
        runs = [sorted(one.fingerprint or sha256_of(plain_run(one)) for one in arm.records) for arm in self.case.arms]
        return sha256_of([runs, self.seeds, self.before_first_seed, str(self.case.panel), "both directions"])

    @property
    def before_first_seed(self) -> int:
        """Reruns have the seeds after this: none of a side's runs, whose answers they would only give once more."""
        given = (one.seed for arm in self.case.arms for one in arm.records)
        return 1000 * (1 + max((seed for seed in given if seed is not None), default=0) // 1000)

    @property
    def asked_judge(self) -> str:
        """Whom to ask to judge again. A host that only a data file names gets no request, and no key.

        Raises: InputError where the verdicts name an endpoint that is not the environment's and `ask` names none.
        """
        assert self.case.panel is not None
        judge = self.ask or self.case.panel.judge
        _, at, url = judge.partition("@")
        own = scrub(os.environ.get("OPENAI_BASE_URL", "")).rstrip("/")
        if at and not self.ask and url.rstrip("/") != own:
            raise InputError(
                f"the verdicts say that {judge} gave them: a key goes only where you send it",
                f"if you trust that host, add --ask {shlex.quote(judge)}",
            )
        return judge

    def other(self, arm: Arm) -> Arm:
        """The side that an arm is held against."""
        return self.low if arm is self.high else self.high

    def named(self, arm: Arm, values: Mapping[str, JsonValue], name: str) -> str:
        """What the runs of an arm with some fields changed are called: `name`, or as equal runs are called already."""
        of_data = any(field.startswith("data.") for field in values)
        source = (self.other(arm) if of_data else arm).record
        recipe = changed_recipe(arm.record.recipe if arm.record else {}, values)
        made = sha256_of([arm.base.sha256 or arm.name, recipe, source.data.sha256 if source else None])
        if self.runs and values:  # another explanation may change the same fields of this arm to other values
            name = f"{name}-{made[:8]}"
        return self.names.setdefault(made, name)

    def fine_tune(
        self,
        arm: Arm,
        name: str,
        values: Mapping[str, JsonValue],
        base: Path | None = None,
        threads: int | None = None,
        seeds: int | None = None,
    ) -> list[Path]:
        """Answers of `seeds` fine-tunings of the arm's base (or another) with some fields changed.

        Finished ones are left alone. `threads`: so many each, where several run side by side.
        """
        seeds = seeds or self.seeds
        record, other = arm.record or RunRecord(format=""), self.other(arm).record
        source = record.data.source or ""
        if other is not None and any(field.startswith("data.") for field in values):
            source = other.data.source or source
        folder = self.runs if self.runs and base is None else self.work
        path = folder / f"{name}.toml"
        argv = ["ift", "run", "--base", str(base or base_path(arm)), "--data", source, "--name", name]
        argv += ["--skip-bad"] if record.data.skip_bad else []
        argv += ["-o", str(folder), "--models", str(folder / "models")]
        argv += ["--seed", str(self.before_first_seed), "--seeds", str(seeds), "--recipe", str(path), "--drop-model"]
        argv += ["--set", f"threads={threads}"] if threads else []
        with locked(folder / f"{name}.lock", "study explain", wait=True):
            write_text(path, to_toml(changed_recipe(record.recipe, values)))
            self.call(argv, f"fine-tuning {name}")
        return [folder / f"{name}.s{seed}.jsonl" for seed in range(1, seeds + 1)]

    def judged(self, groups: Sequence[Sequence[Path]], name: str) -> list[Floats]:
        """Judge all answers in the same prompts; the scores of each group (seeds, I), items in the order of the case.

        `name`: of the folder of the verdicts.
        """
        panel = self.case.panel
        assert panel is not None
        verdicts = self.work / "verdicts" / name
        ledger = (self.high.folder or self.work) / "ledger.sqlite"
        paths = dict.fromkeys(path for group in groups for path in group)
        asked = self.asked_judge if panel.is_llm else panel.judge
        argv = ["judge", "score", *map(str, paths), "--rubric", panel.rubric, "-o", str(verdicts)]
        if panel.is_llm:
            argv += ["--judge", asked, "--ledger", str(ledger), "--group-size", "8"]
            if self.budget.usd is not None:
                argv += ["--max-usd", str(max(0.0, self.budget.usd - self.spent_usd))]
        self.call(argv, "judging")
        judged = load_judged(file for file in sorted(verdicts.glob("*.jsonl")) if kind_of(file) == "verdicts")
        scores = Scores.of(judged, choose_panel(judged, panel.rubric, parse_judge(asked, to_ask=False).name))
        missing = set(self.case.ids) - set(scores.ids)
        if missing:
            raise EquilossError(f"{len(missing)} items were not judged again", "run the same command once more")
        values = scores.by_item()[:, [scores.ids.index(id) for id in self.case.ids]]
        self.spent_usd += sum(verdict.cost_usd or 0.0 for one in judged for verdict in one.verdicts)
        return [
            values[[scores.generators.index(load_judged([path])[0].generator) for path in group]] for group in groups
        ]

    def call(self, argv: Sequence[str], what: str) -> None:
        """Run a command. Raises: BudgetError when the budget ends first, EquilossError when the command fails."""
        code = self.runner(argv, self.budget.left_s())
        if code == CUT_OFF:
            raise BudgetError(f"the minutes ended while {what}", "the same command with more --minutes goes on")
        if code == BudgetError.exit_code:
            raise BudgetError(f"the dollars ended while {what}", "the same command with more --max-usd goes on")
        if code:
            raise EquilossError(
                f"{what} failed (`{' '.join(argv[:2])}` gave exit code {code})", "see its message above"
            )


def closed(high: Floats, low: Floats, changed: Floats) -> tuple[Estimate, Estimate, Estimate]:
    """The share of the gap high - low that `changed` closes, and the gaps before and after; scores (seeds, I) each.

    The share is what the change gains over the gap as it is; its interval is that of the gain.
    """
    before, gained = gain(low, high), gain(low, changed)
    share = share_of(gained, before.value) or Estimate(value=0.0, unit="share", note="there is no gap")
    return share, before, gain(changed, high)


def gain(control: Floats, changed: Floats) -> Estimate:
    """The mean of `changed` minus that of `control`; scores (seeds, I)."""
    return contrast((1.0, changed), (-1.0, control))


def contrast(*groups: tuple[float, Floats]) -> Estimate:
    """The weighted sum of groups' mean scores (seeds, I), uncertain over items and seeds (see `crossed`)."""
    cells = [complete(values[~np.isnan(values).all(axis=1)]) for _, values in groups]
    kept = ~np.any([np.isnan(values).any(axis=0) for values in cells], axis=0)
    strata = [Stratum(values[:, kept], weight) for (weight, _), values in zip(groups, cells, strict=True)]
    found = over_units_and_items(strata)
    if found is None:
        value = sum(one.weight * float(one.values.mean()) for one in strata)
        return Estimate(value=value, unit="points", note="fewer than two items, or one seed in each group")
    return found.estimate("points", "made equal and run again")


def times(points: Estimate, sign: float) -> Estimate:
    """An estimate seen from the other side, where the sign is -1."""
    if sign > 0:
        return points
    low, high = (None if end is None else -end for end in (points.high, points.low))
    return points.model_copy(update={"value": -points.value, "low": low, "high": high})


def changed_recipe(recipe: Settings, values: Mapping[str, JsonValue]) -> Settings:
    """A recipe with some fields (`recipe.lr`, ...) set to other values; the template goes with its name."""
    changed = deepcopy(recipe)
    for key, value in values.items():
        key = "recipe.template" if key == "template.name" else key
        key = f"recipe.{key}" if key.startswith("decoding.") else key
        section, *tables, name = key.split(".")
        if section != "recipe":
            continue
        table = changed
        for part in tables:
            inner = table.setdefault(part, {})
            assert isinstance(inner, dict), f"{part} is a table of the recipe"
            table = inner
        table[name] = value
    return changed


def base_path(arm: Arm) -> Path:
    """Where the arm's base checkpoint lies.

    Raises: InputError when the record does not say, or it is not there.
    """
    for place in places_of(arm.base.record, arm.folder or Path(".")):
        if place.is_file():
            return place
    raise InputError(
        f"{arm.name}: its base checkpoint {arm.base.path or ''} is not there", "run where `ift run` was run"
    )
