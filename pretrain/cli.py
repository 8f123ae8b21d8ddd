"""The `pretrain` program: parses the command line and calls."""

from __future__ import annotations

from pathlib import Path

import click

from pretrain import console


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="equiloss")
def program() -> None:
    """Train small GPT-2-style base models, and look at what their loss does not show."""


@program.command()
@click.argument("name")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The JSON file to write.")
def world(name: str, output: Path) -> None:
    """Write instruction data about the built-in world NAME: Alpaca-style JSON with a category and a reference each.

    \b
    NAME is a preset, with overrides after a question mark (docs/world.md lists them):
      pretrain world demo -o demo.json
      pretrain world 'demo?people=50&skill_items=20' -o small.json
    The text that goes with it: pretrain data 'world:demo?people=50' -o data/small
    """
    from collections import Counter

    from pretrain.runs import write_json
    from pretrain.world import instructions

    items = instructions(name)
    write_json(output, items)
    counts = Counter(str(item["category"]) for item in items)
    console.say(
        f"{output}: {len(items)} items: {', '.join(f'{count} {name}' for name, count in sorted(counts.items()))}"
    )


def main() -> None:
    """Entry point of `pretrain`."""
    console.run(program, "pretrain")
