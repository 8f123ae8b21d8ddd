"""Pairs of models whose difference is planted, as their files say."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import Field

from equiloss.config import Config, read_toml, validate
from equiloss.errors import InputError
from study.spec import StudyFile, StudyHead

CHANCE = "chance"
"""The true cause of a null pair, and what is named by a diagnosis that calls the gap chance."""
SHARED = "shared"
"""The file of cells that all pairs may use: data and base models."""
PLAIN = "diverse"
"""The base model of a side for which no factor names one, where the shared file has no parameter `plain`."""
REAL = "real"
"""The folder of pairs that are made on a real base model; only asked for by name: they need one, and real items."""


Kind = Literal["single", "two", "decoy", "unlisted", "null", "one-seed"]
QuestionName = Literal["answers", "bases", "recipes"]


class PairHead(Config):
    """A pair's `[pair]` table: the planted cause (or "chance"), its level, and what `judge diagnose` reads.

    `beside`: a second planted cause; `entails`: what the cause itself does to the base model, and no wrong name beside
    it; `kind`: what is counted of it; `null`: the questions whose truth is no gap;
    `a`, `b`: runs, each FOLDER/NAME of all its seeds (those of its factors, where it has some); `judge`: flags of the
    simulated judge, which judges both unless a cell called judge... does; `needs`: what shared cells must have made
    before the diagnosis; `explain`: whether `study explain` makes what differs equal before it.
    """

    cause: str
    beside: str | None = None
    entails: tuple[str, ...] = ()
    kind: Kind | None = None
    null: tuple[QuestionName, ...] = ()
    level: int | None = Field(default=None, ge=0, le=5)
    description: str
    a: str = "{shared}/results/plain"
    b: str = "{pair}/results/{name}"
    judge: str = "--noise 0.05"
    needs: tuple[str, ...] = ()
    explain: bool = False


class Setting(Config):
    """One side's value of a factor: base models of the shared file, or flags of `ift run`; nothing: as the plain side.

    Where two factors name base models, theirs is the one called by both names: `listless-repeated`.
    """

    bases: tuple[str, ...] = ()
    flags: str = ""


class Factor(Config):
    """What differs between the sides of a pair: the cause that it plants, or "" where it is a harmless decoy.

    `items`: categories that the cause is about; its planted points are then what it makes of the gap on their items,
    since a base model that lacks something may be worse elsewhere too, for which no measure of that cause speaks.
    """

    cause: str = ""
    items: tuple[str, ...] = ()
    a: Setting = Setting()
    b: Setting = Setting()


class PairFile(StudyFile):
    """A pair's TOML file: a study without a head of its own. Its sides are made from its factors, where it has some."""

    study: StudyHead = StudyHead(name="pair")
    pair: PairHead
    factor: tuple[Factor, ...] = ()


@dataclass(frozen=True)
class FactorArm:
    """Fine-tunings of base models with flags; called the same in whatever pair."""

    bases: tuple[str, ...]
    flags: str

    @property
    def name(self) -> str:
        """Its runs' name."""
        return re.sub(r"[^A-Za-z0-9]+", "-", " ".join([*self.bases, self.flags.replace("--set ", "")])).strip("-")

    @property
    def alone(self) -> tuple[FactorArm, ...]:
        """An arm for each of its base models: the fine-tunings that it is gathered from."""
        return tuple(replace(self, bases=(base,)) for base in self.bases)


@dataclass(frozen=True)
class Pair:
    """A pair, called as its file."""

    name: str
    path: Path
    file: PairFile
    plain: str = PLAIN

    @property
    def shared(self) -> Path:
        """The file of the cells that it may use: its own folder's, or that of the pairs that ship."""
        own = self.path.with_name(f"{SHARED}.toml")
        return own if own.is_file() else directory() / own.name

    @property
    def head(self) -> PairHead:
        """What is planted, and where."""
        return self.file.pair

    @property
    def kind(self) -> Kind:
        """What is counted of it."""
        head = self.head
        return head.kind or ("null" if head.cause == CHANCE else "two" if head.beside else "single")

    @property
    def causes(self) -> tuple[str, ...]:
        """The planted causes; none for a null pair, nor where no cause that can be named is planted."""
        if self.kind == "unlisted":
            return ()
        return tuple(one for one in (self.head.cause, self.head.beside) if one and one != CHANCE)

    @property
    def arms(self) -> dict[str, FactorArm]:
        """Every combination of the factors' values, by a letter for each factor: aa, ab, ba, bb."""
        found: dict[str, FactorArm] = {}
        for letters in itertools.product("ab", repeat=len(self.file.factor)):
            values = [one.a if which == "a" else one.b for one, which in zip(self.file.factor, letters, strict=True)]
            named = [one.bases for one in values if one.bases] or [(self.plain,)]
            bases = tuple("-".join(sorted(names)) for names in zip(*named, strict=True))
            found["".join(letters)] = FactorArm(bases, " ".join(one.flags for one in values if one.flags))
        return found


def directory() -> Path:
    """`studies/zoo` as it is in this installation: inside the wheel, or at the root of the checkout."""
    here = Path(__file__).resolve().parents[1]
    for candidate in (here / "_studies" / "zoo", here.parent / "studies" / "zoo"):
        if candidate.is_dir():
            return candidate
    raise InputError("the zoo's pairs are missing from this installation", "give --pairs with files of your own")


def known() -> list[str]:
    """The names of the shipped pairs, sorted; those on a real model as real/NAME."""
    paths = [path for pattern in ("*.toml", f"{REAL}/*.toml") for path in directory().glob(pattern)]
    names = [path.relative_to(directory()).with_suffix("").as_posix() for path in paths]
    return sorted(name for name in names if name.rpartition("/")[2] not in (SHARED, "recipe"))


def read_pairs(wanted: Sequence[str]) -> list[Pair]:
    """The pairs of these names, patterns (`recipe-*`) or TOML files, several also with commas; none: all but real/….

    Raises: InputError for an unknown name, an unknown key, two pairs of one name, or pairs that share different cells.
    """
    pairs: list[Pair] = []
    names = known()
    made = [name for name in names if "/" not in name]
    for item in [part.strip() for text in wanted for part in text.split(",")] or made:
        alike = [name for name in names if fnmatchcase(name, item) and name.count("/") == item.count("/")]
        shipped = [directory() / f"{name}.toml" for name in alike]
        paths = [Path(item)] if item.endswith(".toml") else shipped
        if not paths:
            raise InputError(f"no pair {item!r}", f"known: {', '.join(known())}; or give a TOML file")
        pairs += [_read_pair(path) for path in paths]
    for name, count in Counter(pair.name for pair in pairs).items():
        if count > 1:
            raise InputError(f"the pair {name!r} is asked for twice", "name it once")
    if len({pair.shared for pair in pairs}) > 1:
        raise InputError("pairs on a real model and pairs in a world share no cells", "make them apart")
    return pairs


def _read_pair(path: Path) -> Pair:
    document = read_toml(path)
    if "pair" not in document:
        raise InputError(f"{path}: no [pair] table", "say cause, level and description")
    pair = Pair(path.stem, path, validate(PairFile, document, str(path)))
    return replace(pair, plain=str(read_toml(pair.shared).get("params", {}).get("plain", PLAIN)))
