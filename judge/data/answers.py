"""Answer files read item by item: fifty thousand of them take no more memory than five hundred."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from equiloss.errors import InputError
from equiloss.files import json_document, json_lines, packed, parse_json
from equiloss.records.file_record import shared
from equiloss.records.response import Response, number_repeats, response_from_row, stem_of
from judge.rubrics import Item

_OWN = frozenset(("output",))


class AnswerFile(Mapping[str, Response]):
    """A model's answers by item id, in the order of the file: the one reader of answers that are judged or were.

    They stay on disk, with an index in memory. Use it as a context manager, or `close` it. Ids are made unique as by
    `equiloss.records.response.number_repeats`.
    """

    def __init__(self, path: Path, generator: str = "", keep: bool = False) -> None:
        """Check every line and index it by item id; `generator` names the model whatever the lines say.

        With `keep` the answers stay in memory, and the file is closed.

        Raises: InputError when the file is missing, empty, broken, or holds something else, with the line.
        """
        self.path = path
        self.stem = stem_of(path)
        self.generator = self._given = generator
        self._stream, self._unit = _lines_of(path)
        ids: list[str] = []
        places: list[tuple[int, int]] = []  # of each id: where its line begins, in bytes, and its number
        asked: list[tuple[int, int]] = []  # of each id: hashes of what is asked, and of the reference
        answers: list[Response] = []
        pool: dict[object, Any] = {}
        start = 0
        for number, raw in enumerate(self._stream, start=1):
            if raw.strip():
                response = self._parse(raw, number)
                self.generator = self.generator or response.generator
                if response.generator != self.generator:
                    raise InputError(
                        f"{path}: {self._unit} {number}: holds answers of several models "
                        f"({self.generator}, {response.generator})",
                        "split it into one file a model",
                    )
                ids.append(response.id)
                if keep:
                    answers.append(shared(response, pool, _OWN))
                else:
                    places.append((start, number))
                    asked.append((hash((response.instruction, response.input)), hash(response.reference.strip())))
            start += len(raw)
        ids = number_repeats(ids)
        kept = (_named(response, id) for id, response in zip(ids, answers, strict=False))
        self._index: dict[str, tuple[int, int] | Response] = dict(zip(ids, kept if keep else places, strict=True))
        self._asked = dict(zip(ids, asked, strict=False))
        if keep:
            self.close()

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __contains__(self, id: object) -> bool:
        return id in self._index

    def __getitem__(self, id: str) -> Response:
        place = self._index[id]
        if isinstance(place, Response):
            return place
        start, number = place
        self._stream.seek(start)
        return _named(self._parse(self._stream.readline(), number), id)

    def differs(self, id: str, other: AnswerFile) -> tuple[bool, bool]:
        """Whether another file asks something else under an id, and whether it has another reference there."""
        (asked, reference), (others_asked, others_reference) = self._asked[id], other._asked[id]
        empty = hash("")
        return asked != others_asked, reference != others_reference and empty not in (reference, others_reference)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _parse(self, raw: bytes, number: int) -> Response:
        where = f"{self.path}: {self._unit} {number}"
        row = parse_json(raw, where)
        if not isinstance(row, dict):
            raise InputError(f"{where} is not an object", "each item needs named fields")
        if str(row.get("schema", "")).startswith(("equiloss.verdict.", "equiloss.failure.")):  # pyright: ignore
            raise InputError(f"{where} is a verdict, not an answer", "name the results file that was judged")
        response = response_from_row(row, self.stem, where)  # pyright: ignore[reportUnknownArgumentType]
        return response.model_copy(update={"generator": self._given}) if self._given else response


def _named(response: Response, id: str) -> Response:
    return response if response.id == id else response.model_copy(update={"id": id})


@dataclass(frozen=True)
class JointAnswers:
    """Files judged together: the items that all of them answer, how many each has besides, and what is odd."""

    files: Sequence[AnswerFile]
    ids: Sequence[str]
    unmatched: Mapping[str, int]
    warnings: Sequence[str] = ()

    def read(self, id: str) -> tuple[Item, list[str]]:
        """An item, as the first file with a reference for it states it, and the answers in the order of the files."""
        responses = [file[id] for file in self.files]
        best = next((response for response in responses if response.reference.strip()), responses[0])
        item = Item(id, best.instruction, best.input, best.reference, best.category)
        return item, [response.output for response in responses]


def open_jointly(paths: Sequence[Path], generators: Mapping[str, Path] | None = None) -> JointAnswers:
    """Open the files that are to be judged together; items that not all of them answer are left out and counted.

    Verdicts and records among the paths, as `results/*.json*` names them, are left out. `generators`: files by names.
    Raises: InputError when a file is bad, two hold the same generator, they have no item in common, or ask different
    things under one id.
    """
    chosen = [path for path in dict.fromkeys(paths) if not _is_of_judging(path)] or list(dict.fromkeys(paths))
    names = {path.resolve(): name for name, path in (generators or {}).items()}
    if unknown := set(names) - {path.resolve() for path in chosen}:
        raise InputError(f"--generator names {min(unknown)}, which is not judged", "name it among FILES, too")
    files = [AnswerFile(path, names.get(path.resolve(), "")) for path in chosen]
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
    other_references = 0
    for id in ids:
        differing = [(file, files[0].differs(id, file)) for file in files[1:]]
        if other := next((file for file, (asks_other, _) in differing if asks_other), None):
            raise InputError(
                f"item {id!r} of {files[0].path} and of {other.path} ask different things",
                "give items ids that tell them apart, or leave `id` out: it is then made of what is asked",
            )
        other_references += any(has_other for _, (_, has_other) in differing)
    warnings = [f"{other_references:,} items have different references in different files: the first counts"]
    return JointAnswers(files, ids, unmatched, warnings if other_references else ())


def _is_of_judging(path: Path) -> bool:
    """Whether a file holds no answers but what was made of them: verdicts, failures, or a record."""
    if path.name.endswith((".run.json", ".score.json")):
        return True
    try:
        with path.open("rb") as f:
            return (
                re.match(rb'.{0,4000}"schema": ?"equiloss\.(verdict|failure|canary|label)\.', f.read(1 << 16))
                is not None
            )
    except OSError:
        return False


def _lines_of(path: Path) -> tuple[IO[bytes], str]:
    """The file and "line"; of one document, or of a packed file, a temporary file with its rows as lines, and "item".

    Raises: InputError when it is missing, a directory, empty or not UTF-8.
    """
    document = json_document(path)
    if document is None and not packed(path):
        return path.open("rb"), "line"
    rows = (row for _, row in json_lines(path)) if document is None else document
    kept = TemporaryFile()  # noqa: SIM115 (closed with the answers)
    kept.writelines(json.dumps(row).encode() + b"\n" for row in rows)
    kept.seek(0)
    return kept, "item"
