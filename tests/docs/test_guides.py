"""Each guide works when it is followed to the letter, in a copy of the repository.

A comment before a block says what it is: `<!-- file: PATH -->` is written to PATH, `<!-- patch: PATH -->` is applied
(its lines without a `+` must stand in PATH once, in a row), and of `<!-- run -->` every line after `$ ` is run, the
lines below it being part of what it prints. What a guide asks a newcomer to change is counted: at most three files.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
PARTS = ("equiloss", "pretrain", "ift", "judge", "study", "prompts", "studies", "tests", "pyproject.toml")
PROGRAMS = ("pretrain", "ift", "judge", "study")
BLOCK = re.compile(r"<!-- (file|patch|run)(?:: (\S+))? -->\n```\w+\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of what a newcomer would have cloned."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, tmp_path / part)
    return tmp_path


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_the_guide_works_as_it_stands(guide: Path, repository: Path) -> None:
    if guide.stem != "rubric":
        pytest.importorskip("torch")
    changed: set[str] = set()
    ran = 0
    for kind, name, text in BLOCK.findall(guide.read_text(encoding="utf-8")):
        if kind == "run":
            for command, expected in commands(text):
                printed = run(command, repository)
                ran += 1
                for line in expected:
                    assert line in printed, f"{command} printed\n{printed}\nand not: {line}"
            continue
        if kind == "patch":
            patch(repository / name, text)
        else:
            assert not (repository / name).exists(), name
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            (repository / name).write_text(text, encoding="utf-8")
        changed |= {name} if name.split("/")[0] in PARTS else set()
    assert ran
    assert 1 <= len(changed) <= 3, changed


def patch(path: Path, diff: str) -> None:
    """Apply a block of a diff at the one place where its old lines stand."""
    lines = diff.splitlines()
    old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"the lines of the patch stand {text.count(old)} times in {path}:\n{old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a block with the lines that it should print."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *expected = part.splitlines()
        yield command, [line.strip() for line in expected if line.strip()]


def run(command: str, directory: Path) -> str:
    """Run a command in the copy, with the copy's programs; what it prints. It must succeed."""
    name, *arguments = shlex.split(command)
    start = {"python": [sys.executable], **{one: [sys.executable, "-m", one] for one in PROGRAMS}}.get(name, [name])
    environment = {**os.environ, "PYTHONPATH": str(directory), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*start, *arguments], cwd=directory, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return f"{done.stdout}\n{done.stderr}"
