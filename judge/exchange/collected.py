"""What foreign files hold, collected: answers and verdicts by generator, written as results and verdict files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from equiloss.errors import InputError
from equiloss.files import claim, sha256_of, write_jsonl
from equiloss.records.response import Response, item_id, write_responses
from equiloss.records.verdict import Failure, Verdict, file_name, safe_name, write_verdicts
from judge.labelling.label import Label


@dataclass(frozen=True)
class Source:
    """Where a row stands, and the names to use where it gives none."""

    path: Path
    number: int
    generator: str
    judge: str
    fields: frozenset[str] = frozenset()
    """The fields that some row of the file has."""
    allow_unscored: bool = False
    """Whether an item without a score, in a file of scores, is a failure; else it is refused."""


@dataclass
class Collected:
    """Answers and verdicts by generator; people's ratings, and texts that files keep apart from what is about them.

    texts: of an answer by generator and item, of an item itself under no generator.
    """

    responses: dict[str, list[Response]] = field(default_factory=dict[str, list[Response]])
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict[str, list[Verdict]])
    failures: dict[str, list[Failure]] = field(default_factory=dict[str, list[Failure]])
    labels: list[Label] = field(default_factory=list[Label])
    texts: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    _ids: dict[tuple[str, object], str] = field(default_factory=dict[tuple[str, object], str])
    _asked: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    _judged: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])

    def answer(self, generator: str, key: object, instruction: str, output: str, **fields: object) -> str:
        """Take an answer in, once for each `key` of the source; returns its item's id. `fields`: a response's others.

        Raises: ValidationError (a ValueError) for a field that does not fit.
        """
        if known := self._ids.get((generator, key)):
            return known
        id = str(fields.pop("id", None) or item_id(instruction, str(fields.get("input") or "")))
        self._asked[generator, id] += 1
        if (count := self._asked[generator, id]) > 1:
            id = f"{id}-{count}"
        row = {"id": id, "generator": generator, "instruction": instruction, "output": output, **fields}
        self.responses.setdefault(generator, []).append(Response.model_validate(row))
        self._ids[generator, key] = id
        return id

    def known(self, generator: str, key: object) -> Response | None:
        """The answer that was taken in for a `key`."""
        id = self._ids.get((generator, key))
        return None if id is None else next(answer for answer in self.responses[generator] if answer.id == id)

    def judged_before(self, generator: str, id: str) -> int:
        """How often this was asked of an answer: the number of its next judging, from 0."""
        self._judged[generator, id] += 1
        return self._judged[generator, id] - 1

    def fail(self, generator: str, id: str, rubric: str, judge: str, detail: str, **fields: object) -> None:
        """Take in that an answer got no score; `fields`: a failure's others."""
        row = {"id": id, "generator": generator, "reason": "unparsable", "detail": detail, "rubric": rubric}
        row |= {"rubric_sha": sha256_of([rubric, judge]), "judge": judge} | fields
        row["request_sha"] = sha256_of([rubric, judge, id, fields.get("repeat", 0)])
        self.failures.setdefault(generator, []).append(Failure.model_validate(row))

    def score(self, generator: str, id: str, value: float, rubric: str, judge: str, **fields: object) -> None:
        """Take a score in; `fields`: a verdict's others. Raises: ValidationError for a field that does not fit."""
        row = {
            "id": id,
            "generator": generator,
            "criterion": "score",
            "value": value,
            "rubric": rubric,
            "rubric_sha": sha256_of([rubric, judge]),
            "judge": judge,
            "judge_resolved": judge,
            "request_sha": sha256_of([rubric, judge, id, fields.get("repeat", 0)]),
            "group": [generator],
            **fields,
        }
        self.verdicts.setdefault(generator, []).append(Verdict.model_validate(row))

    def write(self, directory: Path) -> list[Path]:
        """Write a results file for each generator, and a verdict file for each way in which it was judged."""
        files: list[tuple[Path, Callable[[Path], object]]] = []
        for generator, answers in self.responses.items():
            files.append((directory / f"{safe_name(generator)}.jsonl", partial(write_responses, responses=answers)))
        for failed, kind in ((False, self.verdicts), (True, self.failures)):
            for generator, lines in kind.items():
                for rubric, judge in dict.fromkeys((line.rubric, line.judge) for line in lines):
                    own = [line for line in lines if (line.rubric, line.judge) == (rubric, judge)]
                    path = directory / file_name(generator, rubric, judge, failed)
                    files.append((path, partial(write_verdicts, verdicts=own)))
        if self.labels:
            rows = [label.model_dump(by_alias=True) for label in self.labels]
            files.append((directory / "labels.jsonl", partial(write_jsonl, rows=rows)))
        paths = [path for path, _ in files]
        if twin := next((path for path, count in Counter(paths).items() if count > 1), None):
            raise InputError(f"two models or judges would both write {twin.name}", "name them apart with --generator")
        for path in paths:
            claim(path, ours=False)
        for path, write in files:
            write(path)
        return paths
