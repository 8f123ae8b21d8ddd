"""The command `judge exchange`."""

from pathlib import Path
from typing import Annotated

from typer import Option, Typer

from equiloss.cli import Overwrite, output_option, repeatable
from judge.cli.options import Files

commands = Typer()


def writable() -> list[str]:
    """What `--to` may be."""
    from judge.exchange.registry import exporters

    return list(exporters())


def readable() -> list[str]:
    """What `--from` may be."""
    from judge.exchange.registry import importers

    return list(importers())


@commands.command()
def exchange(
    files: Files,
    *,
    to: Annotated[
        str | None, Option(metavar="KIND", help="Write this format; `--to ?` lists them.", autocompletion=writable)
    ] = None,
    origin: Annotated[
        str | None,
        Option("--from", metavar="KIND", help="Read this format; `--from ?` lists them.", autocompletion=readable),
    ] = None,
    output: Annotated[Path, output_option("--to: the file. --from: the directory.")],
    generator: Annotated[str, Option(help="--from: the model's name.", show_default="the file's")] = "",
    judge: Annotated[str, Option(help="--from: who gave the scores, where the file does not say.")] = "",
    scores: Annotated[list[Path], repeatable("--scores", "FILE", "--from: a JSON list of a model's scores.")],
    allow_unscored: Annotated[
        bool, Option("--allow-unscored", help="--from diary: items without a score are failures.")
    ] = False,
    mark_formulas: Annotated[
        bool, Option("--mark-formulas", help="--to csv: put ' before cells that a spreadsheet would run.")
    ] = False,
    _overwrite: Overwrite = False,
) -> None:
    """Write result FILES, with their verdicts, for other tools; or read other tools' FILES into result files.

    Described in docs/exchange.md. All commands read AlpacaEval's model_outputs.json and the diary's file as they are.

    \b
      judge exchange results/run1.jsonl results/run2.jsonl --to csv -o verdicts.csv
      judge exchange annotations.json --from alpaca-eval -o results
    """
    from judge.exchange.exchange import convert

    convert(files, to, origin, output, generator, judge, scores, allow_unscored, mark_formulas)
