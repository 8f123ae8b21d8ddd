"""The `study` program."""

from functools import partial

from equiloss import cli
from study.cli import effects, explain, noise, run

program = cli.program(
    "Run whole experiments: many runs, counterfactuals, pairs of known cause.", run, explain, effects, noise
)
main = partial(cli.run, program, "study")
