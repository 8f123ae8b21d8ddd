"""The `pretrain` program: parses the command line and calls."""

from __future__ import annotations

import click

from pretrain import console


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="equiloss")
def program() -> None:
    """Train small GPT-2-style base models, and look at what their loss does not show."""


def main() -> None:
    """Entry point of `pretrain`."""
    console.run(program, "pretrain")
