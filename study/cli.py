"""The `study` program: parses the command line and calls."""

from __future__ import annotations

import click

from pretrain import console


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="equiloss")
def program() -> None:
    """Run whole experiments: many runs, counterfactuals, pairs with a known cause."""


def main() -> None:
    """Entry point of `study`."""
    console.run(program, "study")
