"""Answer files read item by item: fifty thousand of them take no more memory than five hundred."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from equiloss.errors import InputError
from equiloss.files import read_text
from equiloss.records.response import Response, read_responses, response_from_row, stem_of
from judge.rubrics import Item


class AnswerFile(Mapping[str, Response]):
    """A model's answers by item id, in the order of the file: the one reader of answers that are judged or were.

    JSON Lines stay on disk, with an index in memory; a JSON array is held in memory. Use it as a context manager, or
    `close` it. Ids are made unique as in `equiloss.records.response.number_repeats`.
    """

    def __init__(self, path: Path) -> None:
        """Check every line and index it by item id.

        Raises: InputError when the file is missing, empty, broken, or holds something else, with the line.
        """
        self.path = path
        self.stem = stem_of(path)
        self.generator = ""
        self._held: dict[str, Response] = {}
        self._lines: dict[str, tuple[int, int]] = {}  # by id: place in bytes, and number
        self._stream: BinaryIO | None = None
        if _is_array(path):
            self._held = {response.id: _clean(response) for response in read_responses(path)}
            self.generator = next(iter(self._held.values())).generator
        else:
            self._stream = path.open("rb")
            self._index(self._stream)

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._held) or len(self._lines)

    def __iter__(self) -> Iterator[str]:
        return iter(self._held or self._lines)

    def __contains__(self, id: object) -> bool:
        return id in self._held or id in self._lines

    def __getitem__(self, id: str) -> Response:
        if self._stream is None:
            return self._held[id]
        start, number = self._lines[id]
        self._stream.seek(start)
        response = _clean(self._parse(self._stream.readline(), number))
        return response if response.id == id else response.model_copy(update={"id": id})

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

    def _index(self, stream: BinaryIO) -> None:
        seen: dict[str, int] = {}
        start = 0
        for number, raw in enumerate(stream, start=1):
            if raw.strip():
                response = self._parse(raw, number)
                self.generator = self.generator or response.generator
                if response.generator != self.generator:
                    raise InputError(
                        f"{self.path}: line {number}: holds answers of several models "
                        f"({self.generator}, {response.generator})",
                        "split it into one file a model",
                    )
                count = seen[response.id] = seen.get(response.id, 0) + 1
                self._lines[response.id if count == 1 else f"{response.id}-{count}"] = (start, number)
            start += len(raw)

    def _parse(self, raw: bytes, number: int) -> Response:
        where = f"{self.path}: line {number}"
        try:
            row: Any = json.loads(raw.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise InputError(f"{where} is not UTF-8 text (byte {error.start})", "convert the file to UTF-8") from None
        except json.JSONDecodeError as error:
            raise InputError(f"{where} is not JSON: {error.msg}", "mend or delete that line") from None
        if not isinstance(row, dict):
            raise InputError(f"{where} is not an object", "each item needs named fields")
        if str(row.get("schema", "")).startswith(("equiloss.verdict.", "equiloss.failure.")):  # pyright: ignore
            raise InputError(f"{where} is a verdict, not an answer", "name the results file that was judged")
        return response_from_row(row, self.stem, where)  # pyright: ignore[reportUnknownArgumentType]


@dataclass(frozen=True)
class JointAnswers:
    """Files judged together: the items that all of them answer, and how many each has besides."""

    files: Sequence[AnswerFile]
    ids: Sequence[str]
    unmatched: Mapping[str, int]

    def read(self, id: str) -> tuple[Item, list[str]]:
        """An item, as the first file with a reference for it states it, and the answers in the order of the files."""
        responses = [file[id] for file in self.files]
        best = next((response for response in responses if response.reference.strip()), responses[0])
        item = Item(id, best.instruction, best.input, best.reference, best.category)
        return item, [response.output for response in responses]


def open_jointly(paths: Sequence[Path]) -> JointAnswers:
    """Open the files that are to be judged together; items that not all of them answer are left out and counted.

    Raises: InputError when a file is bad, two hold the same generator, or they have no item in common.
    """
    files = [AnswerFile(path) for path in dict.fromkeys(paths)]
    by_generator: dict[str, AnswerFile] = {}
    for file in files:
        if (other := by_generator.setdefault(file.generator, file)) is not file:
            raise InputError(
                f"{other.path} and {file.path} both hold answers of {file.generator!r}",
                "give one of them another generator name",
            )
    ids = [id for id in files[0] if all(id in file for file in files)]
    if not ids:
        raise InputError(
            f"{', '.join(str(file.path) for file in files)} have no item in common",
            "judge answers to the same instructions together, others one file at a time",
        )
    unmatched = {file.generator: len(file) - len(ids) for file in files if len(file) > len(ids)}
    return JointAnswers(files, ids, unmatched)


def _is_array(path: Path) -> bool:
    """Whether the file is a JSON array.

    Raises: InputError when it is missing, a directory, empty or not UTF-8.
    """
    try:
        with path.open("rb") as f:
            for raw in f:
                if text := raw.removeprefix(b"\xef\xbb\xbf").strip():
                    return text.startswith(b"[")
    except OSError:
        pass
    read_text(path)  # raises, saying why
    raise InputError(f"{path}: cannot be read", "check the file")


def _clean(response: Response) -> Response:
    """Lone surrogates, which JSON can smuggle in and no HTTP body can hold, become question marks."""
    texts = {name: getattr(response, name) for name in ("instruction", "input", "output", "reference")}
    if all(text.isascii() for text in texts.values()):
        return response
    return response.model_copy(
        update={name: text.encode("utf-8", "replace").decode("utf-8") for name, text in texts.items()}
    )
