"""Contenders measured side by side: in turns, best round of each, ratios against what was wanted. Run by the others."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from equiloss.files import read_json, write_json
from equiloss.provenance import provenance

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Target:
    """A ratio to reach: the rate of `ours` over the best of `peers`."""

    ours: str
    peers: tuple[str, ...]
    wanted: float


Targets = Mapping[str, Mapping[str, Target]]
"""By shape, then by the ratio's name."""


def parser(doc: str | None, shapes: Sequence[str], contenders: Sequence[str], rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has. A long one can be run in pieces: by shape, by contender, with --add."""
    made = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
    made.add_argument("--shapes", nargs="+", default=list(shapes), choices=shapes)
    made.add_argument("--contenders", nargs="+", default=list(contenders), choices=contenders, metavar="NAME")
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--threads", type=int, help="CPU threads")
    made.add_argument(
        "--clock",
        choices=sorted(CLOCKS),
        default="wall",
        help="cpu: CPU seconds of the process, for a machine that others use too (best with --threads 1)",
    )
    made.add_argument("--json", type=Path, help="write the figures here")
    made.add_argument("--add", action="store_true", help="join the figures to those that the --json file has already")
    return made


def take_turns(shape: str, contenders: Mapping[str, Callable[[], float]], rounds: int, unit: str) -> dict[str, Any]:
    """Every round of every contender, by name."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            rates[name].append(run())
            print(f"{shape}: {name}: {rates[name][-1]:.2f} {unit}", file=sys.stderr, flush=True)
    return {"rounds": rates}


def report(
    arguments: argparse.Namespace, shapes: dict[str, dict[str, Any]], targets: Targets, unit: str, about: dict[str, Any]
) -> None:
    """Print each contender's best round and the ratios; write the figures where --json says."""
    if arguments.add and arguments.json and arguments.json.exists():
        for shape, known in read_json(arguments.json)["shapes"].items():
            rounds = shapes.setdefault(shape, {"rounds": {}})["rounds"]
            for name, rates in known["rounds"].items():
                rounds[name] = [*rates, *rounds.get(name, [])]
            shapes[shape] = {**known, **shapes[shape]}
    for shape, found in shapes.items():
        best = found["best"] = {name: max(rates) for name, rates in found["rounds"].items()}
        for name, rate in best.items():
            print(f"{shape:12} {name:34} {rate:10.2f} {unit}")
        found["ratios"] = {}
        for name, target in targets[shape].items():
            peers = [best[peer] for peer in target.peers if peer in best]
            if target.ours not in best or not peers:
                continue
            ratio = found["ratios"][name] = best[target.ours] / max(peers)
            verdict = "yes" if ratio >= target.wanted else "NO"
            print(f"{shape:12} {ratio:.2f} x {name} (wanted {target.wanted}: {verdict})")
    document = {
        "clock": arguments.clock,
        "threads": torch.get_num_threads(),
        **about,
        "unit": unit,
        "wanted": {shape: {name: one.wanted for name, one in targets[shape].items()} for shape in shapes},
        "provenance": provenance().model_dump(),
        "shapes": shapes,
    }
    if arguments.json:
        write_json(arguments.json, document)
    else:
        print(json.dumps({shape: found["ratios"] for shape, found in shapes.items()}))
