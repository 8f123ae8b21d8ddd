"""The workflow is valid, runs commands that exist, and tests every Python that the package says it supports."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def test_the_workflow_runs_what_exists():
    steps = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert {".ci/run", "make wheel"} <= set(commands)
    for command in commands:
        name, *arguments = command.split()
        if name == "make":
            assert arguments[0] in TARGETS, command
        else:
            assert os.access(ROOT / name, os.X_OK), command
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
    assert WORKFLOW[True].keys() == {"push", "pull_request"}  # YAML 1.1 reads the key `on` as true


def test_ci_runs_targets_that_exist_and_builds_the_documentation():
    script = (ROOT / ".ci" / "run").read_text()
    called = re.findall(r"^make ([a-z-]+)", script, flags=re.MULTILINE)
    assert {"check", "test", "test-jax", "test-wheel", "docs", "demo"} == set(called) <= TARGETS


def test_every_supported_python_is_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    supported = [name.rpartition(" ")[2] for name in project["classifiers"] if re.search(r":: 3\.\d+$", name)]
    assert WORKFLOW["jobs"]["tests"]["strategy"]["matrix"]["python"] == supported


def test_the_makefile_has_a_virtual_environment_for_each_python(tmp_path: Path):
    import subprocess
    import sys

    def environment(*arguments: str) -> str:
        command = ["make", "-n", "-B", "check", *arguments]
        clean = {key: value for key, value in os.environ.items() if key not in ("PYTHON", "MAKEFLAGS")}
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=clean, check=True).stdout
        return re.findall(r"^(\S+)/bin/ruff check", shown, flags=re.MULTILINE)[0]

    assert environment() == ".venv"
    assert environment(f"PYTHON={sys.executable}") == f".venv-{sys.version_info.major}.{sys.version_info.minor}"
