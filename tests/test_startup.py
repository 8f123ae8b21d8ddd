"""The programs answer at once: no heavy library is imported to print a help page."""

import subprocess
import sys

import pytest

HEAVY = (
    *("torch", "transformers", "datasets", "openai", "aiohttp", "numpy"),
    *("scipy.stats", "matplotlib", "pandas", "statsmodels", "ray"),
)


@pytest.mark.parametrize("name", ["pretrain", "ift", "judge", "study"])
def test_help_imports_nothing_heavy(name: str):
    script = (
        f"import sys; sys.argv = ['{name}', '--help']\n"
        f"from {name}.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"print('heavy:', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "heavy: []" in run.stdout
    assert run.stdout.startswith(f"Usage: {name}")


@pytest.mark.parametrize("name", ["pretrain", "ift", "judge", "study"])
def test_every_command_helps_with_an_example(name: str):
    import importlib

    import click

    group = importlib.import_module(f"{name}.cli.main").program
    assert group.commands
    commands = {f"{name} {one}": command for one, command in group.commands.items()}
    while commands:
        path, command = commands.popitem()
        if isinstance(command, click.Group):
            commands |= {f"{path} {one}": inner for one, inner in command.commands.items()}
            continue
        _usage, _, text = command.get_help(click.Context(command, info_name=path)).partition("\n")
        assert path in text, f"no example in {path} --help"


@pytest.mark.parametrize("name", ["pretrain", "ift", "judge", "study"])
def test_python_m_is_the_program(name: str):
    run = subprocess.run([sys.executable, "-m", name, "--version"], capture_output=True, text=True)
    assert run.returncode == 0
    assert "version" in run.stdout
