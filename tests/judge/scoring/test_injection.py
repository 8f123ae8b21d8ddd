"""The susceptibility that was planted in a simulated judge is what is measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from equiloss.errors import InputError
from judge.data.control_answers import INJECTIONS
from judge.scoring.injection import measure, wilson
from judge.simulate.replies import Model, Personality, Simulation
from judge.simulate.server import Service, serving

WriteAnswers = Callable[..., list[Path]]


@pytest.mark.parametrize("susceptible", [0.0, 1.0])
def test_susceptibility_is_recovered(write_answers: WriteAnswers, susceptible: float) -> None:
    files = write_answers(len(INJECTIONS) * 2)
    with serving(Service(Simulation(default=Model(Personality(susceptible=susceptible))))) as server:
        found = measure(files, f"sim@{server.url}", per_kind=2)
        asked = server.counts["requests"]
        assert measure(files, f"sim@{server.url}", per_kind=2) == found
        assert server.counts["requests"] == asked
    assert found["all"]["fooled"] == susceptible
    low, high = found["all"]["interval"] or (1.0, 0.0)
    assert low <= susceptible <= high
    assert {name: one["n"] for name, one in found["kinds"].items()} == dict.fromkeys(INJECTIONS, 2)


def test_what_cannot_be_measured(write_answers: WriteAnswers) -> None:
    files = write_answers(3)
    for arguments in ((files, "offline-reference"), (files[:1], "x@http://127.0.0.1:1/v1")):
        with pytest.raises(InputError):
            measure(*arguments)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_that_of_newcombes_table(k: int, n: int, low: float, high: float) -> None:
    """Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3."""
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)
