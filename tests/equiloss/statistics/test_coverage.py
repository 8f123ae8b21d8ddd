"""A short run of benchmarks/coverage.py: intervals of every kind hold the truth about as often as they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARK = Path(__file__).resolve().parents[3] / "benchmarks/coverage.py"


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    spec = importlib.util.spec_from_file_location("coverage_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = benchmark  # where dataclasses look for it
    spec.loader.exec_module(benchmark)
    for index, (name, _, _) in enumerate(benchmark.ROWS):
        [cell] = benchmark.row(index, 40, [(3, 3)])
        assert 0.88 <= np.mean(cell) <= 1.0, name  # 160 draws: 95 % less four standard errors
