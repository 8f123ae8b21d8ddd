"""Writes verdicts, failures and control answers from the ledger: the same bytes however often a run was broken off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from equiloss.files import atomic, json_line, sha256_of, write_jsonl
from equiloss.records.verdict import ControlVerdict, Failure, Usage, Verdict, file_name
from judge.data import reference
from judge.data.control_answers import INJECTIONS
from judge.data.verdicts import companion
from judge.endpoints import offline
from judge.endpoints.client import Judge
from judge.rubrics import LABELS
from judge.scoring.ledger import Ledger, Outcome
from judge.scoring.plan import Ask, Plan

_INJECTION_NAMES = {text: name for name, text in INJECTIONS.items()}


@dataclass
class Tally:
    """What was written for one model: number and sum of values by criterion, failures, and the files."""

    generator: str
    path: Path
    failures_path: Path
    control_path: Path
    n: dict[str, int] = field(default_factory=dict[str, int])
    total: dict[str, float] = field(default_factory=dict[str, float])
    failures: list[Failure] = field(default_factory=list[Failure])
    control_answers: list[ControlVerdict] = field(default_factory=list[ControlVerdict])

    @property
    def means(self) -> dict[str, float]:
        """The mean score by criterion."""
        return {criterion: self.total[criterion] / count for criterion, count in self.n.items()}

    def add(self, verdict: Verdict) -> None:
        """Count a verdict."""
        self.n[verdict.criterion] = self.n.get(verdict.criterion, 0) + 1
        self.total[verdict.criterion] = self.total.get(verdict.criterion, 0.0) + verdict.value


@dataclass
class Written:
    """What was written, by model, and how many requests had no outcome yet."""

    tallies: list[Tally]
    missing: int = 0


@dataclass(frozen=True)
class Writer:
    """Where verdicts of a plan by a judge go."""

    plan: Plan
    judge: Judge
    directory: Path | None
    name: str

    def tallies(self) -> list[Tally]:
        """An empty tally for each file, with the names of its result files."""
        found: list[Tally] = []
        for file in self.plan.answers.files:
            where = self.directory or file.path.parent
            path = where / file_name(file.stem, self.plan.rubric.name, self.name)
            failures = where / file_name(file.stem, self.plan.rubric.name, self.name, failures=True)
            found.append(Tally(file.generator, path, failures, companion(path, ".canaries.jsonl")))
        return found

    def write(self, rows: Iterable[tuple[int, Verdict | Failure]]) -> Written:
        """Write each file whole; failures and control answers only where there are any."""
        tallies = self.tallies()
        with ExitStack() as stack:
            files: list[IO[Any]] = [stack.enter_context(atomic(tally.path)) for tally in tallies]
            for index, row in rows:
                if isinstance(row, ControlVerdict):
                    tallies[index].control_answers.append(row)
                elif isinstance(row, Failure):
                    tallies[index].failures.append(row)
                else:
                    tallies[index].add(row)
                    files[index].write(json_line(row.model_dump(by_alias=True)))
        for tally in tallies:
            for path, found in ((tally.failures_path, tally.failures), (tally.control_path, tally.control_answers)):
                if found:
                    write_jsonl(path, (one.model_dump(by_alias=True) for one in found))
                else:
                    path.unlink(missing_ok=True)
        return Written(tallies)


def write_results(
    asked: Iterable[tuple[str, Ask]],
    plan: Plan,
    judge: Judge,
    ledger: Ledger,
    lost: dict[str, str],
    directory: Path | None,
    name: str | None = None,
    expected: bool = False,
) -> Written:
    """Write the verdict files of a plan from the ledger. `lost` requests become failures of reason "error"."""
    missing = 0

    def rows() -> Iterator[tuple[int, Verdict | Failure]]:
        nonlocal missing
        for sha, ask in asked:
            outcome = ledger.outcome(sha)
            if outcome is not None and outcome.verdict is not None:
                yield from _verdicts(plan, judge, ask, outcome, expected)
            elif outcome is not None or sha in lost:
                yield from _failures(plan, judge, ask, sha, outcome, lost.get(sha, ""))
            else:
                missing += 1

    written = Writer(plan, judge, directory, name or judge.model).write(rows())
    written.missing = missing
    return written


def write_offline(plan: Plan, judge: Judge, directory: Path | None) -> Written:
    """Write the offline reference judge's verdicts: nothing is asked, every answer is judged alone."""
    rubric = plan.rubric
    scale = rubric.front.scale

    def rows() -> Iterator[tuple[int, Verdict | Failure]]:
        for id in plan.ids:
            item, answers = plan.answers.read(id)
            for index, (file, output) in enumerate(zip(plan.answers.files, answers, strict=True)):
                for repeat in range(plan.options.repeats):
                    common: dict[str, Any] = {
                        "id": id,
                        "generator": file.generator,
                        "repeat": repeat,
                        "group": [file.generator],
                        "rubric": rubric.name,
                        "rubric_sha": rubric.sha,
                        "judge": judge.name,
                        "judge_resolved": offline.NAME,
                        "request_sha": sha256_of([offline.NAME, output, item.reference, rubric.sha, repeat]),
                    }
                    if not item.reference.strip():
                        yield index, Failure(reason="error", detail="the item has no reference answer", **common)
                        continue
                    share = reference.agreement(output, item.reference)
                    steps = round(share * (scale.max - scale.min) / scale.step)
                    yield (
                        index,
                        Verdict.model_validate(
                            {
                                **common,
                                "criterion": rubric.criteria[0],
                                "scale": rubric.span,
                                "value": scale.min + steps * scale.step,
                                "explanation": offline.explain(output, item.reference),
                                "cost_usd": 0.0,
                                "judge_is_llm": False,
                            }
                        ),
                    )

    return Writer(plan, judge, directory, judge.model).write(rows())


def _verdicts(
    plan: Plan, judge: Judge, ask: Ask, outcome: Outcome, expected: bool
) -> Iterator[tuple[int, Verdict | Failure]]:
    assert outcome.verdict is not None
    generators = [file.generator for file in plan.answers.files]
    criteria = plan.rubric.front.criteria
    lines = len(criteria) * sum(max(1, len(slot.files)) for slot in ask.slots)
    line = 0
    by_host = {who: LABELS[place] for place, slot in enumerate(ask.slots) for who in slot.files}
    for position, slot in enumerate(ask.slots):
        reading = outcome.verdict[LABELS[position]]
        for who in slot.files or (slot.host,):
            for criterion in criteria:
                row = {
                    **_common(plan, judge, ask, position, who, generators, outcome.request_sha),
                    "judge_resolved": outcome.resolved,
                    "criterion": criterion.name,
                    "scale": plan.rubric.span,
                    "value": _value(reading, criterion.name, expected),
                    "explanation": reading["explanation"],
                    "usage": Usage(
                        prompt_tokens=_share(outcome.prompt_tokens, line, lines),
                        completion_tokens=_share(outcome.completion_tokens, line, lines),
                    ),
                    "cost_usd": None if outcome.cost_usd is None else outcome.cost_usd / lines,
                }
                if len(criteria) > 1:
                    row["weight"] = criterion.weight
                if len(slot.files) > 1:
                    row["shared_with"] = [generators[other] for other in slot.files if other != who]
                line += 1
                assert who is not None
                if slot.control is None:
                    yield who, Verdict.model_validate(row)
                else:
                    host = outcome.verdict.get(by_host.get(who, ""))
                    value = _value(host, criterion.name, expected) if host else None
                    yield (
                        who,
                        ControlVerdict.model_validate(
                            {
                                **row,
                                "canary": slot.control,
                                "host_value": value,
                                "injection": _INJECTION_NAMES.get(slot.text),
                            }
                        ),
                    )


def _failures(
    plan: Plan, judge: Judge, ask: Ask, sha: str, outcome: Outcome | None, lost: str
) -> Iterator[tuple[int, Verdict | Failure]]:
    generators = [file.generator for file in plan.answers.files]
    failure = (outcome.failure if outcome else None) or {"reason": "error", "detail": lost}
    for position, slot in enumerate(ask.slots):
        for who in slot.files:
            common = _common(plan, judge, ask, position, who, generators, sha)
            resolved = outcome.resolved if outcome else ""
            text = outcome.text if outcome else ""
            yield who, Failure.model_validate({**common, **failure, "judge_resolved": resolved, "text": text})


def _common(
    plan: Plan, judge: Judge, ask: Ask, position: int, who: int | None, generators: Sequence[str], sha: str
) -> dict[str, Any]:
    # In the group, a shared place bears the name of the model that the line is about.
    group = [f"canary:{slot.control}" if slot.control else generators[slot.files[0]] for slot in ask.slots]
    assert who is not None
    if not ask.slots[position].control:
        group[position] = generators[who]
    return {
        "id": ask.item.id,
        "generator": generators[who],
        "repeat": ask.repeat,
        "position": position,
        "group": group,
        "rubric": plan.rubric.name,
        "rubric_sha": plan.rubric.sha,
        "judge": judge.name,
        "request_sha": sha,
    }


def _value(reading: dict[str, Any], criterion: str, expected: bool) -> float:
    if expected and criterion in reading.get("expected", {}):
        return reading["expected"][criterion]
    return reading["scores"][criterion]


def _share(total: int, index: int, count: int) -> int:
    """Whole shares that add up to the total."""
    return total * (index + 1) // count - total * index // count
