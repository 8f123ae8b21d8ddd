"""`judge exchange`: files out to other tools' formats, and theirs in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from equiloss import console
from equiloss.errors import InputError
from equiloss.files import claim, read_json
from equiloss.records.file_record import first_error
from equiloss.records.response import stem_of
from judge.data.verdicts import load_judged
from judge.exchange.collected import Collected, Source
from judge.exchange.registry import exporters, importers
from judge.exchange.table import write_csv


def convert(
    files: Sequence[Path],
    to: str | None,
    origin: str | None,
    output: Path,
    generator: str = "",
    judge: str = "",
    scores: Sequence[Path] = (),
    allow_unscored: bool = False,
    mark_formulas: bool = False,
) -> None:
    """Write result files as a kind `to` other tools, or read files of the kind `origin` into a directory.

    Raises: InputError for an unknown kind or not one of both, files that it cannot hold or that are not of it, or a
    file that would be replaced.
    """
    if to is not None and origin is None:
        write = _of_kind(exporters(), to, "--to")
        if mark_formulas:
            if to != "csv":
                raise InputError("--mark-formulas is for --to csv", "leave it out")
            write = partial(write_csv, mark_formulas=True)
        claim(output, ours=False, hint="name another file, or add --overwrite")
        console.say(f"{output}: {write(load_judged(files), output):,} rows")
    elif origin is not None and to is None:
        if output.exists() and not output.is_dir():
            raise InputError(f"{output}: is not a directory", "--from writes several files: name a directory with -o")
        for path in read_as(origin, files, generator, judge, scores, allow_unscored).write(output):
            console.out().print(str(path), markup=False, soft_wrap=True)
    else:
        raise InputError("neither or both of --to and --from are given", "give --to KIND or --from KIND")


def read_as(
    kind: str,
    files: Sequence[Path],
    generator: str = "",
    judge: str = "",
    scores: Sequence[Path] = (),
    allow_unscored: bool = False,
) -> Collected:
    """Read files of a kind. `generator` and `judge` are names where the files give none.

    `scores`: a JSON list of numbers for each model in the files, in their order, as the book's programs keep them.
    Raises: InputError for an unknown kind, or a file that is not of it, with the place.
    """
    read, take = _of_kind(importers(), kind, "--from")
    collected = Collected()
    for path in files:
        rows = list(read(path))
        names = generator or stem_of(path), judge or (stem_of(path).removesuffix(".csv") if kind == "pairs" else kind)
        fields = frozenset(field for row in rows for field in row)
        for number, row in enumerate(rows, start=1):
            try:
                take(collected, row, Source(path, number, *names, fields, allow_unscored))
            except (
                LookupError,
                TypeError,
                ValueError,
                ArithmeticError,
                AttributeError,
                StopIteration,
                RecursionError,
            ) as error:
                raise InputError(f"{path}: item {number}: {_why(error)}", f"is it of the kind {kind!r}?") from None
    if not (collected.responses or collected.verdicts):
        raise InputError(f"{', '.join(map(str, files))}: holds nothing of the kind {kind!r}", "check --from")
    names = list(collected.responses)
    if scores and len(scores) != len(names):
        raise InputError(
            f"{len(scores)} files of scores for {len(names)} models ({', '.join(names)})", "one for each, in that order"
        )
    for name, path in zip(names, scores, strict=False):
        _take_scores(collected, name, path, judge or "unnamed")
    return collected


def _take_scores(collected: Collected, generator: str, path: Path, judge: str) -> None:
    answers = collected.responses[generator]
    try:
        values = TypeAdapter(list[float]).validate_python(read_json(path), strict=True)
    except ValidationError:
        raise InputError(f"{path}: is not a list of numbers", "give the scores in the order of the items") from None
    if len(values) != len(answers):
        raise InputError(
            f"{path}: {len(values)} scores for {len(answers)} answers of {generator}",
            "scores that were dropped cannot be told from the others; judge the answers again",
        )
    for answer, value in zip(answers, values, strict=True):
        collected.score(generator, answer.id, value, "given", judge)


T = TypeVar("T")


def _of_kind(known: Mapping[str, T], kind: str, option: str) -> T:
    if kind not in known:
        raise InputError(f"{option} {kind!r} is not known", f"known: {', '.join(known)}")
    return known[kind]


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return first_error(error)
    return f"has no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0][:160]
