"""The diagnosis's page in a browser: by keyboard, as a screen reader hears it, on paper; from disk, with no network."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from judge.diagnose.case_reader import read_case
from judge.diagnose.diagnose import diagnose_case, write

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium"),
]


@pytest.fixture
def page(pair: Any, make_record: Callable[..., dict[str, Any]]) -> Iterator[Any]:
    """The report of a pair whose recipes differ in one field, opened from disk in a window of 1,100 pixels."""
    api = pytest.importorskip("playwright.sync_api")
    runs = [
        *pair.seeds("a", lambda i: 0.9, run=make_record()),
        *pair.seeds("b", lambda i: 0.4, run=make_record(dropout=0.5), first=20),
    ]
    pair.judge(runs)
    case = read_case("a", "b", pair.folder)
    write(case, diagnose_case(case), pair.folder / "report")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1100, "height": 800})
        asked: list[str] = []
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto((pair.folder / "report" / "report.html").as_uri())
        yield opened
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        browser.close()


def test_a_screen_reader_hears_the_ladder_and_every_level(page: Any) -> None:
    heard = page.locator("main").aria_snapshot()
    for words in ("accounts for the gap", "cleared", "Are the base models loss-equivalent?"):
        assert words in heard
    levels = [int(node.evaluate("n => n.tagName.slice(1)")) for node in page.locator("h1, h2, h3, h4").all()]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), "a heading is skipped"
    for image in page.locator("svg[role=img], img").all():
        assert image.get_attribute("aria-label") or image.get_attribute("alt")
    for table in page.locator("table").all():
        assert table.locator("th[scope]").count() > 0
        assert (
            table.locator("caption").count()
            + bool(table.get_attribute("aria-label"))
            + bool(table.get_attribute("aria-labelledby"))
            >= 1
        )
    assert page.locator("html").get_attribute("lang") == "en"


def test_everything_is_within_reach_of_the_keyboard(page: Any) -> None:
    seen: list[str] = []
    for _ in range(400):
        page.keyboard.press("Tab")
        where = page.evaluate(
            "() => { const n = document.activeElement; return n === document.body ? '' : "
            "n.tagName + ' ' + (n.getAttribute('href') || n.id || n.type || '') }"
        )
        if not where and seen:
            break
        seen.append(where)
    assert seen[0].startswith("A #main"), "the first stop skips to the content"
    assert any("theme" in one for one in seen)
    for section in page.locator("nav a").all():
        assert f"A {section.get_attribute('href')}" in seen
    page.locator("#list button").first.focus()
    page.keyboard.press("Enter")
    assert "Item" in (page.locator("#detail").get_attribute("aria-label") or "")
    assert page.locator("#list button[aria-current=true]").count() == 1


def test_on_paper_nothing_is_cut_and_controls_are_gone(page: Any, tmp_path: Path) -> None:
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 794, "height": 1123})  # A4 at 96 dots an inch
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 794
    assert not page.locator("#theme").is_visible()
    assert not page.locator("#controls").is_visible()
    assert page.locator("section.answer").is_visible()
    paper = page.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) >= 1
