"""The `pretrain` program."""

from equiloss import cli
from pretrain.cli import data, evaluation, exchange, training

program = cli.program(
    "Train small GPT-2-style base models, and look at what their loss does not show.",
    data.commands,
    training.commands,
    evaluation.commands,
    exchange.commands,
)


def main() -> None:
    """Entry point of `pretrain`."""
    cli.run(program, "pretrain")
