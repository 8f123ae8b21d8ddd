"""What foreign files hold, collected: answers and verdicts by generator, written as results and verdict files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from equiloss.files import sha256_of
from equiloss.records.response import Response, item_id, write_responses
from equiloss.records.verdict import Verdict, file_name, write_verdicts


class Found:
    """What foreign files hold: answers and verdicts by generator."""

    def __init__(self) -> None:
        self.responses: dict[str, list[Response]] = {}
        self.verdicts: dict[str, list[Verdict]] = {}
        self._ids: dict[tuple[str, object], str] = {}
        self._asked: Counter[tuple[str, str]] = Counter()

    def answer(self, generator: str, key: object, **fields: Any) -> str:
        """Take an answer in, once for each `key` of the source; returns its item's id."""
        if known := self._ids.get((generator, key)):
            return known
        id = str(fields.pop("id", "") or item_id(fields["instruction"], fields.get("input", "")))
        self._asked[generator, id] += 1
        if (count := self._asked[generator, id]) > 1:
            id = f"{id}-{count}"
        one = Response.model_validate({"id": id, "generator": generator, **fields})
        self.responses.setdefault(generator, []).append(one)
        self._ids[generator, key] = id
        return id

    def score(self, generator: str, id: str, value: float, *, rubric: str, judge: str, **fields: Any) -> None:
        """Take a score in; `fields` are a verdict's others."""
        row = {
            "rubric_sha": sha256_of([rubric, judge]),
            "request_sha": sha256_of([rubric, judge, id, fields.get("repeat", 0)]),
            "judge_resolved": judge,
            "group": [generator],
            **fields,
        }
        one = Verdict.model_validate(
            {"id": id, "generator": generator, "value": value, "rubric": rubric, "judge": judge, **row}
        )
        self.verdicts.setdefault(generator, []).append(one)

    def write(self, directory: Path) -> list[Path]:
        """Write a results file for each generator, and a verdict file for each way in which it was judged."""
        paths: list[Path] = []
        for generator, answers in self.responses.items():
            paths.append(directory / f"{file_name(generator, 'x', 'x').removesuffix('.x.x.jsonl')}.jsonl")
            write_responses(paths[-1], answers)
        for generator, verdicts in self.verdicts.items():
            for rubric, judge in dict.fromkeys((one.rubric, one.judge) for one in verdicts):
                paths.append(directory / file_name(generator, rubric, judge))
                write_verdicts(paths[-1], (one for one in verdicts if (one.rubric, one.judge) == (rubric, judge)))
        return paths
