"""`judge exchange`: files out to other tools' formats, and theirs in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equiloss import console
from equiloss.errors import InputError
from judge.data.verdicts import load_judged
from judge.exchange import exporters, importing


def write_as(files: Sequence[Path], kind: str, output: Path) -> None:
    """Write result files as a kind.

    Raises: InputError for an unknown kind, or files that it cannot hold.
    """
    _check(kind, exporters.TO, "--to")
    console.say(f"{output}: {exporters.export(load_judged(files), kind, output):,} rows")


def read_into(
    files: Sequence[Path], kind: str, directory: Path, generator: str, judge: str, scores: Sequence[Path]
) -> None:
    """Read files of a kind, and write results and verdicts into a directory; prints the results files.

    Raises: InputError for an unknown kind, files that are not of it, or a file that would be replaced.
    """
    _check(kind, importing.FROM, "--from")
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: is not a directory", "--from writes several files: name a directory with -o")
    found = importing.read(kind, files, generator, judge, scores)
    for path in found.write(directory):
        console.out().print(str(path), markup=False, soft_wrap=True)


def _check(kind: str, known: Sequence[str], option: str) -> None:
    if kind not in known:
        raise InputError(f"{option} {kind!r} is not known", f"known: {', '.join(known)}")
