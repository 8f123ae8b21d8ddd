"""Writes verdicts, failures and control answers from the ledger: the same bytes however often a run was broken off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from equiloss.errors import InputError
from equiloss.files import atomic, json_line
from equiloss.records.file_record import first_error
from equiloss.records.verdict import ControlVerdict, Failure, Usage, Verdict, verdict_row, write_verdicts
from judge.data.control_answers import INJECTIONS
from judge.data.verdicts import companion
from judge.endpoints.provider import Provider
from judge.scoring.ledger import HINT, Ledger, LedgerEntry
from judge.scoring.parse import Reading
from judge.scoring.plan import Plan, PlannedRequest

_INJECTION_NAMES = {text: name for name, text in INJECTIONS.items()}


@dataclass
class WrittenVerdicts:
    """What was written for one model: number and sum of values by criterion, failures, and the file of verdicts."""

    generator: str
    path: Path
    n: dict[str, int] = field(default_factory=dict[str, int])
    total: dict[str, float] = field(default_factory=dict[str, float])
    failures: list[Failure] = field(default_factory=list[Failure])
    control_answers: list[ControlVerdict] = field(default_factory=list[ControlVerdict])

    @property
    def mean(self) -> dict[str, float]:
        """Its mean score on each criterion."""
        return {criterion: self.total[criterion] / count for criterion, count in self.n.items()}

    @property
    def failures_path(self) -> Path:
        """Where its failures are, if there are any."""
        return companion(self.path, ".failures.jsonl")

    def add(self, line: Verdict | Failure) -> bool:
        """Count a line; returns whether it belongs into the file of verdicts."""
        if isinstance(line, Failure):
            self.failures.append(line)
        elif isinstance(line, ControlVerdict):
            self.control_answers.append(line)
        else:
            self.n[line.criterion] = self.n.get(line.criterion, 0) + 1
            self.total[line.criterion] = self.total.get(line.criterion, 0.0) + line.value
            return True
        return False


@dataclass(frozen=True)
class VerdictWriter:
    """Writes the verdict files of a plan, a path for each of its files, from the ledger.

    `lost` requests become failures of reason "error".
    """

    plan: Plan
    provider: Provider
    ledger: Ledger
    lost: Mapping[str, str]
    paths: Sequence[Path]

    def write(self, requests: Iterable[tuple[str, PlannedRequest]]) -> list[WrittenVerdicts]:
        """Write each file whole; failures and control answers only where there are any."""
        written = [WrittenVerdicts(*of) for of in zip(self.plan.generators, self.paths, strict=True)]
        with ExitStack() as stack:
            files: list[IO[Any]] = [stack.enter_context(atomic(model.path)) for model in written]
            for sha, request in requests:
                for file, line in self._lines(sha, request):
                    if written[file].add(line):
                        files[file].write(json_line(verdict_row(line)))
        for model in written:
            control_path = companion(model.path, ".canaries.jsonl")
            for path, lines in ((model.failures_path, model.failures), (control_path, model.control_answers)):
                if lines:
                    write_verdicts(path, lines)
                else:
                    path.unlink(missing_ok=True)
        return written

    def _lines(self, sha: str, request: PlannedRequest) -> Iterator[tuple[int, Verdict | Failure]]:
        """The lines that a request gave, each with the index of the file it is about; none while it is not settled."""
        entry = self.ledger.entry(sha)
        if entry.verdict is not None:
            place = f"{self.ledger.path}: request {sha[:8]}"
            names = {criterion.name for criterion in self.plan.rubric.front.criteria}
            given = [entry.verdict[label].scores.keys() if label in entry.verdict else () for label in request.labels]
            if not all(names <= set(scores) for scores in given):
                raise InputError(f"{place}: not a ledger, or damaged: a verdict without some of its scores", HINT)
            try:
                yield from self._verdicts(sha, request, entry, entry.verdict)
            except ValidationError as error:
                raise InputError(f"{place}: {first_error(error)}", HINT) from None
        elif failure := entry.failure or ({"reason": "error", "detail": self.lost[sha]} if sha in self.lost else None):
            for position, slot in enumerate(request.slots):
                for file in slot.files:
                    row = {**self._common(sha, request, position, file), **failure}
                    yield file, Failure.model_validate({**row, "judge_resolved": entry.resolved, "text": entry.text})

    def _verdicts(
        self, sha: str, request: PlannedRequest, entry: LedgerEntry, readings: Mapping[str, Reading]
    ) -> Iterator[tuple[int, Verdict]]:
        generators, rubric = self.plan.generators, self.plan.rubric
        criteria = rubric.front.criteria
        n_lines = len(criteria) * sum(max(1, len(slot.files)) for slot in request.slots)
        by_file = {
            file: readings[label]
            for label, slot in zip(request.labels, request.slots, strict=True)
            for file in slot.files
        }
        line = 0
        for position, (label, slot) in enumerate(zip(request.labels, request.slots, strict=True)):
            for file in slot.files if slot.host is None else (slot.host,):
                for criterion in criteria:
                    row = {
                        **self._common(sha, request, position, file),
                        "judge_resolved": entry.resolved,
                        "criterion": criterion.name,
                        "scale": rubric.span,
                        "value": self._value(readings[label], criterion.name),
                        "explanation": readings[label].explanation,
                        "usage": Usage(
                            prompt_tokens=_share(entry.prompt_tokens, line, n_lines),
                            completion_tokens=_share(entry.completion_tokens, line, n_lines),
                        ),
                        "cost_usd": None if entry.cost_usd is None else entry.cost_usd / n_lines,
                    }
                    if len(criteria) > 1:
                        row["weight"] = criterion.weight
                    if not self.provider.is_llm:
                        row["judge_is_llm"] = False
                    elif len(slot.files) > 1:  # one answer of a judge that would answer differently another time
                        row["shared_with"] = [generators[other] for other in slot.files if other != file]
                    line += 1
                    if slot.control is None:
                        yield file, Verdict.model_validate(row)
                    else:
                        host = self._value(by_file[file], criterion.name) if file in by_file else None
                        row |= {"canary": slot.control, "host_value": host}
                        yield file, ControlVerdict.model_validate({**row, "injection": _INJECTION_NAMES.get(slot.text)})

    def _common(self, sha: str, request: PlannedRequest, position: int, file: int) -> dict[str, Any]:
        """What verdicts and failures have in common, of the answer in this place, for one of the files that gave it."""
        generators, rubric = self.plan.generators, self.plan.rubric
        group = [f"canary:{slot.control}" if slot.control else generators[slot.files[0]] for slot in request.slots]
        if not request.slots[position].control:
            group[position] = generators[file]  # a shared place bears the name of the model that the line is about
        return {
            "id": request.item.id,
            "generator": generators[file],
            "repeat": request.repeat,
            "position": position,
            "group": group,
            "rubric": rubric.name,
            "rubric_sha": rubric.sha,
            "judge": self.provider.name,
            "request_sha": sha,
        }

    def _value(self, reading: Reading, criterion: str) -> float:
        if self.plan.options.expected_score and criterion in reading.expected:
            return reading.expected[criterion]
        return reading.scores[criterion]


def _share(total: int, index: int, count: int) -> int:
    """Whole shares that add up to the total."""
    return total * (index + 1) // count - total * index // count
