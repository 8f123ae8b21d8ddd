"""The `judge` program."""

from equiloss import cli
from judge.cli import comparison, diagnosis, exchange, label, ledger, score, simulate

program = cli.program(
    "Let a stronger model judge the answers, and say which differences are real.",
    score.commands,
    comparison.commands,
    diagnosis.commands,
    label.commands,
    exchange.commands,
    ledger.commands,
    simulate.commands,
)


def main() -> None:
    """Entry point of `judge`."""
    cli.run(program, "judge")
