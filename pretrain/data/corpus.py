"""Documents: what a corpus is made of, whatever it is read from: files, folders, a Hub data set, the built-in world."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equiloss import files as runs
from equiloss.console import say
from equiloss.errors import InputError
from equiloss.files import reading
from equiloss.records.token_data import TextSource
from pretrain.data import world
from pretrain.data.document import Document
from pretrain.data.rows import Row, file_rows, hub_rows
from pretrain.data.token_files import RAW, SUFFIX, is_token_source, token_documents

if TYPE_CHECKING:
    from tiktoken import Encoding

TEXT = (".txt", ".text", ".md")
LINES = (".jsonl", ".ndjson")
SUFFIXES = (*TEXT, *LINES, ".json", ".parquet")
KNOWN = f"known: {', '.join(SUFFIXES)}, each also .gz or .zst"
READ_BYTES = 1 << 20
METADATA = ("readme.md", "dataset_infos.json", "dataset_info.json", "state.json", "license.txt", "license.md")


@dataclass(frozen=True)
class Fields:
    """Where a record keeps its text and its domain (None: the file's or folder's name); what parts a text file."""

    text: str = "text"
    domain: str | None = None
    separator: str | None = None


def read_documents(source: str, fields: Fields | None = None, encoding: Encoding | None = None) -> Iterator[Document]:
    """The documents of a source, one at a time.

    `source`: a text file (`.txt`, `.md`: one document, or several when a separator is given), JSON Lines, a JSON list,
    Parquet, any of these packed by gzip or Zstandard, a folder of such files (the domain is the folder in it),
    `hub:NAME[:CONFIG][:SPLIT]`
    for a Hugging Face data set (streamed), `world:NAME` for the built-in world, or token files (`token_documents`),
    which `encoding` made.
    Raises: InputError when the source is missing, empty, broken (naming the line) or has no such field.
    """
    fields = fields or Fields()
    if is_token_source(source):
        return token_documents(source, encoding)
    kind, colon, name = source.partition(":")
    if colon and kind == "world":
        return world.documents(name)
    if colon and kind == "hub":
        (rows,) = hub_rows(source, "train").values()
        repository, config = [*name.split(":"), ""][:2]
        return _documents(rows, config or repository.rpartition("/")[2], fields)
    path = Path(source)
    if path.is_dir():
        return _folder(path, fields)
    if not path.exists():
        raise InputError(f"{source}: no such file or folder", "or write hub:NAME or world:NAME")
    if _suffix(path) not in SUFFIXES:
        raise InputError(f"{source}: not a kind of file that is read", KNOWN)
    return _file(path, Path(runs.unpacked_name(path)).stem, fields)


def describe(source: str) -> TextSource:
    """What a source was, for a record: its name, and for files their number, bytes and one hash over all."""
    path = Path(source)
    if not path.exists():
        return TextSource(name=source)
    tokens = is_token_source(source)
    of_folder = sorted(file for kind in (SUFFIX, RAW) for file in path.glob(f"*{kind}")) if tokens else _files(path)
    files = of_folder if path.is_dir() else [path]
    hashes = {str(file.relative_to(path)) if path.is_dir() else file.name: runs.sha256_file(file) for file in files}
    return TextSource(
        name=source,
        files=len(files),
        bytes=sum(file.stat().st_size for file in files),
        sha256=runs.sha256_of(hashes),
        tokens=tokens,
    )


def _suffix(path: Path) -> str:
    return Path(runs.unpacked_name(path)).suffix.lower()


def _files(folder: Path) -> list[Path]:
    """The text in a folder; of a downloaded data set (Parquet or JSON Lines) its records, not its card and metadata."""
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and _suffix(path) in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not any(_suffix(path) in (".parquet", *LINES) for path in files):
        return files
    aside = [path for path in files if path.name.lower() in METADATA]
    if aside:
        say(f"{folder}: left out {', '.join(path.name for path in aside)}")
    return [path for path in files if path not in aside]


def _folder(folder: Path, fields: Fields) -> Iterator[Document]:
    files = _files(folder)
    if not files:
        raise InputError(f"{folder}: no text in this folder", KNOWN)

    def documents() -> Iterator[Document]:
        for path in files:
            parts = path.relative_to(folder).parts
            yield from _file(path, parts[0] if len(parts) > 1 else folder.resolve().name, fields)

    return documents()


def _file(path: Path, domain: str, fields: Fields) -> Iterator[Document]:
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty", "was the program that writes it interrupted?")
    if _suffix(path) in TEXT:
        return (Document(text, domain) for text in _texts(path, fields.separator))
    return _documents(file_rows(path), domain, fields)


def _texts(path: Path, separator: str | None) -> Iterator[str]:
    """The text of a file, read in pieces: whole, or cut at each `separator` and without the line ends around it."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    pending = ""
    offset = 0
    with reading(path, "text", "fetch it again"), runs.open_bytes(path) as f:
        try:
            while piece := f.read(READ_BYTES):
                pending += decoder.decode(piece)
                offset += len(piece)
                if separator:
                    *done, pending = pending.split(separator)
                    yield from (text.strip("\n") for text in done)
            pending += decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            place = f"{path}: not UTF-8 text (near byte {offset + error.start})"
            raise InputError(place, "convert it to UTF-8") from None
    if not separator:
        yield pending
    elif pending.strip():
        yield pending.strip("\n")


def _documents(rows: Iterable[tuple[str, Any]], domain: str, fields: Fields) -> Iterator[Document]:
    return (_document(row, where, domain, fields) for where, row in rows)


def _document(row: Any, where: str, domain: str, fields: Fields) -> Document:
    if isinstance(row, str):
        return Document(row, domain)
    if not isinstance(row, Mapping):
        raise InputError(f"{where} is not a record with a field {fields.text!r}", "one JSON object each")
    record: Row = {**row}
    text = _field(record, fields.text, "--text-field", where)
    if text is not None and not isinstance(text, str):
        raise InputError(f"{where}: the field {fields.text!r} is not text but {text!r:.40}", "choose with --text-field")
    if fields.domain is not None:
        domain = str(_field(record, fields.domain, "--domain-field", where))
    return Document(text or "", domain)


def _field(record: Row, name: str, flag: str, where: str) -> Any:
    """A field of a record, or of a record in it: `meta.source`."""
    value: Any = record
    for part in [name] if name in record else name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise InputError(f"{where}: no field {name!r}", f"choose one with {flag}: {', '.join(map(str, record))}")
        value = value[part]  # pyright: ignore[reportUnknownVariableType]
    return value  # pyright: ignore[reportUnknownVariableType]
