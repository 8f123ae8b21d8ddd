"""Pairs of models whose difference is planted: made, diagnosed, and counted (`study zoo`)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

from pydantic import Field
from scipy.stats import binomtest

from equiloss.config import Config, read_toml, validate
from equiloss.errors import InputError
from equiloss.files import read_json
from equiloss.provenance import provenance
from study import graph, spec
from study.graph import Study

FORMAT = "equiloss.zoo.v1"
NONE = "chance"
"""The true cause of a null pair, and what is named by a diagnosis that calls the gap chance."""
OPEN = "cannot tell"
SHARED = "shared"
"""The file of cells that all pairs may use: data and base models."""


class PairHead(Config):
    """A pair's `[pair]` table: the planted cause (or "chance"), its level, and what `judge diagnose` reads.

    `a`, `b`: runs, each FOLDER/NAME of all its seeds; `judge`: flags of the simulated judge, which judges both unless
    a cell called judge... does; `needs`: what shared cells must have made before the diagnosis.
    """

    cause: str
    level: int | None = Field(default=None, ge=0, le=5)
    description: str
    a: str = "{shared}/results/plain"
    b: str = "{pair}/results/{name}"
    judge: str = "--noise 0.05"
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """A pair as its file says: `document` is a study without a head of its own."""

    name: str
    path: Path
    head: PairHead
    document: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one pair with one seed. `named` is None where it could not be made or diagnosed."""

    pair: str
    seed: int
    cause: str
    named: str | None
    candidates: tuple[str, ...] = ()
    gap: dict[str, Any] | None = None
    premise: str | None = None
    share: dict[str, Any] | None = None
    sentence: str = ""

    @property
    def right(self) -> bool:
        """Whether the diagnosis named the planted cause (for a null pair: called the gap chance)."""
        return self.named == self.cause


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
    for item in [one.strip() for text in wanted for one in text.split(",")] or known():
        if item.endswith(".toml"):
            paths = [Path(item)]
        else:
            paths = [directory() / f"{name}.toml" for name in known() if fnmatchcase(name, item)]
            if not paths:
                raise InputError(f"no pair {item!r}", f"known: {', '.join(known())}; or give a TOML file")
        pairs += [_read_pair(path) for path in paths]
    twice = [name for name, count in Counter(pair.name for pair in pairs).items() if count > 1]
    if twice:
        raise InputError(f"the pair {twice[0]!r} is asked for twice", "name it once")
    return pairs


def _read_pair(path: Path) -> Pair:
    document = read_toml(path)
    head: Any = document.pop("pair", None)
    if not isinstance(head, dict):
        raise InputError(f"{path}: no [pair] table", "say cause, level and description")
    return Pair(path.stem, path, validate(PairHead, cast("dict[str, Any]", head), f"{path}: pair"), document)


def study_of(pairs: Sequence[Pair], seeds: Sequence[int], sets: Sequence[str] = ()) -> Study:
    """One study that makes and diagnoses every pair with every seed, with what they share made once.

    Paths: `s{seed}/shared`, `s{seed}/PAIR`; in the files `{shared}`, `{pair}`, `{name}` and `{seed}`. A pair has the
    parameters of the shared file and its own; `sets` (KEY=VALUE) override the former, with PAIR.KEY=VALUE one pair's.
    Raises: InputError for a mistake in a file.
    """
    names = {pair.name for pair in pairs}
    common = tuple(one for one in sets if one.partition("=")[0].partition(".")[0] not in names)
    path = directory() / f"{SHARED}.toml"
    shared = read_toml(path)
    parts: list[spec.Part] = []
    for seed in seeds:
        values: dict[str, Any] = {"seed": seed, SHARED: f"s{seed}/{SHARED}"}
        parts.append(spec.Part(path, shared, values, f"s{seed}-{SHARED}-", common))
        for pair in pairs:
            own = tuple(one.removeprefix(f"{pair.name}.") for one in sets if one.startswith(f"{pair.name}."))
            where = {**values, "pair": f"s{seed}/{pair.name}", "name": pair.name}
            prefix = f"s{seed}-{pair.name}-"
            parts.append(spec.Part(pair.path, _with(pair, shared, path), where, prefix, (*common, *own)))
            parts.append(_diagnosis(pair, where, prefix))
    whole = spec.assemble(parts)
    wanted = [f"s{seed}-{pair.name}-*" for seed in seeds for pair in pairs]
    return replace(whole, name="zoo", cells=graph.only(whole.cells, wanted))


def _with(pair: Pair, shared: dict[str, Any], path: Path) -> dict[str, Any]:
    """The pair's document with the shared parameters and paths under its own."""
    paths = {key: str((path.parent / value).resolve()) for key, value in shared.get("paths", {}).items()}
    return {
        "study": {"name": pair.name},
        **_judged(pair),
        "params": {**shared.get("params", {}), **pair.document.get("params", {})},
        "paths": {**paths, **pair.document.get("paths", {})},
    }


def _judged(pair: Pair) -> dict[str, Any]:
    """The pair's document with the simulated judge, and with the cell that asks it unless the pair has its own."""
    cells: list[dict[str, Any]] = pair.document.get("cell", [])
    if not any(cell["name"].startswith("judge") for cell in cells):
        cell = {
            "name": "judge",
            "uses": ["simulator"],
            "run": "judge score {inputs} --judge simulated@http://127.0.0.1:{simulator.port}/v1 -o {pair}/verdicts",
            "inputs": [f"{pair.head.a}.s*.jsonl", f"{pair.head.b}.s*.jsonl"],
            "outputs": ["{pair}/verdicts"],
            "stdout": "{pair}/judged.txt",
        }
        cells = [*cells, cell]
    simulator = {"name": "simulator", "run": f"judge simulate --port {{port}} --seed {{seed}} {pair.head.judge}"}
    return {**pair.document, "cell": cells, "service": [simulator, *pair.document.get("service", [])]}


def _diagnosis(pair: Pair, where: dict[str, Any], prefix: str) -> spec.Part:
    """The cell that ends every pair: everything that its own cells make goes before it."""
    head = pair.head
    cell = {
        "name": "diagnose",
        "run": f"judge diagnose {head.a} {head.b} --verdicts {{pair}}/verdicts --json",
        "inputs": list(dict.fromkeys([f"{head.a}.s*.jsonl", f"{head.b}.s*.jsonl", *_outputs(pair), *head.needs])),
        "stdout": "{pair}/diagnosis.json",
    }
    return spec.Part(pair.path, {"study": {"name": pair.name}, "cell": [cell]}, where, prefix)


def _outputs(pair: Pair) -> list[str]:
    """What the pair's cells write, as patterns where a cell stands for several."""
    found: list[str] = []
    for cell in _judged(pair)["cell"]:
        made = [*cell.get("outputs", []), *([cell["stdout"]] if "stdout" in cell else [])]
        for variable in cell.get("foreach", {}):
            made = [re.sub(rf"\{{{variable}(\.\w+)?\}}", "*", path) for path in made]
        found += made
    return found


def outcomes(pairs: Sequence[Pair], seeds: Sequence[int], where: Path) -> list[Outcome]:
    """What the diagnosis said of every pair and seed that is in the directory `where`."""
    return [_outcome(pair, seed, where / f"s{seed}" / pair.name / "diagnosis.json") for pair in pairs for seed in seeds]


def _outcome(pair: Pair, seed: int, path: Path) -> Outcome:
    if not path.exists():
        return Outcome(pair.name, seed, pair.head.cause, None)
    found = read_json(path)
    verdict = found["verdict"]
    named = {"cause": verdict["cause"], "chance": NONE}.get(verdict["kind"], OPEN)
    return Outcome(
        pair.name,
        seed,
        pair.head.cause,
        named,
        candidates=tuple(cause["id"] for cause in found["causes"] if cause["status"] in ("named", "supported")),
        gap=found["gap"],
        premise=found["levels"][0]["status"],
        share=verdict["share"],
        sentence=verdict["sentence"],
    )


def exact(right: int, of: int) -> dict[str, Any]:
    """A proportion with its exact 95 % interval (Clopper and Pearson, Biometrika 26, 1934)."""
    if of == 0:
        return {"value": None, "low": None, "high": None, "count": 0, "of": 0}
    interval = binomtest(right, of).proportion_ci(method="exact")
    return {"value": right / of, "low": float(interval.low), "high": float(interval.high), "count": right, "of": of}


def document(pairs: Sequence[Pair], found: Sequence[Outcome]) -> dict[str, Any]:
    """What `study zoo --json` prints: `accuracy`, `false_alarms`, `confusion`, `pairs`, `runs`.

    `accuracy` counts pairs with a cause, by its name; `false_alarms` the null pairs for which a cause is named.
    `confusion` is cause → named → count. Runs that could not be made are listed, and in no count.
    """
    ran = [one for one in found if one.named is not None]
    planted = [one for one in ran if one.cause != NONE]
    null = [one for one in ran if one.cause == NONE]
    confusion: dict[str, dict[str, int]] = {}
    for one in ran:
        row = confusion.setdefault(one.cause, {})
        row[str(one.named)] = row.get(str(one.named), 0) + 1
    return {
        "format": FORMAT,
        "accuracy": exact(sum(one.right for one in planted), len(planted)),
        "false_alarms": exact(sum(one.named not in (NONE, OPEN) for one in null), len(null)),
        "confusion": confusion,
        "pairs": [
            {
                "name": pair.name,
                "cause": pair.head.cause,
                "description": pair.head.description,
                "right": sum(one.right for one in ran if one.pair == pair.name),
                "of": sum(one.pair == pair.name for one in ran),
            }
            for pair in pairs
        ],
        "runs": [{**asdict(one), "candidates": list(one.candidates), "right": one.right} for one in found],
        "provenance": provenance(),
    }
