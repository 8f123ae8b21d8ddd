"""The `ift` program."""

from functools import partial

from equiloss import cli
from ift.cli import answers, training

program = cli.program("Fine-tune base models on instructions, and write their answers.", training, answers)
main = partial(cli.run, program, "ift")
