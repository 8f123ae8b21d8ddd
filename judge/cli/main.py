"""The `judge` program."""

from functools import partial

from equiloss import cli
from judge.cli import comparison, diagnosis, exchange, gate, label, ledger, score, simulate

SUMMARY = "Let a stronger model judge the answers, and say which differences are real."
program = cli.program(SUMMARY, score, comparison, diagnosis, gate, label, exchange, ledger, simulate)
main = partial(cli.run, program, "judge")
