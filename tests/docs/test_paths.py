"""What the documentation names exists: files of the repository, and `make` targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = ("equiloss", "pretrain", "ift", "judge", "study", "tests", "benchmarks", "prompts", "studies", "docs")
PATH = re.compile(rf"(?<![\w/.-])((?:{'|'.join(FOLDERS)})/[\w/-]+\.(?:py|md|toml|j2|svg|png))\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_names_files_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    made = set(re.findall(r"<!-- file: (\S+) -->", text))  # what a guide adds
    named = set(PATH.findall(text)) - made - {path for path in PATH.findall(text) if "NAME" in path}
    assert {path for path in named if not (ROOT / path).exists()} == set()
    links = set(re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text))
    assert {link for link in links if not (page.parent / link).exists()} == set()


def test_the_pages_name_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"`make ([a-z-]+)", page.read_text())) <= targets, page
