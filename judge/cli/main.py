"""The `judge` program."""

import gc
from typing import NoReturn

from equiloss import cli
from judge.cli import comparison, diagnosis, exchange, gate, label, ledger, score, simulate

SUMMARY = "Let a stronger model judge the answers, and say which differences are real."
program = cli.program(SUMMARY, score, comparison, diagnosis, gate, label, exchange, ledger, simulate)


def main() -> NoReturn:
    """Run the program. Judged files become a million objects, none in a circle: looking for circles costs most."""
    gc.set_threshold(200_000, 50, 50)
    cli.run(program, "judge")
