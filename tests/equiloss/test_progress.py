"""The one progress display: on a terminal, elsewhere, and quiet."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from equiloss import console, progress
from equiloss.progress import ProgressBar, counting


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Stderr as a terminal, and what was drawn on it."""
    drawn = io.StringIO()
    shown = Console(file=drawn, force_terminal=True, width=100, soft_wrap=True, highlight=False, color_system=None)
    monkeypatch.setattr(progress, "err", lambda: shown)
    monkeypatch.setattr(progress, "say", lambda message: shown.print(message, markup=False))
    return drawn


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which a test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stderr as a file, and the lines said on it."""
    said: list[str] = []
    monkeypatch.setattr(progress, "err", lambda: Console(file=io.StringIO()))
    monkeypatch.setattr(progress, "say", said.append)
    return said


def test_a_bar_shows_count_figures_and_time_left(terminal: io.StringIO, clock: list[float]) -> None:
    with ProgressBar("first", 400, unit="step", kept=True) as bar:
        assert bar.live
        bar.update(10, "loss 3.2")
        clock[0] += 10
        bar.update(20, "loss [3.1]")
        assert bar.per_s == 1.0
        bar.line("first: epoch 1 [done]")
    assert "20/400  loss [3.1]  ETA 6:20" in terminal.getvalue()
    assert "first: epoch 1 [done]\n" in terminal.getvalue()
    assert not bar.live


def test_parts_come_and_go(terminal: io.StringIO, clock: list[float]) -> None:
    note = ["reading"]
    with ProgressBar("demo", 3, unit="cell") as bar:
        bar.begin("base-a", lambda: note[0])
        clock[0] += 3
        bar.redraw()
        assert "3.0 s  reading" in terminal.getvalue()
        note[0] = "step 5"
        bar.redraw()
        assert "step 5" not in terminal.getvalue()  # too soon
        clock[0] += 60
        bar.redraw()
        assert "1:03  step 5" in terminal.getvalue()
        bar.end("base-a")
        bar.end("never begun")
        bar.advance()
        terminal.truncate(0)
        clock[0] += 1
        bar.redraw()
        assert "base-a" not in terminal.getvalue()


def test_without_a_terminal_a_line_now_and_then(lines: list[str], clock: list[float]) -> None:
    with ProgressBar("first", 30, unit="step", kept=True) as bar:
        bar.begin("part")
        for step in range(1, 31):
            clock[0] += 1
            bar.update(step, f"loss {step}")
        bar.end("part")
    assert lines == ["first: step 15/30: loss 15, ETA 15 s", "first: step 30/30: loss 30"]


def test_what_is_not_kept_says_nothing_when_it_is_quick(lines: list[str]) -> None:
    with ProgressBar("judge", 3, 1, unit="request") as bar:
        bar.advance("sha")
        bar.advance("sha")
        bar.redraw()
    assert lines == []


def test_quiet_is_quiet(terminal: io.StringIO) -> None:
    with ProgressBar("first", 3, quiet=True) as bar:
        bar.update(3, "loss 1")
        bar.line("first: done")
    with ProgressBar("first", 3, 3) as bar:
        assert not bar.live
    assert terminal.getvalue() == ""


def test_counting_without_an_end(lines: list[str], clock: list[float]) -> None:
    with counting("pretrain data", "tokens") as show:
        show(10, 1000)
        clock[0] += 20
        show(30, 5000)
    assert lines == ["pretrain data: 30 documents, 5,000 tokens, 250 tokens/s"]


def test_it_is_written_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.err.cache_clear()
    try:
        with ProgressBar("first", 2, unit="step", kept=True) as bar:
            bar.update(2, "loss 1")
        out, err = capsys.readouterr()
    finally:
        console.err.cache_clear()
    assert (out, err) == ("", "first: step 2/2: loss 1\n")
