"""The `ift` program: parses the command line and calls."""

from __future__ import annotations

import click

from pretrain import console


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="equiloss")
def program() -> None:
    """Fine-tune base models on instructions, and write their answers."""


def main() -> None:
    """Entry point of `ift`."""
    console.run(program, "ift")
