"""Pairs of models whose difference is planted, as their files say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import Field

from equiloss.config import Config, read_toml, validate
from equiloss.errors import InputError
from study.spec import StudyFile, StudyHead

CHANCE = "chance"
"""The true cause of a null pair, and what is named by a diagnosis that calls the gap chance."""
SHARED = "shared"
"""The file of cells that all pairs may use: data and base models."""


class PairHead(Config):
    """A pair's `[pair]` table: the planted cause (or "chance"), its level, and what `judge diagnose` reads.

    `a`, `b`: runs, each FOLDER/NAME of all its seeds; `judge`: flags of the simulated judge, which judges both unless
    a cell called judge... does; `needs`: what shared cells must have made before the diagnosis; `explain`: whether
    `study explain` makes what differs equal before it.
    """

    cause: str
    level: int | None = Field(default=None, ge=0, le=5)
    description: str
    a: str = "{shared}/results/plain"
    b: str = "{pair}/results/{name}"
    judge: str = "--noise 0.05"
    needs: tuple[str, ...] = ()
    explain: bool = False


class PairFile(StudyFile):
    """A pair's TOML file: a study without a head of its own."""

    study: StudyHead = StudyHead(name="pair")
    pair: PairHead


@dataclass(frozen=True)
class Pair:
    """A pair, called as its file."""

    name: str
    path: Path
    file: PairFile

    @property
    def head(self) -> PairHead:
        """What is planted, and where."""
        return self.file.pair


def directory() -> Path:
    """`studies/zoo` as it is in this installation: inside the wheel, or at the root of the checkout."""
    here = Path(__file__).resolve().parents[1]
    for candidate in (here / "_studies" / "zoo", here.parent / "studies" / "zoo"):
        if candidate.is_dir():
            return candidate
    raise InputError("the zoo's pairs are missing from this installation", "give --pairs with files of your own")


def known() -> list[str]:
    """The names of the shipped pairs, sorted."""
    return sorted(path.stem for path in directory().glob("*.toml") if path.stem != SHARED)


def read_pairs(wanted: Sequence[str]) -> list[Pair]:
    """The pairs of these names, patterns (`recipe-*`) or TOML files, several also with commas; none: all that ship.

    Raises: InputError for an unknown name, an unknown key, or two pairs of one name.
    """
    pairs: list[Pair] = []
    for item in [part.strip() for text in wanted for part in text.split(",")] or known():
        shipped = [directory() / f"{name}.toml" for name in known() if fnmatchcase(name, item)]
        paths = [Path(item)] if item.endswith(".toml") else shipped
        if not paths:
            raise InputError(f"no pair {item!r}", f"known: {', '.join(known())}; or give a TOML file")
        pairs += [_read_pair(path) for path in paths]
    for name, count in Counter(pair.name for pair in pairs).items():
        if count > 1:
            raise InputError(f"the pair {name!r} is asked for twice", "name it once")
    return pairs


def _read_pair(path: Path) -> Pair:
    document = read_toml(path)
    if "pair" not in document:
        raise InputError(f"{path}: no [pair] table", "say cause, level and description")
    return Pair(path.stem, path, validate(PairFile, document, str(path)))
