"""The `study` program."""

from functools import partial

from equiloss import cli
from study.cli import effects, explain, run

SUMMARY = "Run whole experiments: many runs, counterfactuals, pairs with a known cause."

program = cli.program(SUMMARY, run, explain, effects)
main = partial(cli.run, program, "study")
