"""Answer files read item by item: fifty thousand of them take no more memory than five hundred."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from equiloss.errors import InputError
from equiloss.files import read_text
from equiloss.records.response import Response, read_responses, response_from_row, stem_of
from judge.rubrics import Item


class AnswerFile:
    """A model's answers. JSON Lines stay on disk, with an index in memory; a JSON array is held in memory."""

    def __init__(self, path: Path) -> None:
        """Check every line and index it by item id.

        Raises: InputError when the file is missing, empty, broken, or holds something else, with the line.
        """
        self.path = path
        self.stem = stem_of(path)
        self._held: list[Response] = []
        self._starts = array("Q")
        self._stream: BinaryIO | None = None
        if _is_array(path):
            self._held = read_responses(path)
            self.ids = [one.id for one in self._held]
            self.generator = self._held[0].generator
        else:
            self.ids, self.generator = self._index()
            self._stream = path.open("rb")
        self._place = {one: index for index, one in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id: str) -> bool:
        return id in self._place

    def get(self, id: str) -> Response:
        """The answer to an item.

        Raises: KeyError when there is none.
        """
        index = self._place[id]
        if self._stream is None:
            return _clean(self._held[index])
        self._stream.seek(self._starts[index])
        row = json.loads(self._stream.readline().decode("utf-8-sig"))
        return _clean(response_from_row(row, self.generator, f"{self.path}: line {index + 1}"))

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

    def _index(self) -> tuple[list[str], str]:
        ids: list[str] = []
        seen: dict[str, int] = {}
        generator = ""
        start = 0
        with self.path.open("rb") as f:
            for number, raw in enumerate(f, start=1):
                if raw.strip():
                    response = _parse(raw, self.stem, f"{self.path}: line {number}")
                    generator = generator or response.generator
                    if response.generator != generator:
                        raise InputError(
                            f"{self.path}: line {number}: holds answers of several models "
                            f"({generator}, {response.generator})",
                            "split it into one file a model",
                        )
                    seen[response.id] = seen.get(response.id, 0) + 1
                    count = seen[response.id]
                    ids.append(response.id if count == 1 else f"{response.id}-{count}")
                    self._starts.append(start)
                start += len(raw)
        return ids, generator


@dataclass(frozen=True)
class Comparison:
    """Files judged together: the items that all of them answer, and how many each has besides."""

    files: Sequence[AnswerFile]
    ids: Sequence[str]
    unmatched: dict[str, int]

    def read(self, id: str) -> tuple[Item, list[str]]:
        """An item, as the first file with a reference for it states it, and the answers in the order of the files."""
        found = [file.get(id) for file in self.files]
        best = next((one for one in found if one.reference.strip()), found[0])
        item = Item(id, best.instruction, best.input, best.reference, best.category)
        return item, [one.output for one in found]


def compare_files(paths: Sequence[Path]) -> Comparison:
    """Open the files that are to be judged together; items that not all of them answer are left out and counted.

    Raises: InputError when a file is bad, two hold the same generator, or they have no item in common.
    """
    files = [AnswerFile(path) for path in dict.fromkeys(paths)]
    by_generator: dict[str, AnswerFile] = {}
    for file in files:
        if other := by_generator.get(file.generator):
            raise InputError(
                f"{other.path} and {file.path} both hold answers of {file.generator!r}",
                "give one of them another generator name",
            )
        by_generator[file.generator] = file
    ids = [one for one in files[0].ids if all(one in file for file in files)]
    if not ids:
        raise InputError(
            f"{', '.join(str(file.path) for file in files)} have no item in common",
            "judge answers to the same instructions together, others one file at a time",
        )
    unmatched = {file.generator: len(file) - len(ids) for file in files if len(file) > len(ids)}
    return Comparison(files, ids, unmatched)


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


def _parse(raw: bytes, stem: str, where: str) -> Response:
    try:
        row = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 text (byte {error.start})", "convert the file to UTF-8") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{where} is not JSON: {error.msg}", "mend or delete that line") from None
    if not isinstance(row, dict):
        raise InputError(f"{where} is not an object", "each item needs named fields")
    if str(row.get("schema", "")).startswith(("equiloss.verdict.", "equiloss.failure.")):  # pyright: ignore
        raise InputError(f"{where} is a verdict, not an answer", "name the results file that was judged")
    return response_from_row(cast("dict[str, object]", row), stem, where)


def _clean(response: Response) -> Response:
    """Lone surrogates, which JSON can smuggle in and no HTTP body can hold, become question marks."""
    texts = {name: getattr(response, name) for name in ("instruction", "input", "output", "reference")}
    if all(text.isascii() for text in texts.values()):
        return response
    return response.model_copy(
        update={name: text.encode("utf-8", "replace").decode("utf-8") for name, text in texts.items()}
    )
