"""Fixtures for all tests: the programs, and the real data where it is present."""

from __future__ import annotations

import importlib
import shlex
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, settings
from typer.main import get_command

# No test is about time: a busy machine must not fail a property.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

# A shell's background job ignores Ctrl-C, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    code: int
    out: str
    err: str


def parse_command(line: str) -> dict[str, Any]:
    """See the fixture `parse`."""
    name, *arguments = shlex.split(line, comments=True)
    if name in ("torchrun", "python"):
        launched = arguments.index("-m")
        name, *arguments = arguments[launched + 1 :]
    given: list[dict[str, Any]] = []

    def record(command: Any) -> None:
        for inner in getattr(command, "commands", {}).values():
            record(inner)
        if not hasattr(command, "commands"):
            command.callback = lambda **values: given.append(values)

    command = get_command(importlib.import_module(f"{name}.cli.main").program)
    record(command)
    try:
        command.main(arguments, prog_name=name, standalone_mode=False)
    except typer.TyperException as error:
        raise ValueError(f"{line}: {error.format_message()}") from None
    return given[0] if given else {}


@pytest.fixture(autouse=True)
def no_real_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test talks to an endpoint that the developer's environment names."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run one of the four programs in this process, through its real entry point: `program("judge", "score", …)`."""

    def run(name: str, *arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            importlib.import_module(f"{name}.cli.main").main()
        captured = capfd.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def parse() -> Callable[[str], dict[str, Any]]:
    """Parse a command line with the real programs and run nothing: `parse("judge score a.jsonl")`.

    Returns the values that the command would be given. Also takes `torchrun … -m ift run …` and `python -m …`. Files
    need not exist. Raises: ValueError for a command line that its program would refuse, with the reason.
    """
    return parse_command


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data; skips where it is not present."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data is not present")
    return SHARED_DATA
