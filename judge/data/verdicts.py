"""Result files: what each holds, what lies beside it, and all of them joined, one `Judged` per set of answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from pydantic import ValidationError

from equiloss.errors import InputError
from equiloss.files import read_json, read_jsonl, read_text
from equiloss.records.response import Response, read_responses
from equiloss.records.verdict import CanaryVerdict, Failure, read_verdicts
from judge.data.scores import Judged

Line = TypeVar("Line", Failure, CanaryVerdict)
Kind = Literal["responses", "verdicts", "failures", "canaries"]


def load(files: Iterable[Path]) -> list[Judged]:
    """Read result files and what lies beside them, one `Judged` per generator in the order named.

    A response file NAME.jsonl brings its run record NAME.run.json and all its verdict files NAME.*.jsonl; where
    verdict files of a generator are named, only those are used, and its response file is looked for beside them.
    Raises: InputError for a missing or broken file, or two response files of one generator.
    """
    responses: dict[str, tuple[Path, list[Response]]] = {}
    named: dict[str, list[Path]] = {}
    order: list[str] = []
    for path in dict.fromkeys(files):
        if path.name.endswith(".run.json"):
            raise InputError(f"{path}: is a run's record, not its answers", "name the .jsonl file beside it")
        if kind_of(path) == "responses":
            found = read_responses(path)
            generator = found[0].generator
            if generator in responses and responses[generator][0].resolve() != path.resolve():
                raise InputError(
                    f"{responses[generator][0]} and {path} both hold answers of {generator!r}",
                    "give one of them another generator name",
                )
            responses[generator] = (path, found)
        elif path.name.endswith(".canaries.jsonl"):
            continue  # they come with their verdicts
        else:
            generator = _generator_of(path)
            named.setdefault(generator, []).append(path)
        if generator not in order:
            order.append(generator)
    return [_join(generator, responses.get(generator), named.get(generator, [])) for generator in order]


def kind_of(path: Path) -> Kind:
    """What a results file holds, from its first line.

    Raises: InputError when it is missing or empty.
    """
    first = _first_line(path)
    schema = str(first.get("schema", ""))
    if schema.startswith("equiloss.verdict."):
        return "verdicts"
    if schema.startswith("equiloss.canary."):
        return "canaries"
    return "failures" if schema.startswith("equiloss.failure.") else "responses"


def read_failures(path: Path) -> list[Failure]:
    """Read a failures file.

    Raises: InputError when it is missing, empty or broken, with the line.
    """
    return _read(path, Failure)


def _join(generator: str, answers: tuple[Path, list[Response]] | None, named: Sequence[Path]) -> Judged:
    path, responses = answers or _find_responses(generator, named)
    verdict_files = [one for one in named if kind_of(one) == "verdicts"]
    failure_files = [one for one in named if kind_of(one) == "failures"]
    if path is not None and not verdict_files:
        beside = _beside(path, generator)
        verdict_files = [one for one in beside if kind_of(one) == "verdicts"]
        failure_files += [one for one in beside if kind_of(one) == "failures" and one not in failure_files]
    failure_files += [
        failures
        for one in verdict_files
        if (failures := one.with_name(one.name.removesuffix(".jsonl") + ".failures.jsonl")) not in failure_files
        and _holds_lines(failures)
    ]
    canary_files = [
        canaries
        for one in verdict_files
        if _holds_lines(canaries := one.with_name(one.name.removesuffix(".jsonl") + ".canaries.jsonl"))
    ]
    verdicts = [verdict for one in verdict_files for verdict in read_verdicts(one)]
    canaries = [canary for one in canary_files for canary in _read_canaries(one)]
    failures = [failure for one in failure_files for failure in read_failures(one)]
    for one in (*verdicts, *failures):
        if one.generator != generator:
            raise InputError(
                f"a verdict file of {generator!r} holds verdicts on {one.generator!r}", "judge the answers again"
            )
    run_path = path.with_name(_stem(path) + ".run.json") if path else None
    run = _read_run(run_path) if run_path and run_path.exists() else None
    files = [path] if path else []
    files += [run_path] if run_path and run is not None else []
    return Judged(
        generator=generator,
        responses={one.id: one for one in responses},
        verdicts=tuple(verdicts),
        failures=tuple(failures),
        canaries=tuple(canaries),
        run=run,
        path=path,
        files=(*files, *verdict_files, *failure_files, *canary_files),
    )


def _read_canaries(path: Path) -> list[CanaryVerdict]:
    return _read(path, CanaryVerdict)


def _read(path: Path, kind: type[Line]) -> list[Line]:
    found: list[Line] = []
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            found.append(kind.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InputError(f"{path}: line {number}: {place}: {first['msg']}", "judge the answers again") from None
    return found


def _read_run(path: Path) -> dict[str, Any]:
    document = read_json(path)
    if not isinstance(document, dict):
        raise InputError(f"{path}: is not a run's record", "rewrite it with `ift run`")
    return cast("dict[str, Any]", document)


def _beside(path: Path, generator: str) -> list[Path]:
    """The verdict and failures files of a response file, in its directory, sorted by name."""
    starts = {_sanitised(_stem(path)) + ".", _sanitised(generator) + "."}
    candidates = sorted(
        one
        for one in path.parent.glob("*.jsonl")
        if one != path and any(one.name.startswith(start) for start in starts) and _holds_lines(one)
    )
    return [one for one in candidates if kind_of(one) in ("verdicts", "failures") and _generator_of(one) == generator]


def _find_responses(generator: str, verdict_files: Sequence[Path]) -> tuple[Path | None, list[Response]]:
    """The response file that the verdict files lie beside, if it is there: the one with the longest fitting name."""
    for verdicts in verdict_files:
        beside = [one for ending in ("*.jsonl", "*.json") for one in verdicts.parent.glob(ending)]
        fitting = [
            one
            for one in beside
            if one != verdicts
            and not one.name.endswith(".run.json")
            and (verdicts.name.startswith(_sanitised(_stem(one)) + ".") or _stem(one) == generator)
            and _holds_lines(one)
            and kind_of(one) == "responses"
        ]
        for one in sorted(fitting, key=lambda path: -len(path.name)):
            responses = read_responses(one)
            if responses[0].generator == generator:
                return one, responses
    return None, []


def _first_line(path: Path) -> dict[str, Any]:
    """The first object of a JSON Lines file; an empty one for a JSON array, whose entries are always responses."""
    try:
        with path.open(encoding="utf-8-sig") as f:
            line = next((line for line in f if line.strip()), "")
    except (OSError, UnicodeDecodeError):
        line = ""
    if not line:
        read_text(path)  # raises, saying why
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return cast("dict[str, Any]", row) if isinstance(row, dict) else {}


def _generator_of(path: Path) -> str:
    generator = _first_line(path).get("generator")
    if not isinstance(generator, str):
        raise InputError(f"{path}: line 1 names no generator", "judge the answers again")
    return generator


def _holds_lines(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _sanitised(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-")


def _stem(path: Path) -> str:
    return path.name.removesuffix(".jsonl").removesuffix(".json")
