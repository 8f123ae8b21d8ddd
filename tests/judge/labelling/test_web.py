"""Rating in the local page: blind, kept at once, refused off the scale or without the secret, and gone by itself."""

import json
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from judge import rubrics
from judge.data.verdicts import load_judged
from judge.labelling.label import LabellingSession, read_labels, sample
from judge.labelling.web import serve

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture
def session(write_run, tmp_path):
    outputs = ["First <b>answer</b>.", "Second answer.", "Third answer."]
    judged = load_judged([write_run("secret-model", [[1.0, 2.0, 3.0]], outputs=outputs)])
    return LabellingSession(sample(judged, 3, retest=0.34), tmp_path / "labels.jsonl", rubrics.load("correctness"))


class Page:
    """A served page: its URL, and what `serve` returned in the end."""

    def __init__(self, session, **options):
        self.url, self.made = "", None
        ready = threading.Event()

        def announce(url):
            self.url = url
            ready.set()

        def run():
            self.made = serve(session, announce, **options)

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert ready.wait(300)

    def ask(self, path="", body=None, **headers):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.read().decode()

    def refused(self, path="", body=None, **headers):
        with pytest.raises(urllib.error.HTTPError) as error:
            self.ask(path, body, **headers)
        return error.value.code

    def ended(self):
        self.thread.join(300)
        return self.made


def test_ratings_come_in_and_nothing_says_who_wrote(session):
    page = Page(session)
    seen = [page.ask(), page.ask("page.js"), page.ask("page.css"), page.ask("about")]
    for place, value in enumerate((10, 20.0, "30", 11)):
        seen.append(page.ask("task"))
        assert json.loads(seen[-1])["place"] == place
        seen.append(page.ask("rate", {"place": place, "value": value}))
    assert json.loads(seen[-1]) == {"done": 4, "total": 4, "place": None}
    assert not any("secret-model" in one for one in seen)
    page.ask("rate", {"place": 0, "value": 12})  # thought better of
    page.ask("finish", {})
    assert page.ended() == 4
    assert [(one.value, one.round) for one in read_labels(session.path)] == [(12, 0), (20, 0), (30, 0), (11, 1)]


def test_what_is_no_rating_or_comes_from_elsewhere_is_refused(session):
    page = Page(session)
    assert page.refused("rate", {"place": 0, "value": "101"}) == 422
    assert page.refused("rate", {"place": 99, "value": "1"}) == 422
    assert page.refused("rate", {"value": "1"}) == 400
    assert page.refused("rate", [1]) == 400
    assert page.refused("task", Host="evil.example:80") == 404
    assert page.refused("../task") == 404
    secret, page.url = page.url, page.url[: page.url.index("/", 8) + 1]
    assert page.refused("") == page.refused("task") == page.refused("rate", {"place": 0, "value": 1}) == 404
    page.url = secret
    page.ask("finish", {})
    assert page.ended() == 0
    assert not session.path.exists()


def test_it_stops_when_nobody_asks(session):
    assert Page(session, idle_s=0.3).ended() == 0


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium")
def test_in_a_browser_by_keyboard_alone(session):
    api = pytest.importorskip("playwright.sync_api")
    page = Page(session)
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        tab = browser.new_page()
        problems: list[str] = []
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        tab.goto(page.url)
        tab.wait_for_selector("#task:not([hidden])")
        texts = {tab.inner_text("#answer")}
        for count, value in enumerate(("40", "101", "41", "42"), start=1):
            tab.keyboard.press("Control+a")
            tab.keyboard.type(value)
            tab.keyboard.press("Enter")
            if value == "101":
                api.expect(tab.locator("#message")).to_contain_text("0 to 100")
            else:
                api.expect(tab.locator("#count")).to_have_text(f"{count - (count > 1)} of 4 rated")
                texts.add(tab.inner_text("#answer"))
        assert texts == {"First <b>answer</b>.", "Second answer.", "Third answer."}  # text, never markup
        tab.keyboard.press("ArrowLeft")  # back to the third, two steps up
        api.expect(tab.locator("#score")).to_have_value("42")
        tab.keyboard.press("ArrowUp")
        tab.keyboard.press("ArrowUp")
        tab.keyboard.press("Enter")
        api.expect(tab.locator("#score")).to_have_value("")
        tab.keyboard.type("39")
        tab.keyboard.press("Enter")
        tab.wait_for_selector("#finished:not([hidden])")
        tab.keyboard.press("Enter")
        tab.wait_for_selector("#over:not([hidden])")
        browser.close()
    (problem,) = problems  # what follows the number has another name since Python 3.13
    assert problem.startswith("Failed to load resource: the server responded with a status of 422")
    assert page.ended() == 4
    assert [one.value for one in read_labels(session.path)] == [40, 41, 44, 39]
