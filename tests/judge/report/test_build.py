"""report.json and report.html: what is in them, that data stays data, and that the page works in a browser."""

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import Markup
from typer.testing import CliRunner

from equiloss.errors import InputError
from judge.cli.main import program
from judge.data.verdicts import load_judged
from judge.report import build, items
from judge.report.sections import Rung, Section

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'></script>\u2028"
    '</textarea>&amp; "{{ 7*7 }}"'
)


@pytest.fixture
def report(write_run, tmp_path) -> Path:
    """A page about 60 items, two models, two categories, a failure and hostile text in every place."""
    kinds = ["copy", "facts <b>"] * 30
    asked = [f"Question {i}?" for i in range(59)] + [f"Last {HOSTILE}"]
    first = [float(i) for i in range(60)]
    second: list[float | None] = [30.0] * 60
    second[59] = None
    outputs = [f"answer {i}" for i in range(59)] + [HOSTILE]
    a = write_run("a", [first], categories=kinds, outputs=outputs, instructions=asked, explanation=f"words {HOSTILE}")
    b = write_run("b", [second], categories=kinds, outputs=[*outputs[:-1], ""], instructions=asked)
    made = build.build(load_judged([a, b]))
    _, page = build.write(made, tmp_path / "out")
    return page


class Tags(HTMLParser):
    """Collects tags, and the text of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_answers_never_become_markup(report):
    text = report.read_text()
    parser = Tags()
    parser.feed(text)
    assert [attrs.get("type") for tag, attrs in parser.tags if tag == "script"] == ["application/json", None]
    assert not [attrs for tag, attrs in parser.tags if tag == "img" or any(name.startswith("on") for name in attrs)]
    assert "\u2028" not in text
    assert "{{" not in text.split('id="data"')[0]
    policy = next(attrs["content"] for tag, attrs in parser.tags if attrs.get("http-equiv"))
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_page_loads_nothing(report):
    parser = Tags()
    parser.feed(report.read_text())
    links = [value for _, attrs in parser.tags for name, value in attrs.items() if name in ("src", "href") and value]
    assert links
    assert all(link.startswith(("#", "data:,")) for link in links)
    assert "url(" not in report.read_text().split("</style>")[0]


def test_every_picture_and_control_has_a_name(report):
    parser = Tags()
    parser.feed(report.read_text())
    for tag, attrs in parser.tags:
        if tag == "svg" and attrs.get("class") in ("plot", "histogram", "shares"):
            assert attrs.get("aria-label")
        if tag == "section" and "answer" not in (attrs.get("class") or ""):
            assert attrs.get("aria-labelledby")
    assert {"main", "nav", "header", "h1"} <= {tag for tag, _ in parser.tags}


def test_embedded_json_comes_back_as_it_was():
    document = {"text": HOSTILE + "\u2029é\U0001f600"}
    text = str(items.embed(document))
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == document


def test_the_document_has_the_answer_the_scores_and_where_they_come_from(report):
    document = json.loads(report.with_name("report.json").read_text())
    assert document["schema"] == "equiloss.report.v1"
    assert document["answer"].startswith("These answers of b score")
    assert set(document["sections"]) == {"scores", "differences", "categories"}
    assert len(document["items"]) == 60
    assert document["items"][59]["scores"] == {"a": 59.0, "b": None}
    assert {Path(one["path"]).name for one in document["provenance"]["files"]} == {
        "a.jsonl",
        "b.jsonl",
        "a.correctness.gpt-4.jsonl",
        "b.correctness.gpt-4.jsonl",
        "b.correctness.gpt-4.failures.jsonl",
    }
    assert document["comparison"]["n_items"] == 59


def test_a_diagnosis_adds_its_answer_its_ladder_and_its_sections(write_run, tmp_path):
    judged = load_judged([write_run("a", [[1.0, 5.0]]), write_run("b", [[2.0, 4.0]])])
    made = build.build(
        judged,
        answer="The decoding accounts for it <b>.",
        question="Why?",
        ladder=[
            Rung(0, "Premise", "cleared", "difference 0.001 nats", "premise"),
            Rung(3, "Decoding", "accounts", "94 %"),
        ],
        sections=[Section("premise", "Premise", Markup("<p>equal</p>"), {"x": 1})],
    )
    text = build.html(made)
    assert "The decoding accounts for it &lt;b&gt;." in text
    assert '<a href="#premise">Premise</a>' in text
    assert "accounts for the gap" in text
    assert "These answers of" in text  # the headline stays, below
    assert made.document.ladder[1].outcome == "accounts"
    assert list(made.document.sections) == ["scores", "premise", "differences"]


def test_the_command_writes_both_files_and_says_where(write_run, tmp_path):
    a = write_run("a", [[1.0, 2.0]])
    result = CliRunner().invoke(program, ["report", str(a), "-o", str(tmp_path / "r")])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.split() == [str(tmp_path / "r" / "report.html"), str(tmp_path / "r" / "report.json")]
    assert "a scores 1.5 of 100" not in result.stderr  # the rubric's text is unknown: the scale is that of the scores
    assert "a scores 1.500 on the scale from 1 to 2" in result.stderr
    with pytest.raises(InputError, match="is not a directory"):
        build.write(build.build(load_judged([a])), a)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")
def test_the_page_in_a_browser(report):
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
        problems: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report.as_uri())
        rows = page.locator("#list button")
        assert page.locator("#count").inner_text() == "60 items"
        assert rows.count() == 60

        # A script in an answer is visible and dead.
        page.keyboard.press("/")
        page.keyboard.type("onerror textarea last")
        expect(page.locator("#count")).to_have_text("1 of 60 items")
        shown = page.locator(".answer-text").first.inner_text()
        assert "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>" in shown
        assert page.evaluate("window.hacked") is None
        assert page.locator("#detail mark").count() > 0
        assert "(empty answer)" in page.locator("#detail").inner_text()
        assert "no score: unparsable" in page.locator("#detail").inner_text()

        # Filters, sorting and keys.
        page.keyboard.press("Escape")
        assert page.locator("#count").inner_text() == "60 items"
        page.select_option("#category", label="copy")
        assert rows.count() == 30
        page.select_option("#category", label="all")
        page.select_option("#outcome", label="b higher")
        assert page.locator("#count").inner_text() == "30 of 60 items"
        page.select_option("#outcome", label="a score is missing")
        assert rows.count() == 1
        page.select_option("#outcome", label="all items")
        page.select_option("#sort", label="a furthest ahead")
        assert "Question 58?" in rows.first.inner_text()
        rows.first.focus()
        page.keyboard.press("ArrowDown")
        assert "Question 57?" in page.locator("#detail").inner_text()
        assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "true"
        page.locator("#detail").focus()
        page.keyboard.press("k")
        assert "Question 58?" in page.locator("#detail").inner_text()

        # Themes: the system's, then light, then dark.
        paper = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(paper)
        page.locator("#theme").click()
        page.locator("#theme").click()
        assert page.evaluate(paper) != light
        page.set_viewport_size({"width": 360, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert problems == []
        assert requests == [report.as_uri()]
        browser.close()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")
def test_items_of_a_large_report_are_unpacked_as_they_are_looked_at(write_run, tmp_path, monkeypatch):
    from playwright.sync_api import expect, sync_playwright

    monkeypatch.setattr(items, "PLAIN", 10)
    monkeypatch.setattr(items, "CHUNK", 7)
    monkeypatch.setenv("SOME_API_KEY", "planted-secret")
    judged = load_judged([write_run("a", [[float(k) for k in range(40)]])])
    responses = {id: one.model_copy(update={"output": "planted-secret é"}) for id, one in judged[0].responses.items()}
    report = build.build([replace(judged[0], responses=responses)])
    assert isinstance(report.items["index"], str)
    page_path, page_text = tmp_path / "report.html", build.html(report)
    page_path.write_text(page_text)
    assert "planted-secret" not in page_text
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(page_path.as_uri())
        expect(page.locator("#count")).to_have_text("40 items")
        expect(page.locator("#list button")).to_have_count(40)
        expect(page.locator(".answer-text").first).to_have_text("*** é")
        page.fill("#search", "39?")
        expect(page.locator("#count")).to_have_text("1 of 40 items")
        expect(page.locator("#detail")).to_contain_text("Question 39?")
        page.add_init_script("delete window.DecompressionStream")
        page.reload()
        expect(page.locator("#packed")).to_be_visible()
        assert problems == []
        browser.close()
