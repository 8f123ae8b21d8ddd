"""The documentation is built without a warning, has a page for every room, and reads without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_pages_are_whole_and_ask_no_server_for_anything(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert built.returncode == 0, built.stderr
    pages = {path.relative_to(tmp_path / "site"): path.read_text() for path in (tmp_path / "site").rglob("*.html")}
    for package in ("equiloss", "pretrain", "ift", "judge", "study"):
        for path in (ROOT / package).glob("*/__init__.py"):
            if path.parent.name != "cli":
                assert Path("api", package, path.parent.name, "index.html") in pages
    assert "judge.scoring.ledger.Ledger" in pages[Path("api/judge/scoring/index.html")]
    assert "judge score" in pages[Path("commands/index.html")]
    for name, text in pages.items():
        loaded = re.findall(r"<(?:script|img|iframe)[^>]+src=\"(https?:[^\"]+)", text)
        loaded += re.findall(r"<link[^>]+rel=\"(?!canonical)[^>]+href=\"(https?:[^\"]+)", text)
        assert loaded == [], name
