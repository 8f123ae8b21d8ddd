"""The spreads that studies/stand-in compares, on scores whose squares are known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import f

from equiloss.records.verdict import Verdict, file_name, write_verdicts
from study.zoo.pairs import directory

SPREAD = directory().parent / "stand-in" / "spread.py"


def test_ratio_of_the_two_spreads_and_its_interval(tmp_path: Path) -> None:
    scores = {  # of the states, of the last weights, and of these once more
        "cosine-1": {"1700": 48.0, "1800": 52.0, "1900": 50.0, "last-4": 50.0, "last-5": 52.0},
        "cosine-2": {"1700": 61.0, "1800": 59.0, "1900": 60.0, "last-4": 60.0, "last-5": 58.0},
        "cosine-3": {"1700": 55.0, "1800": 55.0, "1900": 55.0, "last-4": 55.0, "last-5": 55.0},
    }
    for run, own in scores.items():
        for which, score in own.items():
            name = f"{run}-{which}"
            judge = {"judge": "offline", "judge_resolved": "offline"}
            of: dict[str, Any] = {**judge, "rubric": "correctness", "rubric_sha": "0"}
            verdicts = [
                Verdict(id=item, generator=name, criterion="correctness", value=score + by, request_sha=item, **of)
                for item, by in (("x", -1.0), ("y", 1.0))
            ]
            write_verdicts(tmp_path / file_name(name, "correctness", "offline"), verdicts)
    run = subprocess.run([sys.executable, SPREAD, "compare", tmp_path], capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert found["cosine"] == found["all"]
    told = found["all"]
    inside, across, tuning = (8 + 2 + 0) / 9, 25.0, (2 + 2 + 0) / 3
    assert told["degrees_of_freedom"] == {"checkpoints": 9, "runs": 2, "fine_tunings": 3}
    assert told["sd_of_runs"] == pytest.approx(across**0.5)
    assert told["sd_of_fine_tunings"] == pytest.approx(tuning**0.5)
    assert told["ratio"] == pytest.approx((inside / across) ** 0.5)
    assert told["base_ratio"] is None  # the checkpoints spread less than fine-tunings of one do
    # The interval: a ratio of variances at either end would be found so far off one time in forty.
    assert f.sf((told["ratio"] / told["low"]) ** 2, 9, 2) == pytest.approx(0.025)
    assert f.cdf((told["ratio"] / told["high"]) ** 2, 9, 2) == pytest.approx(0.025)
