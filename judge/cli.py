"""The `judge` program: parses the command line and calls."""

from __future__ import annotations

import click

from pretrain import console


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="equiloss")
def program() -> None:
    """Let a stronger model judge the answers, and say which differences are real."""


def main() -> None:
    """Entry point of `judge`."""
    console.run(program, "judge")
