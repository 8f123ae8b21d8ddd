"""When a cell is finished: the record of its last attempt, compared with what would run now.

A cell runs again when its command, the content of an input, a service it uses, equiloss' version or (for commands of
`judge`) the endpoint has changed, or when an output is missing or is not what the command wrote. The code of a
checkout and the number of threads are recorded, not compared.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError

from equiloss.errors import InputError
from equiloss.files import json_line, read_json, sha256_file, sha256_of, write_json
from equiloss.provenance import package_version, provenance
from equiloss.records.file_record import FileRecord, read
from equiloss.records.provenance import Provenance
from equiloss.redaction import scrub
from study.graph import Cell

FORMAT = "equiloss.study-cell.v1"
_Hashes = TypeAdapter(dict[str, tuple[int, int, int, str]])  # path to size, time of change, inode, SHA-256


class CacheKey(FileRecord):
    """What decides a cell's result, as far as a study can see it."""

    command: tuple[str, ...]
    services: tuple[tuple[str, ...], ...] = ()
    inputs: dict[str, str] = Field(default_factory=dict)
    endpoint: dict[str, str] = Field(default_factory=dict)
    equiloss: str = ""

    def change(self, now: CacheKey) -> str:
        """What differs in `now`, in words; "" when nothing does."""
        names = {"command": "the command", "services": "a service", "endpoint": "the judge's endpoint"}
        for key in CacheKey.model_fields:
            before, after = getattr(self, key), getattr(now, key)
            if before == after:
                continue
            if key == "inputs":
                paths = [
                    path for path in {**self.inputs, **now.inputs} if self.inputs.get(path) != now.inputs.get(path)
                ]
                return ", ".join(paths[:3]) + (" …" if len(paths) > 3 else "")
            return names.get(key, f"{key} {json_line(before).strip()} → {json_line(after).strip()}")
        return ""


class CellRecord(FileRecord):
    """A cell's last attempt: what was asked for, and how it ended. `outputs` are hashes of the files written.

    `claims`: the paths that the attempt wrote or cleared, which a later one may therefore replace; `contents`: the
    files in those that are directories.
    """

    format: str = FORMAT
    cell: str
    status: Literal["started", "done", "failed"]
    asked: CacheKey
    attempts: int
    outputs: dict[str, str] = Field(default_factory=dict)
    claims: tuple[str, ...] = ()
    contents: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    returncode: int | None = None
    seconds_s: float | None = None
    provenance: Provenance = Field(default_factory=provenance)


class CellCache:
    """The records of a study's cells in `DIR/.study`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._hashes_path = directory / ".study" / "hashes.json"
        try:
            self._hashes = _Hashes.validate_python(read_json(self._hashes_path))
        except (InputError, ValidationError):
            self._hashes = {}  # what is lost is computed again

    def record(self, cell: Cell) -> CellRecord | None:
        """The record of a cell's last attempt, or None. A record that cannot be read counts as none."""
        try:
            return read(CellRecord, self._path(cell), "")
        except InputError:
            return None

    def missing(self, cell: Cell) -> list[str]:
        """The inputs of a cell, and of its services, that do not exist."""
        return [path for path in cell.reads if not (self.directory / path).exists()]

    def key(self, cell: Cell) -> CacheKey:
        """What would run now. All inputs must exist."""
        return CacheKey(
            command=tuple(map(scrub, cell.argv)),
            services=tuple(tuple(map(scrub, service.argv)) for service in cell.uses),
            inputs={path: self.content(path) for path in cell.reads},
            endpoint=_endpoint() if cell.argv[0] == "judge" else {},
            equiloss=package_version(),
        )

    def why_run(self, cell: Cell, key: CacheKey) -> str:
        """Why a cell has to run, or "" when it is finished."""
        record = self.record(cell)
        if record is None:
            return "not run yet"
        if change := record.asked.change(key):
            return f"changed: {change}"
        if record.status != "done":
            return "cut short" if record.status == "started" else "failed before"
        for path in cell.outputs:
            if not (self.directory / path).exists():
                return f"{path} is missing"
            if record.outputs.get(path, "") not in ("", self.content(path)):
                return f"{path} is not what the command wrote"
        return ""

    def interrupted(self, cell: Cell, key: CacheKey) -> bool:
        """Whether the last attempt was at this very cell and did not finish, so that it can be taken up."""
        record = self.record(cell)
        return record is not None and not record.asked.change(key) and record.status != "done"

    def start(self, cell: Cell, key: CacheKey, attempt: int) -> None:
        """Record that an attempt starts."""
        self._write(
            cell, CellRecord(cell=cell.name, status="started", asked=key, attempts=attempt, claims=_claims(cell))
        )

    def finish(self, cell: Cell, key: CacheKey, attempt: int, returncode: int, seconds_s: float) -> str:
        """Record how an attempt ended; returns what is wrong with its outputs, or ""."""
        absent = [path for path in cell.outputs if not (self.directory / path).exists()]
        done = returncode == 0 and not absent
        record = CellRecord(
            cell=cell.name,
            status="done" if done else "failed",
            asked=key,
            attempts=attempt,
            claims=_claims(cell),
            outputs={p: self.content(p) for p in cell.outputs if done and (self.directory / p).is_file()},
            contents={p: tuple(self._files(p)) for p in cell.outputs if done and (self.directory / p).is_dir()},
            returncode=returncode,
            seconds_s=round(seconds_s, 3),
        )
        self._write(cell, record)
        return f"it did not write {', '.join(absent)}" if returncode == 0 and absent else ""

    def made(self, cell: Cell, path: str) -> bool:
        """Whether an earlier attempt, at this cell or another of the study, made what stands at `path`, or began to."""
        own = self.record(cell)
        if own is not None and (not own.claims or path in own.claims):  # records of earlier versions have no claims
            return True
        for other in self._path(cell).parent.glob("*.json"):
            with suppress(InputError):
                record = read(CellRecord, other, "")
                if path in (*record.claims, *record.outputs):
                    return True
        return False

    def strangers(self, cell: Cell, path: str) -> list[str]:
        """The files in a directory that a cell made which neither it nor another cell of the study put there."""
        record = self.record(cell)
        known = record.contents.get(path) if record else None
        return [] if known is None else [p for p in self._files(path) if p not in known and not self.made(cell, p)]

    def _files(self, path: str) -> list[str]:
        files = (file for file in (self.directory / path).rglob("*") if file.is_file() or file.is_symlink())
        return sorted(file.relative_to(self.directory).as_posix() for file in files)

    def forget(self, cell: Cell) -> None:
        """Drop a cell's record, so that it runs again."""
        if (record := self.record(cell)) is not None:
            self._write(cell, record.model_copy(update={"status": "failed", "asked": CacheKey(command=())}))

    def content(self, path: str) -> str:
        """SHA-256 of a file, or of a directory's files and their names (temporary ones apart)."""
        whole = self.directory / path
        if whole.is_file():
            return self._file(whole)
        files = sorted(p for p in whole.rglob("*") if p.is_file() and not p.name.endswith(".tmp"))
        return sha256_of([[p.relative_to(whole).as_posix(), self._file(p)] for p in files])

    def save(self) -> None:
        """Keep the hashes of files that have not changed since."""
        write_json(self._hashes_path, self._hashes)

    def _file(self, path: Path) -> str:
        state = path.stat()
        name = os.path.relpath(path, self.directory)
        mark = (state.st_size, state.st_mtime_ns, state.st_ino)
        known = self._hashes.get(name)
        if known is None or known[:3] != mark:
            known = self._hashes[name] = (*mark, sha256_file(path))
        return known[3]

    def _path(self, cell: Cell) -> Path:
        return self.directory / ".study" / "cells" / f"{cell.name}.json"

    def _write(self, cell: Cell, record: CellRecord) -> None:
        write_json(self._path(cell), record.model_dump(mode="json"))


def _claims(cell: Cell) -> tuple[str, ...]:
    return (*cell.outputs, *cell.clears)


def _endpoint() -> dict[str, str]:
    """Where judging requests go. Of the key only whether there is one."""
    return {
        "OPENAI_BASE_URL": scrub(os.environ.get("OPENAI_BASE_URL", "")),
        "OPENAI_API_KEY": "set" if os.environ.get("OPENAI_API_KEY") else "",
    }
