"""The `study` program."""

from equiloss import cli
from study.cli import effects, explain, run

program = cli.program(
    "Run whole experiments: many runs, counterfactuals, pairs with a known cause.",
    run.commands,
    explain.commands,
    effects.commands,
)


def main() -> None:
    """Entry point of `study`."""
    cli.run(program, "study")
