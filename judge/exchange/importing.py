"""Answers and scores of other tools, read into results and verdict files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from equiloss.errors import InputError
from equiloss.files import read_json, read_text
from equiloss.records.response import read_rows, stem_of
from judge.exchange.collected import Found
from judge.exchange.importers import READERS

FROM = tuple(READERS)


def read(kind: str, files: Sequence[Path], generator: str = "", judge: str = "", scores: Sequence[Path] = ()) -> Found:
    """Read files of a kind in `FROM`. `generator` and `judge` are names where the files give none.

    `scores`: a JSON list of numbers for each model in the files, in their order, as the book's programs keep them.
    Raises: InputError for a file that is not of that kind, with the place.
    """
    found = Found()
    for path in files:
        rows = _table_rows(path, kind) if kind in ("csv", "parquet") else read_rows(path)
        for number, row in enumerate(rows, start=1):
            try:
                READERS[kind](found, row, generator or stem_of(path), judge or kind, (str(path), number))
            except (KeyError, TypeError, ValueError, IndexError, AttributeError, StopIteration) as error:
                what = f"has no {error}" if isinstance(error, KeyError) else f"does not fit: {_first_line(error)}"
                raise InputError(f"{path}: item {number} {what}", f"is it of the kind {kind!r}?") from None
    if not (found.responses or found.verdicts):
        raise InputError(f"{', '.join(map(str, files))}: holds nothing of the kind {kind!r}", "check --from")
    names = list(found.responses)
    if scores and len(scores) != len(names):
        raise InputError(
            f"{len(scores)} files of scores for {len(names)} models ({', '.join(names)})", "one for each, in that order"
        )
    for name, path in zip(names, scores, strict=False):
        _take_scores(found, name, path, judge or "unnamed")
    return found


def _take_scores(found: Found, generator: str, path: Path, judge: str) -> None:
    values: Any = read_json(path)
    answers = found.responses[generator]
    if not isinstance(values, list) or not all(isinstance(one, int | float) for one in cast("list[Any]", values)):
        raise InputError(f"{path}: is not a list of numbers", "give the scores in the order of the items")
    numbers = cast("list[float]", values)
    if len(numbers) != len(answers):
        raise InputError(
            f"{path}: {len(numbers)} scores for {len(answers)} answers of {generator}",
            "scores that were dropped cannot be told from the others; judge the answers again",
        )
    for one, value in zip(answers, numbers, strict=True):
        found.score(generator, one.id, float(value), rubric="given", judge=judge, criterion="score")


def _table_rows(path: Path, kind: str) -> list[Mapping[str, Any]]:
    if kind == "csv":
        return list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    from pyarrow import ArrowInvalid, parquet  # pyright: ignore

    try:
        return cast("list[Mapping[str, Any]]", parquet.read_table(path).to_pylist())  # pyright: ignore
    except (ArrowInvalid, OSError):
        raise InputError(f"{path}: is not a Parquet file", "check the file, and --from") from None


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:160]
