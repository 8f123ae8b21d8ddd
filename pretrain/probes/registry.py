"""The probes by name: one module of this folder each, found by being there."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from equiloss.records.probe import ProbeResult
from pretrain import probes as folder
from pretrain.probes.subject import Subject

Measuring = Callable[[Subject], ProbeResult]
"""From a base model to its measures and whatever else the record should keep of the probe."""


@dataclass(frozen=True)
class Probe:
    """What measures one thing that a base model's loss does not show."""

    name: str
    run: Measuring
    only_when_named: bool
    """Too slow to be run unless `--only` names it."""


_PROBES: dict[str, Probe] = {}


def probe(name: str, *, only_when_named: bool = False) -> Callable[[Measuring], Measuring]:
    """Register a function as the probe of this name (see docs/guides/probe.md)."""

    def register(run: Measuring) -> Measuring:
        _PROBES[name] = Probe(name, run, only_when_named)
        return run

    return register


def probes() -> dict[str, Probe]:
    """All probes by name, in alphabetical order."""
    for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
        importlib.import_module(module.name)
    return dict(sorted(_PROBES.items()))
