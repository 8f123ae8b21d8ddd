"""`benchmarks/gpu.sh` works, tried on the CPU at tiny shapes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_the_script_for_a_gpu_runs_on_the_cpu(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    command = ["bash", "benchmarks/gpu.sh", "--device", "cpu", "--steps", "2"]
    environment = {**os.environ, "OUT": str(tmp_path), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert run.returncode == 0, run.stdout[-2000:]
    figures = json.loads((tmp_path / "pretrain.json").read_text())["shapes"]["tiny"]["best"]
    assert {name.partition(",")[0] for name in figures} == {"equiloss", "nanogpt"}
    assert all(row["tokens_per_s"] > 0 for row in figures.values())
    best = json.loads((tmp_path / "ift.json").read_text())["best"]
    assert {"equiloss, bf16", "transformers, bf16", "equiloss-asked, bf16", "transformers-asked, bf16"} <= best.keys()


def test_an_unknown_option_is_refused() -> None:
    run = subprocess.run(["bash", "benchmarks/gpu.sh", "--gpu", "1"], capture_output=True, text=True, cwd=ROOT)
    assert (run.returncode, run.stderr) == (2, "error: --gpu is no option: --device cuda|cpu, --steps N\n")
