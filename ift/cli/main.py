"""The `ift` program."""

from functools import partial

from equiloss import cli
from ift.cli import answers, training

SUMMARY = "Fine-tune base models on instructions, and write their answers."

program = cli.program(SUMMARY, training, answers)
main = partial(cli.run, program, "ift")
