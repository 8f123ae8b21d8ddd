"""The workflow files of docs/gate.md: their steps are run as a runner would, with a simulated judge as the endpoint."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from equiloss.records.gate import GateLog
from equiloss.records.noise import NoiseComponent, NoiseLedger
from equiloss.statistics.estimate import Estimate

PAGE = Path(__file__).parents[2] / "docs" / "gate.md"
ANSWERS = """
import json, random, sys
for name, rate in zip(sys.argv[1::2], map(float, sys.argv[2::2])):
    with open(f"results/{name}.jsonl", "w") as f:
        for i in range(60):
            right = random.Random(i).random() < rate
            row = {"instruction": f"Name fruit {i}.", "reference": f"fruit number {i}", "generator": name}
            f.write(json.dumps(row | {"output": f"fruit number {i}" if right else "I do not know."}) + "\\n")
"""


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Runs a workflow's steps, some words of them replaced; gives the exit code of the first that fails, or 0."""
    (tmp_path / "results").mkdir()
    (tmp_path / "answers.py").write_text(ANSWERS)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("judge", "ift"):
        path = programs / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {name} "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    command = [sys.executable, "-m", "judge", "simulate", "--seconds", "300", "--model", "gpt-4.1-mini:noise=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        url = server.stdout.readline().strip()
        environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OPENAI_BASE_URL": url}
        environment |= {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "OPENAI_API_KEY": "k", "SHA": "c0ffee"}
        environment["PYTHONPATH"] = str(PAGE.parents[1])

        def run(workflow: str, replaced: Mapping[str, str]) -> int:
            [job] = yaml.safe_load(workflow)["jobs"].values()
            for step in job["steps"]:
                script = str(step.get("run", ""))
                for old, new in replaced.items():
                    script = script.replace(old, new)
                script = script.replace("${{ github.run_id }}", "7")
                assert "${{" not in script
                code = subprocess.run(
                    ["bash", "-e", "-c", script], cwd=tmp_path, env=environment, timeout=600, check=False
                ).returncode
                if code:
                    return code
            return 0

        yield run
        server.terminate()


def workflows() -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("rate", "code"), [("1", 0), ("0.2", 5)])
def test_a_pull_request_is_gated(runner, tmp_path, rate, code):
    made = f'"{sys.executable}" answers.py base 0.5 new-$SHA {rate}'
    assert runner(workflows()[0], {"pip install .": "true", "make answers": made}) == code
    assert (tmp_path / "gate.xml").read_text().count("<failure") == (1 if code else 0)
    assert "new-c0ffee against base" in (tmp_path / "summary.md").read_text()
    log = GateLog.model_validate_json((tmp_path / "results" / "pull-request.json").read_text())
    assert [(test.b, len(test.looks)) for test in log.tests] == [("new-c0ffee", 1)]


def test_a_search_keeps_what_is_better_and_goes_on_from_there(runner, tmp_path):
    for folder in ("state", "recipes"):
        (tmp_path / folder).mkdir()
    (tmp_path / "state" / "baseline").write_text("base\n")
    (tmp_path / "state" / "noise.json").write_text(_ledger())
    (tmp_path / "propose.py").write_text("print('lr = 1e-4')\n")
    answers = f'"{sys.executable}" answers.py'
    subprocess.run(["bash", "-ec", f"{answers} base.s1 0.1 base.s2 0.1 base.s3 0.1"], cwd=tmp_path, check=True)
    steps = {
        "ift run": f'rate=0.$(( 10 - number )); {answers} "$name.s1" $rate "$name.s2" $rate "$name.s3" $rate; : ',
        "python propose.py": f'"{sys.executable}" propose.py',
        "seq 1 20": "seq 1 2",
        "git add": "true",
        "git commit": "true",
        "git push": "true",
    }
    (tmp_path / "judged.sh").write_text("judge score results/base.s*.jsonl --judge gpt-4.1-mini --layout pointwise\n")
    first = yaml.safe_load(workflows()[1])
    first["jobs"]["search"]["steps"].insert(0, {"run": "bash judged.sh"})
    assert runner(yaml.safe_dump(first), steps) == 0
    assert (tmp_path / "state" / "baseline").read_text().strip() == "candidate-7-1"
    log = GateLog.model_validate_json((tmp_path / "state" / "loop.json").read_text())
    assert [(test.a, test.place) for test in log.tests] == [("base", 1), ("candidate-7-1", 2)]


def _ledger() -> str:
    components = [NoiseComponent(level="fine_tuning_seed", sd=Estimate(value=1.0), df=30)]
    return NoiseLedger(components=components).model_dump_json()
