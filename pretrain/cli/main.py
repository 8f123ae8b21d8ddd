"""The `pretrain` program."""

from functools import partial

from equiloss import cli
from pretrain.cli import data, evaluation, exchange, training

SUMMARY = "Train small GPT-2-style base models, and look at what their loss does not show."
program = cli.program(SUMMARY, data, training, evaluation, exchange)
main = partial(cli.run, program, "pretrain")
