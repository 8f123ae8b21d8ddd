"""When a cell is finished: the record of its last attempt, compared with what would run now.

A cell runs again when its command, the content of an input, a service it uses, equiloss' version or (for commands of
`judge`) the endpoint has changed, or when an output is missing or is not what the command wrote. The code of a
checkout and the number of threads are recorded, not compared.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypedDict, cast

from equiloss.errors import InputError
from equiloss.files import json_line, read_json, sha256_file, sha256_of, write_json
from equiloss.provenance import package_version, provenance
from study.graph import Cell, Service

FORMAT = "equiloss.study-cell.v1"


class Asked(TypedDict):
    """What decides a cell's result, as far as a study can see it."""

    command: list[str]
    services: list[list[str]]
    inputs: dict[str, str]
    endpoint: dict[str, str]
    equiloss: str


class Book:
    """The records of a study's cells in `DIR/.study`."""

    def __init__(self, directory: Path, services: tuple[Service, ...]) -> None:
        self.directory = directory
        self.services = {service.name: service for service in services}
        self._hashes_path = directory / ".study" / "hashes.json"
        self._hashes: dict[str, list[Any]] = {}
        if self._hashes_path.exists():
            try:
                self._hashes = read_json(self._hashes_path)
            except InputError:
                self._hashes = {}  # a cache: what is lost is computed again

    def record(self, cell: Cell) -> dict[str, Any] | None:
        """The record of a cell's last attempt, or None. A record that cannot be read counts as none."""
        try:
            record: Any = read_json(self._path(cell))
        except InputError:
            return None
        if not isinstance(record, dict):
            return None
        known = cast("dict[str, Any]", record)
        return known if known.get("format") == FORMAT else None

    def missing(self, cell: Cell) -> list[str]:
        """The inputs of a cell, and of its services, that do not exist."""
        return [path for path in self._inputs(cell) if not (self.directory / path).exists()]

    def asked(self, cell: Cell) -> Asked:
        """What would run now. All inputs must exist."""
        judged = cell.argv[0] == "judge"
        return {
            "command": list(cell.argv),
            "services": [list(self.services[name].argv) for name in cell.uses],
            "inputs": {path: self.content(path) for path in self._inputs(cell)},
            "endpoint": _endpoint() if judged else {},
            "equiloss": package_version(),
        }

    def stale(self, cell: Cell, asked: Asked) -> str:
        """Why a cell has to run, or "" when it is finished."""
        record = self.record(cell)
        if record is None:
            return "not run yet"
        before: dict[str, Any] = record["asked"]
        for key, now in asked.items():
            if before.get(key) != now:
                return f"changed: {self._difference(key, before.get(key), now)}"
        if record["status"] != "done":
            return "cut short" if record["status"] == "started" else "failed before"
        for path in cell.outputs:
            if not (self.directory / path).exists():
                return f"{path} is missing"
            if path in record["outputs"] and record["outputs"][path] != self.content(path):
                return f"{path} is not what the command wrote"
        return ""

    def cut_short(self, cell: Cell, asked: Asked) -> bool:
        """Whether the last attempt was at this very cell and did not finish, so that it can be taken up."""
        record = self.record(cell)
        return record is not None and record["asked"] == asked and record["status"] != "done"

    def start(self, cell: Cell, asked: Asked, attempt: int) -> None:
        """Record that an attempt starts."""
        self._write(cell, {"status": "started", "asked": asked, "attempts": attempt, "outputs": {}})

    def finish(self, cell: Cell, asked: Asked, attempt: int, returncode: int, seconds_s: float) -> str:
        """Record how an attempt ended; returns what is wrong with its outputs, or ""."""
        absent = [path for path in cell.outputs if not (self.directory / path).exists()]
        done = returncode == 0 and not absent
        outputs = {p: self.content(p) for p in cell.outputs if (self.directory / p).is_file()} if done else {}
        entry = {"status": "done" if done else "failed", "asked": asked, "attempts": attempt, "outputs": outputs}
        self._write(cell, {**entry, "returncode": returncode, "seconds_s": round(seconds_s, 3)})
        return f"it did not write {', '.join(absent)}" if returncode == 0 and absent else ""

    def forget(self, cell: Cell) -> None:
        """Drop a cell's record, so that it runs again."""
        self._path(cell).unlink(missing_ok=True)

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
        key = os.path.relpath(path, self.directory)
        mark = [state.st_size, state.st_mtime_ns, state.st_ino]
        known = self._hashes.get(key)
        if known and known[:3] == mark:
            return known[3]
        digest = sha256_file(path)
        self._hashes[key] = [*mark, digest]
        return digest

    def _inputs(self, cell: Cell) -> list[str]:
        return [*cell.inputs, *(path for name in cell.uses for path in self.services[name].inputs)]

    def _path(self, cell: Cell) -> Path:
        return self.directory / ".study" / "cells" / f"{cell.name}.json"

    def _write(self, cell: Cell, entry: dict[str, Any]) -> None:
        write_json(self._path(cell), {"format": FORMAT, "cell": cell.name, **entry, "provenance": provenance()})

    @staticmethod
    def _difference(key: str, before: Any, now: Any) -> str:
        if key == "inputs" and isinstance(before, dict):
            old = cast("dict[str, str]", before)
            changed = [path for path in {**old, **now} if old.get(path) != now.get(path)]
            return ", ".join(changed[:3]) + (" …" if len(changed) > 3 else "")
        names = {"command": "the command", "services": "a service", "endpoint": "the judge's endpoint"}
        return names.get(key, f"{key} {json_line(before).strip()} → {json_line(now).strip()}")


def _endpoint() -> dict[str, str]:
    """Where judging requests go. Of the key only whether there is one."""
    return {
        "OPENAI_BASE_URL": os.environ.get("OPENAI_BASE_URL", ""),
        "OPENAI_API_KEY": "set" if os.environ.get("OPENAI_API_KEY") else "",
    }
