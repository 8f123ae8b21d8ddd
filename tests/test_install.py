"""A wheel in a fresh environment finds its prompts and judges without torch."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = directory.glob("*.whl")
    return path


def results_file(directory: Path) -> Path:
    path = directory / "run1.jsonl"
    items = [("Name a colour.", "Red.", "Red."), ("What is 2 + 2?", "4", "5")]
    rows = [{"instruction": i, "input": "", "output": r, "model_response": o} for i, r, o in items]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_wheel_holds_the_packages_and_the_prompts_and_nothing_else(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "equiloss",
        "pretrain",
        "ift",
        "judge",
        "study",
        next(n for n in names if n.endswith("METADATA")).split("/")[0],
    }
    shipped = {name.removeprefix("equiloss/_prompts/") for name in names if name.startswith("equiloss/_prompts/")}
    here = {str(path.relative_to(ROOT / "prompts")) for path in (ROOT / "prompts").rglob("*") if path.is_file()}
    assert shipped == here
    assert {"judge/correctness.j2", "ift/alpaca.j2"} <= shipped


@pytest.mark.slow
def test_a_fresh_environment_judges_without_torch(wheel: Path, tmp_path: Path):
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "-c", str(ROOT / "constraints.txt")]
    installed = subprocess.run([*pip, str(wheel)], capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 1

    clean = {key: value for key, value in os.environ.items() if not key.startswith("OPENAI_")}
    clean.pop("PYTHONPATH", None)
    judged = subprocess.run(
        [environment / "bin" / "judge", "score", str(results_file(tmp_path)), "-o", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean,
    )
    assert judged.returncode == 0, judged.stderr
    verdicts = tmp_path / "run1.correctness.offline-reference.jsonl"
    values = [json.loads(line)["value"] for line in verdicts.read_text().splitlines()]
    assert len(values) == 2
    assert values[0] > values[1]
    trained = subprocess.run(
        [environment / "bin" / "pretrain", "run", "tiny", "--data", "x"], capture_output=True, text=True
    )
    assert trained.returncode == 2
    assert "pip install '.[train]'" in trained.stderr
