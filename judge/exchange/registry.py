"""The formats of other tools by name: functions in the modules of this folder, found by being there."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from equiloss.errors import InputError
from equiloss.files import write_json, write_jsonl
from equiloss.records.response import read_rows
from judge import exchange as folder
from judge.data.verdicts import Judged
from judge.exchange.collected import Collected, Source

Row: TypeAlias = Mapping[str, Any]
Exporting: TypeAlias = Callable[[Sequence[Judged], Path], int]
Importing: TypeAlias = Callable[[Collected, Row, Source], None]
Reading: TypeAlias = Callable[[Path], Iterable[Row]]

_EXPORTERS: dict[str, Exporting] = {}
_IMPORTERS: dict[str, tuple[Reading, Importing]] = {}


def exporter(name: str) -> Callable[[Exporting], Exporting]:
    """Register what `judge exchange --to NAME` does: write runs to a file, and return the number of rows."""
    return lambda write: _EXPORTERS.setdefault(name, write)


def importer(name: str, read: Reading = read_rows) -> Callable[[Importing], Importing]:
    """Register what `--from NAME` does with a row of a file. KeyError and ValueError say what does not fit."""
    return lambda take: _IMPORTERS.setdefault(name, (read, take))[1]


def of_one_run(records: Callable[[Judged], Sequence[object]]) -> Exporting:
    """An exporter from a function that gives a run's records: one JSON list, or a line each by the file's name."""

    def write(judged: Sequence[Judged], path: Path) -> int:
        if len(judged) != 1:
            raise InputError("this format holds the answers of one run", "name one result file")
        document = records(judged[0])
        if not document:
            raise InputError(f"{judged[0].generator}: nothing to write", "are the answers, or verdicts, there?")
        (write_jsonl if path.suffix == ".jsonl" else write_json)(path, document)
        return len(document)

    return write


def exporters() -> dict[str, Exporting]:
    """All formats that can be written, by name."""
    _import_all()
    return dict(sorted(_EXPORTERS.items()))


def importers() -> dict[str, tuple[Reading, Importing]]:
    """All formats that can be read, by name: what reads a file's rows, and what takes a row in."""
    _import_all()
    return dict(sorted(_IMPORTERS.items()))


def _import_all() -> None:
    for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
        importlib.import_module(module.name)
