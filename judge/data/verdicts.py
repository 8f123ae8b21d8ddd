"""Judged answers: each run's responses with the verdicts, failures and control answers in the files beside them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from equiloss.errors import InputError
from equiloss.files import json_lines, read_text
from equiloss.records.ift_run import IftRespond, IftRun, read_run
from equiloss.records.response import Response, stem_of
from equiloss.records.verdict import (
    ControlVerdict,
    Failure,
    Verdict,
    read_control_verdicts,
    read_failures,
    read_verdicts,
    safe_name,
)
from judge.data.answers import AnswerFile

OFFLINE_JUDGE = "offline-reference"
_SEED = re.compile(r"^(?P<model>.+)\.s(?P<seed>\d+)$")

FileKind = Literal["responses", "verdicts", "failures", "canaries", "labels"]
_SCHEMAS: dict[str, FileKind] = {
    "equiloss.verdict": "verdicts",
    "equiloss.failure": "failures",
    "equiloss.canary": "canaries",
    "equiloss.label": "labels",
}


NOT_AN_LLM = "the offline reference judge measures agreement with the reference answer; it is not an LLM"
"""What is said wherever its scores are told."""


@dataclass(frozen=True, order=True)
class Panel:
    """A way of judging whose scores may be compared: one rubric, one judge (as asked)."""

    rubric: str
    judge: str

    @property
    def is_llm(self) -> bool:
        """False for the offline reference judge, which measures agreement with the reference answer."""
        return not self.judge.startswith(OFFLINE_JUDGE)

    def has(self, line: Verdict | Failure) -> bool:
        """Whether a verdict or failure came of judging in this way."""
        return line.rubric == self.rubric and line.judge == self.judge

    def __str__(self) -> str:
        return f"{self.rubric} by {self.judge}"


@dataclass(frozen=True)
class Judged:
    """One run's answers and everything beside them. `responses` is by item id, in the order of the file."""

    generator: str
    responses: Mapping[str, Response]
    verdicts: tuple[Verdict, ...] = ()
    failures: tuple[Failure, ...] = ()
    control_answers: tuple[ControlVerdict, ...] = ()
    run: IftRun | IftRespond | None = None
    path: Path | None = None
    files: tuple[Path, ...] = ()

    @property
    def model(self) -> str:
        """The generator without its seed: the runs NAME.s1, NAME.s2, ... are seeds of one model."""
        match = _SEED.match(self.generator)
        return match["model"] if match else self.generator

    @property
    def base(self) -> str | None:
        """The hash of the base model that these answers' model was fine-tuned from, where the record tells it."""
        return self.run.base.sha256 if self.run else None

    @property
    def seed(self) -> int | None:
        """The number N of a run NAME.sN, else None."""
        match = _SEED.match(self.generator)
        return int(match["seed"]) if match else None

    def panels(self) -> list[Panel]:
        """The ways in which these answers were judged, sorted."""
        judged = {(line.rubric, line.judge) for line in self.failures}
        return sorted({*self._by_panel, *(Panel(rubric, judge) for rubric, judge in judged)})

    def verdicts_of(self, panel: Panel) -> Sequence[Verdict]:
        """The panel's verdicts, in the order of the files."""
        return self._by_panel.get(panel, ())

    @cached_property
    def _by_panel(self) -> dict[Panel, list[Verdict]]:
        lines: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
        for line in self.verdicts:
            lines[line.rubric, line.judge].append(line)
        return {Panel(rubric, judge): given for (rubric, judge), given in lines.items()}

    def failures_of(self, panel: Panel) -> list[Failure]:
        """The requests of the panel that gave no verdict."""
        return [failure for failure in self.failures if panel.has(failure)]

    def control_answers_of(self, panel: Panel) -> list[ControlVerdict]:
        """The panel's verdicts on control answers that stood beside this run's answers."""
        return [verdict for verdict in self.control_answers if panel.has(verdict)]


def load_judged(paths: Iterable[Path]) -> list[Judged]:
    """Read result files and what lies beside them, one `Judged` per generator in the order named.

    A response file NAME.jsonl brings its run record NAME.run.json and all its verdict files NAME.*.jsonl; where
    verdict files of a generator are named, only those are used, and its response file is looked for beside them.
    Raises: InputError for a missing or broken file, or two response files of one generator.
    """
    answers: dict[str, AnswerFile] = {}
    named: dict[str, list[Path]] = {}  # verdict and failures files by generator, in the order named
    for path in dict.fromkeys(paths):
        if path.name.endswith(".run.json"):
            raise InputError(f"{path}: is a run's record, not its answers", "name the .jsonl file beside it")
        kind, generator = _look_into(path)
        if kind == "responses":
            file = AnswerFile(path, keep=True)
            other = answers.setdefault(file.generator, file)
            if other.path.resolve() != path.resolve():
                raise InputError(
                    f"{other.path} and {path} both hold answers of {file.generator!r}",
                    "give one of them another generator name",
                )
            named.setdefault(file.generator, [])
        elif kind not in ("canaries", "labels"):  # those come with their verdicts, and by --labels
            named.setdefault(generator, []).append(path)
    return [_join(generator, answers.get(generator), files) for generator, files in named.items()]


def kind_of(path: Path) -> FileKind:
    """What a results file holds, from its first line.

    Raises: InputError when it is missing or empty.
    """
    return _look_into(path)[0]


def companion(verdict_file: Path, ending: str) -> Path:
    """The file that lies beside a verdict file under its name with another ending, such as ".failures.jsonl"."""
    return verdict_file.with_name(verdict_file.name.removesuffix(".jsonl") + ending)


def _look_into(path: Path) -> tuple[FileKind, str]:
    """What a results file holds, and the generator that its first line names, if it is a verdict file's."""
    try:
        _, row = next(json_lines(path))
    except InputError:
        read_text(path)  # raises where there is nothing to read, saying why
        return "responses", ""  # one document over many lines
    named: dict[str, object] = row if isinstance(row, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    kind = _SCHEMAS.get(str(named.get("schema", "")).rpartition(".")[0], "responses")  # of any version
    if kind != "responses" and not isinstance(named.get("generator"), str):
        raise InputError(f"{path}: line 1 names no generator", "judge the answers again")
    return kind, str(named.get("generator", ""))


def _join(generator: str, answers: AnswerFile | None, named: Sequence[Path]) -> Judged:
    answers = answers or _find_answers(generator, named)
    if answers is not None and not any(kind_of(file) == "verdicts" for file in named):
        named = [*named, *_beside(answers, generator)]
    verdict_files = [file for file in dict.fromkeys(named) if kind_of(file) == "verdicts"]
    failure_files = [file for file in named if kind_of(file) == "failures"]
    failure_files += [companion(file, ".failures.jsonl") for file in verdict_files]
    failure_files = [file for file in dict.fromkeys(failure_files) if _holds_lines(file)]
    control_files = [companion(file, ".canaries.jsonl") for file in verdict_files]
    control_files = [file for file in control_files if _holds_lines(file)]
    verdicts = [verdict for file in verdict_files for verdict in read_verdicts(file)]
    failures = [failure for file in failure_files for failure in read_failures(file)]
    if other := next((line.generator for line in (*verdicts, *failures) if line.generator != generator), None):
        raise InputError(f"a verdict file of {generator!r} holds verdicts on {other!r}", "judge the answers again")
    # An answer may stand in several prompts of a repeat: beside other answers each time, or in another order.
    seen: set[int] = set()
    for line in verdicts:
        key = hash((line.id, line.criterion, line.repeat, line.rubric, line.judge, tuple(line.group)))
        if key in seen:
            raise InputError(
                f"{generator}: two verdicts on item {line.id} ({line.criterion}, repeat {line.repeat}) by {line.judge}",
                "delete one of them, or judge the answers again",
            )
        seen.add(key)
    path, responses, run_files = None, {}, list[Path]()
    if answers is not None:
        path, responses = answers.path, dict(answers)
        run_files = [file for file in (path.with_name(answers.stem + ".run.json"),) if file.exists()]
    return Judged(
        generator=generator,
        responses=responses,
        verdicts=tuple(verdicts),
        failures=tuple(failures),
        control_answers=tuple(verdict for file in control_files for verdict in read_control_verdicts(file)),
        run=next(map(read_run, run_files), None),
        path=path,
        files=(*([path] if path else ()), *run_files, *verdict_files, *failure_files, *control_files),
    )


def _beside(answers: AnswerFile, generator: str) -> list[Path]:
    """The verdict and failures files of a response file, in its directory, sorted by name."""
    starts = (safe_name(answers.stem) + ".", safe_name(generator) + ".")
    files = [file for file in answers.path.parent.glob("*.jsonl") if file.name.startswith(starts)]
    ours = (("verdicts", generator), ("failures", generator))
    return sorted(file for file in files if file != answers.path and _holds_lines(file) and _look_into(file) in ours)


def _find_answers(generator: str, verdict_files: Sequence[Path]) -> AnswerFile | None:
    """The response file that the verdict files lie beside, if it is there: the one with the longest fitting name."""
    for verdicts in verdict_files:
        fitting = [
            file
            for file in (*verdicts.parent.glob("*.jsonl"), *verdicts.parent.glob("*.json"))
            if file != verdicts
            and not file.name.endswith(".run.json")
            and (verdicts.name.startswith(safe_name(stem_of(file)) + ".") or stem_of(file) == generator)
            and _holds_lines(file)
            and kind_of(file) == "responses"
        ]
        for file in sorted(fitting, key=lambda file: -len(file.name)):
            answers = AnswerFile(file, keep=True)
            if answers.generator == generator:
                return answers
    return None


def _holds_lines(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
