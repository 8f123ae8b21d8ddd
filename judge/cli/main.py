"""The `judge` program."""

import gc
from functools import partial

from equiloss import cli
from judge.cli import comparison, diagnosis, exchange, gate, label, ledger, score, simulate

SUMMARY = "Let a stronger model judge the answers, and say which differences are real."
program = cli.program(SUMMARY, score, comparison, diagnosis, gate, label, exchange, ledger, simulate)
gc.set_threshold(
    200_000, 50, 50
)  # judged files become a million objects, none in a circle: to look for some costs most
main = partial(cli.run, program, "judge")
