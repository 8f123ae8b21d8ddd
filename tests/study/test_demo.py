"""The demo study as a whole, in a tiny world and with few steps: every cell works, and it ends with an answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from study import spec

DEMO = Path(__file__).resolve().parents[2] / "studies" / "demo.toml"


def test_the_riddle_is_the_demo_in_a_larger_world_with_more_seeds() -> None:
    demo, riddle = (spec.read(DEMO.with_name(name)) for name in ("demo.toml", "riddle.toml"))
    assert [cell.name for cell in demo.cells] == [cell.name for cell in riddle.cells]
    commands = [{cell.name: cell.command for cell in study.cells} for study in (demo, riddle)]
    assert "world:riddle" in commands[1]["data-diverse"]
    for name in ("ift-diverse", "explain"):
        assert "--seeds 2" in commands[0][name]
        assert "--seeds 3" in commands[1][name]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_demo_runs_to_its_report(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "study",
        "run",
        str(DEMO),
        "-o",
        "demo",
        "--set",
        "world=tiny",
        "--set",
        "steps=30",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.rstrip().splitlines()
    assert lines[-1] == "demo/report/report.html"
    assert any(line.startswith("Answer:") for line in lines)
    tried = json.loads((tmp_path / "demo/results/diverse.vs.repeated.explain.json").read_text(encoding="utf-8"))
    assert [one["cause"] for one in tried["tried"]] == ["base-data"]
    report = json.loads((tmp_path / "demo/report/report.json").read_text(encoding="utf-8"))
    assert report
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0
    assert "starts" not in again.stderr


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_pair_of_the_zoo_is_made_and_diagnosed(tmp_path: Path) -> None:
    sets = [f"--set={one}" for one in ("world=tiny", "steps=30", "runs=[1,2]")]
    command = [sys.executable, "-m", "study", "zoo", "--pairs", "null-copy", *sets, "-o", "zoo", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (0, 3), done.stderr
    document = json.loads(done.stdout)
    assert document["runs"][0]["named"] == "chance"
    assert (tmp_path / "zoo" / "zoo.html").exists()
