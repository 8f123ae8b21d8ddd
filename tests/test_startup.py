"""The programs answer at once: no heavy library is imported to print a help page, of any command."""

import importlib
import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command

PROGRAMS = ("pretrain", "ift", "judge", "study")
HEAVY = (
    *("torch", "transformers", "datasets", "openai", "aiohttp", "numpy", "rich"),
    *("scipy", "matplotlib", "pandas", "statsmodels", "ray", "evalica", "click"),
)


def commands(program: str) -> dict[str, Any]:
    """Every command of a program and the program itself, groups too, by its full name."""

    def walk(path: str, command: Any) -> dict[str, Any]:
        inner = getattr(command, "commands", {})
        return {path: command, **{k: v for name, one in inner.items() for k, v in walk(f"{path} {name}", one).items()}}

    return walk(program, get_command(importlib.import_module(f"{program}.cli.main").program))


EVERY = [path for program in PROGRAMS for path in commands(program)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_imports_nothing_heavy(program: str):
    # One process for all of a program's commands: what one of them imports stays in sys.modules for the next.
    script = (
        "import sys\n"
        f"from {program}.cli.main import main\n"
        "for words in sys.argv[1].split(','):\n"
        "    sys.argv = [*words.split(), '--help']\n"
        "    try: main()\n"
        "    except SystemExit as stop: assert not stop.code, stop.code\n"
        f"    heavy = sorted(set({HEAVY!r}) & set(sys.modules))\n"
        "    assert not heavy, f'{words} --help imports {heavy}'"
    )
    paths = [path for path in EVERY if path.split()[0] == program]
    run = subprocess.run([sys.executable, "-c", script, ",".join(paths)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert [line.split(" [")[0] for line in run.stdout.splitlines() if line.startswith("Usage: ")] == [
        f"Usage: {path}" for path in paths
    ]


@pytest.mark.parametrize("path", EVERY)
def test_help_has_an_example(path: str):
    command = commands(path.split()[0])[path]
    if not hasattr(command, "commands"):
        assert f"\n  {path}" in command.help, f"no example in {path} --help"


@pytest.mark.parametrize("program", PROGRAMS)
def test_python_m_is_the_program(program: str):
    run = subprocess.run([sys.executable, "-m", program, "--version"], capture_output=True, text=True)
    assert run.returncode == 0
    assert run.stdout.startswith(f"{program}, version ")
