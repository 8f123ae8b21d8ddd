"""The `ift` program."""

from equiloss import cli
from ift.cli import answers, training

program = cli.program(
    "Fine-tune base models on instructions, and write their answers.", training.commands, answers.commands
)


def main() -> None:
    """Entry point of `ift`."""
    cli.run(program, "ift")
