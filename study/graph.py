"""A study as it is run: cells, linked by the files they make and read, in dependency order."""

from __future__ import annotations

import graphlib
import heapq
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from equiloss.errors import InputError

PROGRAMS = ("pretrain", "ift", "judge", "study", "torchrun", "python")


@dataclass(frozen=True)
class StudyService:
    """A server that runs while the cells that use it run; `argv` holds `{port}` where the port goes."""

    name: str
    argv: tuple[str, ...]
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One command. Paths are relative to the study's directory; `needs` names the cells that make its inputs.

    `resume` is added to the command when an earlier attempt at the very same cell was cut short. `slots` is how many
    of the study's parallel jobs it takes (0: all of them). `clears` are removed with the outputs before it runs anew.
    """

    name: str
    argv: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    stdout: str | None = None
    uses: tuple[StudyService, ...] = ()
    resume: tuple[str, ...] = ()
    clears: tuple[str, ...] = ()
    show: bool = False
    slots: int = 1
    needs: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """Its inputs, and those of the services it uses."""
        return (*self.inputs, *(path for service in self.uses for path in service.inputs))

    @property
    def command(self) -> str:
        """The command as one would type it."""
        return shlex.join(self.argv)


@dataclass(frozen=True)
class Study:
    """A plan. Every cell stands after those it needs."""

    name: str
    description: str
    closing: tuple[str, ...]
    jobs: int | None
    cells: tuple[Cell, ...]


def check_outputs(outputs: Mapping[str, Iterable[str]], where: str) -> dict[str, str]:
    """Which cell makes which path, from each cell's outputs.

    Raises: InputError when two cells claim one path, or one claims a directory that another's output lies in.
    """
    maker: dict[str, str] = {}
    for name, path in ((name, path) for name, paths in outputs.items() for path in paths):
        if path in maker:
            clash = f"cells {maker[path]!r} and {name!r} both write {path}"
            raise InputError(f"{where}: {clash}", "give each its own output")
        maker[path] = name
    for path, name in maker.items():
        for parent in _parents(path):
            if maker.get(parent, name) != name:
                clash = f"cell {name!r} writes {path} inside {parent}, the output of cell {maker[parent]!r}"
                raise InputError(f"{where}: {clash}", "give each its own output")
    return maker


def matching(pattern: str, maker: Mapping[str, str]) -> list[str]:
    """What a pattern such as `runs/*/checkpoint.pt` names among the outputs; `*` stays within one directory level.

    Where an output is a directory that the front of the pattern matches, the rest is a path in it.
    """
    parts = pattern.split("/")
    last = max((index for index, part in enumerate(parts) if any(c in part for c in "*?[")), default=0)
    splits = [path.split("/") for path in maker]
    fits = [split for split in splits if last < len(split) <= len(parts) and all(map(fnmatchcase, split, parts))]
    return ["/".join([*split, *parts[len(split) :]]) for split in fits]


def link(cells: Sequence[Cell], maker: Mapping[str, str]) -> tuple[Cell, ...]:
    """Fill in `needs`: the cells that make what a cell reads."""
    makers_of = {
        cell.name: dict.fromkeys(name for path in cell.reads for name in makers(path, maker)) for cell in cells
    }
    return tuple(replace(cell, needs=tuple(makers_of[cell.name])) for cell in cells)


def makers(path: str, maker: Mapping[str, str]) -> list[str]:
    """The cells that make `path`: itself, the directory it lies in, or anything inside it if it is a directory."""
    for candidate in (path, *_parents(path)):
        if candidate in maker:
            return [maker[candidate]]
    return [name for made, name in maker.items() if path in _parents(made)]


def order(cells: Sequence[Cell], where: str) -> tuple[Cell, ...]:
    """The cells so that each stands after those it needs; otherwise in the order of the file.

    Raises: InputError naming the cells of a cycle.
    """
    sorter = graphlib.TopologicalSorter({cell.name: cell.needs for cell in cells})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        names: list[str] = error.args[1]
        cycle = " needs ".join(repr(name) for name in reversed(names))
        raise InputError(f"{where}: cells wait for each other: {cycle}", "break the circle of inputs") from None
    place = {cell.name: index for index, cell in enumerate(cells)}
    ready: list[int] = []
    ordered: list[Cell] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, place[name])
        ordered.append(cells[heapq.heappop(ready)])
        sorter.done(ordered[-1].name)
    return tuple(ordered)


def only(cells: Sequence[Cell], patterns: Sequence[str]) -> tuple[Cell, ...]:
    """Of ordered cells those that match one of the patterns, and all that they need.

    Raises: InputError for a pattern that matches no cell.
    """
    wanted: set[str] = set()
    for pattern in patterns:
        matches = [cell.name for cell in cells if fnmatchcase(cell.name, pattern)]
        if not matches:
            raise InputError(f"no cell is called {pattern!r}", f"cells: {', '.join(cell.name for cell in cells)}")
        wanted.update(matches)
    for cell in reversed(cells):
        if cell.name in wanted:
            wanted.update(cell.needs)
    return tuple(cell for cell in cells if cell.name in wanted)


def _parents(path: str) -> list[str]:
    return [str(parent) for parent in PurePosixPath(path).parents if str(parent) not in (".", "/")]
