"""Files written whole, hashes, and the record of what made a file."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel

from equiloss.errors import InputError


@contextmanager
def atomic(path: Path, mode: str = "w") -> Generator[IO[Any]]:
    """Open a file that appears under its name only when it is complete: temporary name, fsync, rename.

    After an error nothing is left behind and an older file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(
            handle, mode, encoding=None if "b" in mode else "utf-8", newline=None if "b" in mode else "\n"
        ) as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        sync_directory(path.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


@cache
def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_directory(directory: Path) -> None:
    """Make a rename inside `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with atomic(path) as f:
        f.write(text)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file whole, indented, with a final newline."""
    write_text(path, json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False, default=plain) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write a JSON Lines file whole."""
    with atomic(path) as f:
        f.writelines(json_line(row) for row in rows)


def append_jsonl(path: Path, row: Any) -> None:
    """Append one JSON line in one write, so that a reader never sees half of it after a crash but the last."""
    with path.open("ab", buffering=0) as f:
        f.write(json_line(row).encode())


def plain(value: Any) -> Any:
    """A record as the data that a file holds: the `default` of every `json.dumps` here, so that records can be nested.

    Raises: TypeError for anything else that is not JSON.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON")


def json_line(row: Any) -> str:
    """One compact JSON line. NaN is refused: it is not JSON."""
    return json.dumps(row, ensure_ascii=False, separators=(", ", ": "), allow_nan=False, default=plain) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises: InputError when it is missing, empty or broken, with the line.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON: {error.msg} on line {error.lineno}", "mend or rewrite the file") from None


def read_jsonl(path: Path) -> list[Any]:
    """Read a JSON Lines file.

    Raises: InputError with the number of the first broken line.
    """
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [parse_json(line, f"{path}: line {number}") for number, line in lines if line.strip()]


def parse_json(line: str | bytes, where: str) -> Any:
    """A line of a JSON Lines file; `where` is named in errors.

    Raises: InputError when it is not UTF-8 or not JSON.
    """
    try:
        return json.loads(line if isinstance(line, str) else line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 text (byte {error.start})", "convert the file to UTF-8") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{where} is not JSON: {error.msg}", "mend or delete that line") from None


def read_text(path: Path) -> str:
    """Read a non-empty UTF-8 file.

    Raises: InputError when it is missing, a directory, not UTF-8, or empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", "check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory", "name a file in it") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})", "convert it to UTF-8") from None
    if not text.strip():
        raise InputError(f"{path}: the file is empty", "was the program that writes it interrupted?")
    return text


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def sha256_of(document: Any) -> str:
    """SHA-256 of a document's canonical JSON, as hex: equal documents, equal hashes, whatever the order of keys."""
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
