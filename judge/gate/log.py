"""The log of looks: whether data have grown since the last look, and what the next look may say."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equiloss.errors import InputError
from equiloss.files import write_json
from equiloss.records.file_record import read
from equiloss.records.gate import HINT, About, GateLog, GateLook, GateTest
from equiloss.statistics.sequential import LOOP_HORIZON, loop_confidence
from judge.data.scores import Scores

_DIGITS = 6
_NONE = "-" * _DIGITS


@dataclass(frozen=True)
class GateData:
    """Everything that a look rests on: the items, and the scores by run and repeat as `GateTest.cells` has them."""

    ids: tuple[str, ...]
    cells: dict[str, str]

    @classmethod
    def of(cls, scores: Scores) -> GateData:
        """The data of these scores."""
        cells = {
            f"{generator}/{repeat}": "".join(
                _NONE if np.isnan(value) else hashlib.sha256(repr(round(value, 6)).encode()).hexdigest()[:_DIGITS]
                for value in scores.values[row, :, turn].tolist()
            )
            for row, generator in enumerate(scores.generators)
            for turn, repeat in enumerate(scores.repeats)
        }
        return cls(scores.ids, cells)

    def changed_since(self, test: GateTest) -> str:
        """What of the data of a test's last look is not there as it was, in words; empty where nothing is."""
        place = {id: index * _DIGITS for index, id in enumerate(self.ids)}
        for name, before in test.cells.items():
            run, now = name.rpartition("/")[0], self.cells.get(name)
            for index, id in enumerate(test.ids):
                old = before[index * _DIGITS : (index + 1) * _DIGITS]
                if old == _NONE:
                    continue
                new = _NONE if now is None or id not in place else now[place[id] : place[id] + _DIGITS]
                if new != old:
                    what = "gone since" if new == _NONE else "another than at"
                    return f"the score of {run} on item {id} is {what} look {len(test.looks)}"
        return ""

    def is_that_of(self, test: GateTest) -> bool:
        """Whether the data are those of a test's last look, neither more nor less."""
        return set(self.ids) == set(test.ids) and set(self.cells) == set(test.cells) and _filled(self) == _filled(test)


def _filled(data: GateData | GateTest) -> int:
    return sum(len(row) - row.count("-") for row in data.cells.values())


@dataclass(frozen=True)
class LogKey:
    """Which test of a log is meant."""

    a: str
    b: str
    about: About
    rubric: str
    judge: str
    criterion: str

    def names(self, test: GateTest) -> bool:
        """Whether a test is the one that is meant."""
        return all(getattr(test, name) == value for name, value in self.__dict__.items())


@contextmanager
def opened(path: Path, confidence: float, *, loop: bool) -> Generator[GateLog]:
    """The log at `path`, or a new one, while no other process reads or writes logs in its folder.

    Raises: InputError where the file holds something else, or its tests have another confidence, or another purpose.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        fresh = GateLog(confidence=confidence, horizon=LOOP_HORIZON if loop else None)
        log = read(GateLog, path, HINT) if path.exists() else fresh
        if (log.horizon is not None) != loop:
            kind = "the looks at one pair" if loop else "a loop"
            raise InputError(f"{path}: is the log of {kind}", "name another file" if loop else "give it as --loop")
        if log.confidence != confidence:
            raise InputError(
                f"{path}: its tests share a confidence of {log.confidence:g}, not {confidence:g}",
                f"give --confidence {log.confidence:g}, or another log",
            )
        yield log
    finally:
        os.close(folder)


def find(log: GateLog, key: LogKey) -> GateTest:
    """The test of a log that is meant, or a new one, which takes the log's next place."""
    new = GateTest(**key.__dict__, place=1 + max((test.place for test in log.tests), default=0))
    return next((test for test in log.tests if key.names(test)), new)


def confidence_of(log: GateLog, test: GateTest) -> float:
    """The confidence that all looks of a test have together."""
    return log.confidence if log.horizon is None else loop_confidence(test.place, log.confidence, log.horizon)


def write_look(path: Path, log: GateLog, test: GateTest, look: GateLook, data: GateData) -> GateTest:
    """Add a look to a test, with the data that it was at; returns the test with it."""
    after = test.model_copy(update={"looks": (*test.looks, look), "ids": data.ids, "cells": data.cells})
    others = [after if one.place == test.place else one for one in log.tests]
    tests = tuple(others if after in others else [*others, after])
    write_json(path, log.model_copy(update={"tests": tests}).model_dump(mode="json"))
    return after
