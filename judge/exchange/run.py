"""`judge exchange`: files out to other tools' formats, and theirs in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from judge.exchange import inward, out
from judge.result_files import load
from pretrain import console
from pretrain.errors import InputError


def write_as(files: Sequence[Path], kind: str, output: Path) -> None:
    """Write result files as a kind.

    Raises: InputError for an unknown kind, or files that it cannot hold.
    """
    _check(kind, out.TO, "--to")
    console.say(f"{output}: {out.export(load(files), kind, output):,} rows")


def read_into(
    files: Sequence[Path], kind: str, directory: Path, generator: str, judge: str, scores: Sequence[Path]
) -> None:
    """Read files of a kind, and write results and verdicts into a directory; prints the results files.

    Raises: InputError for an unknown kind, files that are not of it, or a file that would be replaced.
    """
    _check(kind, inward.FROM, "--from")
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: is not a directory", "--from writes several files: name a directory with -o")
    found = inward.read(kind, files, generator, judge, scores)
    for path in found.write(directory):
        console.out().print(str(path), markup=False, soft_wrap=True)


def _check(kind: str, known: Sequence[str], option: str) -> None:
    if kind not in known:
        raise InputError(f"{option} {kind!r} is not known", f"known: {', '.join(known)}")
