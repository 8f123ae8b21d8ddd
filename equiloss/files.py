"""Files: written whole and by their owner alone, read within bounds, with errors that name the place; and hashes."""

from __future__ import annotations

import codecs
import errno
import fcntl
import gzip
import hashlib
import io
import json
import os
import re
import socket
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from glob import escape
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import from_json
from typing_extensions import override

from equiloss.errors import EquilossError, IncompleteError, InputError
from equiloss.redaction import scrub

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_BYTES = 2 << 30
"""The most that is read into memory at once: a document, or a line."""
MAX_DEPTH = 100
"""How deep lists and objects may stand in each other."""
MAX_NAME_BYTES = 200
TEMPORARY = ".equiloss.tmp"
"""How the names of files end that are being written."""
LARGEST = 1e100
"""The largest number of a file: no quantity is larger, and the squares of larger ones would be infinite."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXT = re.compile(rf"os error ({'|'.join(map(str, FULL))})\b|No space left|quota exceeded", re.IGNORECASE)
GZIP, ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
LINE_HINT = "mend or delete that line"


class _ScrubbedText(io.TextIOWrapper):
    """A text file that no secret and no lone surrogate reaches."""

    @override
    def write(self, text: str, /) -> int:
        return super().write(scrub(text))


@contextmanager
def atomic(path: Path, mode: str = "w") -> Generator[IO[Any]]:
    """Open a file that appears under its name only when it is complete: temporary name, fsync, rename.

    After an error nothing is left behind and an older file is untouched; what a killed writer of this file has left is
    removed. Text is scrubbed of secrets.
    Raises: IncompleteError when the disk is full.
    """
    with room_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = _temporary_beside(path)
        try:
            with os.fdopen(handle, "wb") as raw:  # locked until it is closed: a living writer's
                f = raw if "b" in mode else _ScrubbedText(raw, encoding="utf-8", errors="replace", newline="\n")
                yield f
                f.flush()
                os.fsync(raw.fileno())
                temporary.chmod(0o666 & ~_umask())
                temporary.replace(path)
            sync_directory(path.parent)
        except BaseException:
            with suppress(FileNotFoundError):
                temporary.unlink()
            raise


def _temporary_beside(path: Path) -> tuple[int, Path]:
    """A new file, open and locked, that hides beside `path`; those of dead writers of `path` are removed."""
    start = f".{os.fsdecode(os.fsencode(path.name)[:MAX_NAME_BYTES])}."
    for left in path.parent.glob(f"{escape(start)}????????{TEMPORARY}"):
        with suppress(OSError), left.open("rb") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=start, suffix=TEMPORARY)
        with suppress(OSError):  # where a file system has no locks, nothing is removed either
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.exists(name):
            return handle, Path(name)
        os.close(handle)  # another writer took it for a dead one's before it was locked


@contextmanager
def room_for(path: Path, then: str = "make room and run the same command again") -> Generator[None]:
    """Turn a full disk or a spent quota into one line, whatever the library that wrote makes of it.

    torch and safetensors hide the system's error behind their own: it is looked for in the chain of causes, and on the
    disk. Raises: IncompleteError.
    """
    try:
        yield
    except EquilossError:
        raise
    except Exception as error:
        if disk_is_full(error, path):
            raise IncompleteError(f"no space left for {path}", then) from None
        raise


def disk_is_full(error: BaseException, path: Path) -> bool:
    """Whether an error comes of a full disk or a spent quota at `path`."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.errno is not None:
            return link.errno in FULL
        if _FULL_TEXT.search(str(link)):
            return True
        link = link.__cause__ or link.__context__
    if not isinstance(error, RuntimeError):
        return False
    with suppress(OSError):
        place = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
        return os.statvfs(place).f_bavail * os.statvfs(place).f_frsize < 1 << 16
    return False


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


def write_json(path: Path, document: Any, indent: int | None = 2) -> None:
    """Write a JSON file whole, indented, with a final newline; without `indent` several times as fast."""
    write_text(path, json_text(document, indent) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write a JSON Lines file whole."""
    with atomic(path) as f:
        f.writelines(json_line(row) for row in rows)


def append_jsonl(path: Path, row: Any) -> None:
    """Append one JSON line in one write, so that a reader never sees half of it after a crash but the last.

    A last line without its newline is ended first. Raises: IncompleteError when the disk is full.
    """
    with room_for(path), path.open("ab+", buffering=0) as f:
        end = f.seek(0, os.SEEK_END)
        glued = end > 0 and os.pread(f.fileno(), 1, end - 1) != b"\n"
        f.write(b"\n" * glued + scrub(json_line(row)).encode("utf-8", "replace"))


def plain(value: Any) -> Any:
    """A record as the data that a file holds, so that records can be nested.

    Raises: TypeError for anything else that is not JSON.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON")


def json_text(document: Any, indent: int | None = None) -> str:
    """A document of plain data and records as JSON.

    Raises: InputError for a number that JSON cannot hold: what was read holds numbers too large to reckon with.
    """
    try:
        return json.dumps(document, ensure_ascii=False, indent=indent, allow_nan=False, default=plain)
    except ValueError as error:
        if "Out of range float" not in str(error):
            raise
        raise InputError(
            "a figure comes out infinite, or as no number", "look for such numbers, or far too large ones, in the input"
        ) from None


def json_line(row: Any) -> str:
    """One compact JSON line. Raises: InputError as `json_text` does."""
    return json_text(row) + "\n"


def child(folder: Path, name: str) -> Path:
    """`folder`/`name`, for a name that a person or a data file gave: it never leaves the folder.

    Raises: InputError for a name with a separator, "..", one that is empty or too long, and where a symbolic link of
    that name leads out of the folder.
    """
    odd = name in ("", ".", "..") or "/" in name or "\\" in name or any(ord(character) < 32 for character in name)
    if odd or len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        raise InputError(f"{name[:60]!r} is no name for a file", "use letters, digits and . _ -, without a slash")
    path = folder / name
    if path.resolve().parent != folder.resolve():
        raise InputError(f"{path}: a symbolic link that leads out of {folder}", "choose another name")
    return path


_overwriting: ContextVar[bool] = ContextVar("_overwriting", default=False)
made_for: ContextVar[str] = ContextVar("made_for", default="")
"""The mark of the command at work, which its files carry (see `equiloss.cli.claim_outputs`)."""


def overwrite(allowed: bool) -> bool:
    """What `--overwrite` says: this command may replace what it did not make."""
    _overwriting.set(allowed)
    return allowed


def overwriting() -> bool:
    """Whether the person has said `--overwrite`."""
    return _overwriting.get()


def claim(path: Path, ours: bool, hint: str = "choose another name, or add --overwrite") -> None:
    """The one rule of replacing: what stands at `path` may go only where a record says that this command made it.

    Or where the person has said `--overwrite`. Raises: InputError naming the file where one stands there, not `ours`.
    """
    if not ours and not overwriting() and os.path.lexists(path):
        raise InputError(f"{path}: is there already, and no record says that this command wrote it", hint)


@contextmanager
def locked(path: Path, what: str, wait: bool = False) -> Generator[None]:
    """Hold a lock file with this process's host and number in it; a lock whose owner has died is free.

    `wait`: until another process lets it go. Raises: InputError when one holds it otherwise: `what` is at work there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            f.seek(0)
            owner = f.read(200).strip()
            raise InputError(
                f"{path.parent}: another `{what}` is at work there" + (f" ({owner})" if owner else ""),
                "wait for it, or choose another name",
            ) from None
        f.truncate(0)
        f.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        f.flush()
        yield
        f.truncate(0)


@contextmanager
def reading(path: Path | str, what: str, hint: str) -> Generator[None]:
    """Turn whatever reading a file's content raises into one line: `what` it is not, and what to do.

    Libraries that parse foreign bytes have no common error; those in Rust panic past `Exception`.
    Raises: InputError; a missing library's error passes.
    """
    try:
        yield
    except (EquilossError, ImportError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", hint) from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory", "name a file in it") from None
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"{path}: {error.strerror}", hint) from None
        first = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(f"{path}: not {what}, or damaged: {first}", hint) from None


def open_bytes(path: Path) -> IO[bytes]:
    """A file's bytes; of one that gzip or Zstandard packed, whatever its name, those that it holds.

    Raises: InputError when it is missing or a directory.
    """
    with reading(path, "a file", "check the path"):
        f = path.open("rb")
        start = f.peek(4)[:4]
        if start.startswith(GZIP):
            return gzip.open(f)  # pyright: ignore[reportReturnType]
        if start == ZSTANDARD:
            library: Any = import_module("pyarrow")
            return io.BufferedReader(_Stream(library.CompressedInputStream(f, "zstd")))
        return f


def packed(path: Path) -> bool:
    """Whether a file is packed by gzip or Zstandard."""
    with path.open("rb") as f:
        return f.read(4).startswith((GZIP, ZSTANDARD))


def unpacked_name(path: Path) -> str:
    """A file's name without the ending that says how it is packed."""
    return re.sub(r"\.(gz|zst)$", "", path.name, flags=re.IGNORECASE)


class _Stream(io.RawIOBase):
    """What pyarrow unpacks, as Python's own files are."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any, /) -> int:
        data: bytes = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def read_text(path: Path) -> str:
    """Read a non-empty UTF-8 file, packed by gzip or Zstandard or not.

    Raises: InputError when it is missing, a directory, not UTF-8, too large, or empty.
    """
    with reading(path, "a text file", "convert it to UTF-8"), open_bytes(path) as f:
        data = f.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES >> 30} GiB", "split it, or use JSON Lines")
    text = decoded(data, str(path))
    if not text.strip():
        raise InputError(f"{path}: the file is empty", "was the program that writes it interrupted?")
    return text


def decoded(data: bytes, where: str) -> str:
    """UTF-8 text, without the mark that Windows puts before it. Raises: InputError."""
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text (byte {error.start})", "convert it to UTF-8") from None


_ESCAPE = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)", re.DOTALL)


def parse_json(line: str | bytes, where: str, hint: str = LINE_HINT) -> Any:
    """JSON text as data; `where` is named in errors.

    NaN, which pandas writes for what is missing, becomes None; a lone surrogate escape becomes U+FFFD. Raises:
    InputError when it is not UTF-8 or not JSON, for infinities and numbers beyond them, and where it is nested deeper
    than MAX_DEPTH.
    """
    try:  # the quick way, for what is plain JSON within all bounds
        plain = from_json(line, allow_inf_nan=False)
        if _within_bounds(plain):
            return plain
    except ValueError:
        pass
    text = line if isinstance(line, str) else decoded(line, where)
    try:
        if "\\u" in text:
            text = _ESCAPE.sub(lambda match: "\\ufffd" if match[1] else match[0], text)
        document = _decoder().decode(text)
        if not _within_bounds(document):
            raise RecursionError
    except json.JSONDecodeError as error:
        place = f" on line {error.lineno}" if "\n" in text.rstrip("\n") else ""
        raise InputError(f"{where} is not JSON: {error.msg}{place}", hint) from None
    except RecursionError:
        raise InputError(f"{where} is not JSON that can be read: nested too deeply", hint) from None
    except ValueError as error:
        raise InputError(f"{where} is not JSON that can be read: {error}", hint) from None
    return document


def _within_bounds(document: Any) -> bool:
    """Whether a document is nested no deeper than MAX_DEPTH and every number in it may stand as it was read."""
    level: list[Any] = [[document]]
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for part in level:
            for value in part.values() if part.__class__ is dict else part:
                kind = value.__class__
                if kind is str:
                    continue
                if kind is dict or kind is list:
                    inner.append(value)
                elif (kind is float and abs(value) > LARGEST) or (kind is int and not -(2**63) <= value < 2**63):
                    return False
        if not inner:
            return True
        level = inner
    return False


@cache
def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(parse_int=_integer, parse_float=_finite, parse_constant=_constant)


def _integer(text: str) -> int | float:
    """A number that no 64-bit integer holds becomes a float, as in every other reader of JSON."""
    return int(text) if len(text) <= 20 and -(2**63) <= int(text) < 2**63 else _finite(text)


def _finite(text: str) -> float:
    value = float(text)
    if abs(value) > LARGEST:
        raise ValueError(f"the number {text[:20]}{'…' * (len(text) > 20)} is too large")
    return value


def _constant(text: str) -> None:
    if text != "NaN":
        raise ValueError(f"{text} is no number")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises: InputError when it is missing, empty or broken, with the line.
    """
    return parse_json(read_text(path), str(path), "mend or rewrite the file")


def read_jsonl(path: Path) -> list[Any]:
    """Read a JSON Lines file.

    Raises: InputError with the number of the first broken line.
    """
    return [row for _, row in json_lines(path)]


def json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a JSON Lines file one at a time, each with its place for errors.

    Raises: InputError when it is missing, empty or broken, with the line.
    """
    with reading(path, "a text file", "fetch it again"), open_bytes(path) as f:
        number, blank = 0, True
        while line := f.readline(MAX_BYTES):
            number += 1
            if line.strip():
                blank, where = False, f"{path}: line {number}"
                yield where, parse_json(line, where)
    if blank:
        raise InputError(f"{path}: the file is empty", "was the program that writes it interrupted?")


WRAPPERS = ("data", "rows", "items", "examples", "instances", "train")


def json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a JSON file, each with its place for errors, whatever the file's name says.

    It may hold JSON Lines, one list (on one line or many), or one object with the list as `data` (see WRAPPERS).
    Raises: InputError when it is missing, empty or broken.
    """
    rows = json_document(path)
    if rows is None:
        yield from json_lines(path)
    else:
        yield from ((f"{path}: item {number}", row) for number, row in enumerate(rows, start=1))


def json_document(path: Path) -> list[Any] | None:
    """The rows of a file that is one JSON document; None where each line is one. Raises: InputError as `json_rows`."""
    with reading(path, "a text file", "check the path"), open_bytes(path) as f:
        filled = (line for line in iter(lambda: f.readline(MAX_BYTES), b"") if line.strip())
        first, second = next(filled, b""), next(filled, b"")
    if not first:
        read_text(path)  # raises, saying why
    begins = first.removeprefix(b"\xef\xbb\xbf").strip()
    if _is_json(first):
        return None if second else _rows_in(parse_json(first, f"{path}: line 1"))
    many_lines = begins.startswith((b"[", b"{")) and (len(begins) == 1 or not _is_json(second))
    if not many_lines:
        return None
    document = read_json(path)
    return _rows_in(document) or [document]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return True


def _rows_in(document: Any) -> list[Any] | None:
    """The rows of a document that is a list, or an object that wraps one; None of any other."""
    rows: Any = document
    if isinstance(document, dict) and not document.keys() & {"instruction", "text", "output", "messages"}:  # pyright: ignore[reportUnknownMemberType]
        rows = next((document[name] for name in WRAPPERS if isinstance(document.get(name), list)), None)  # pyright: ignore
    return rows if isinstance(rows, list) else None  # pyright: ignore[reportUnknownVariableType]


def read_arrays(path: Path, names: Iterable[str], hint: str) -> dict[str, NDArray[Any]]:
    """Arrays of numbers from an npz file. Raises: InputError when it is missing or damaged, or lacks one."""
    import numpy as np

    with reading(path, "an npz file", hint), np.load(path, allow_pickle=False) as stored:
        arrays: dict[str, NDArray[Any]] = {name: stored[name] for name in names}
        if odd := next((name for name, array in arrays.items() if array.dtype.kind not in "biuf"), None):
            raise ValueError(f"{odd} holds no numbers")
        return arrays


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with reading(path, "a file", "check the path"), path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def sha256_files(paths: Sequence[Path]) -> str:
    """The hash of a file; of several that are one thing, the hash of theirs, in this order."""
    hashes = [sha256_file(path) for path in paths]
    return hashes[0] if len(hashes) == 1 else sha256_of(hashes)


def sha256_of(document: Any) -> str:
    """SHA-256 of a document's canonical JSON, as hex: equal documents, equal hashes, whatever the order of keys."""
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
