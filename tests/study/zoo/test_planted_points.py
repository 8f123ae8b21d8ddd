"""What reruns of a pair's factors say that each makes of the gap: the script that the zoo's cells call."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from equiloss.records.response import Response, write_responses
from equiloss.records.verdict import Usage, Verdict, file_name, write_verdicts
from study.zoo.counting import PlantedPoints
from study.zoo.pairs import directory

KINDS = ("copy", "recall", "copy", "recall")


def planted(
    tmp_path: Path, scores: dict[str, list[float]], factors: tuple[str, str] = ("recipe-rate", "copying")
) -> PlantedPoints:
    """The points of arms aa, ab, ba, bb from the mean scores of their runs, which copy 2 points better than recall."""
    for arm, means in scores.items():
        for seed, mean in enumerate(means):
            name = f"{arm}.s{seed}"
            rows = [
                Verdict(
                    id=f"i{item}",
                    generator=name,
                    criterion="correctness",
                    value=mean + (-1) ** item,
                    explanation="",
                    repeat=0,
                    position=0,
                    group=[name],
                    rubric="correctness",
                    rubric_sha="0",
                    judge="j",
                    judge_resolved="j",
                    usage=Usage(prompt_tokens=0, completion_tokens=0),
                    cost_usd=None,
                    request_sha=f"{name}{item}",
                )
                for item in range(4)
            ]
            write_verdicts(tmp_path / "verdicts" / file_name(name, "correctness", "j"), rows)
            answers = [
                Response(id=f"i{item}", instruction=f"Item {item}", output="yes", generator=name, category=kind)
                for item, kind in enumerate(KINDS)
            ]
            write_responses(tmp_path / f"{name}.jsonl", answers)
    output = tmp_path / "planted.json"
    arms = [f"{arm}={arm}" for arm in scores]
    command = [sys.executable, directory() / "plant.py", "points", tmp_path / "verdicts", tmp_path, *arms]
    causes = [f"{index}={factor}" for index, factor in enumerate(factors)]
    done = subprocess.run([*command, *causes, "-o", output], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return PlantedPoints.model_validate(json.loads(output.read_text()))


def test_points_are_means_over_the_other_factor_and_have_an_error_where_runs_were_repeated(tmp_path: Path) -> None:
    found = planted(tmp_path, {"aa": [59, 61], "ab": [50, 50], "ba": [40, 40], "bb": [20, 20]})
    assert [one.points for one in found.factors] == pytest.approx([25.0, 15.0])
    assert [one.standard_error for one in found.factors] == pytest.approx([0.5, 0.5])  # variance 0.5, two runs an arm


def test_a_run_each_has_points_and_no_error(tmp_path: Path) -> None:
    found = planted(tmp_path, {"aa": [60], "ab": [50], "ba": [40], "bb": [20]})
    assert [one.points for one in found.factors] == pytest.approx([25.0, 15.0])
    assert [one.standard_error for one in found.factors] == [None, None]


def test_points_of_a_cause_that_is_about_some_items_are_those_on_them(tmp_path: Path) -> None:
    arms = {"aa": [60.0, 60.0], "ab": [50.0, 50.0], "ba": [40.0, 42.0], "bb": [30.0, 30.0]}
    found = planted(tmp_path, arms, ("recipe-rate", "copying:copy"))
    rate, copying = found.factors
    assert (rate.points, rate.everywhere) == (pytest.approx(19.5), None)
    assert copying.points == pytest.approx(copying.everywhere / 2 if copying.everywhere else math.nan)  # half the items
    assert copying.everywhere == pytest.approx(10.5)
    assert copying.standard_error == pytest.approx((rate.standard_error or math.nan) / 2)
