"""The command `study effects`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from equiloss import console
from equiloss.cli import JsonFlag, Overwrite, claim_outputs, output_option

commands = Typer()


@commands.command()
def effects(
    evaluations: Annotated[list[Path], Argument(metavar="EVALUATIONS")],
    baseline: Annotated[str, Option(help="The arm that the others are held against.")] = "baseline",
    output: Annotated[Path | None, output_option("Write a page with the picture.")] = None,
    document: Annotated[Path | None, Option(help="Write the JSON document to this file too.")] = None,
    as_json: JsonFlag = False,
    _overwrite: Overwrite = False,
) -> None:
    """What each intervention does to the loss, and what is in the noise between seeds.

    EVALUATIONS are .eval.json files of `pretrain eval`, or directories of them. A run ARM-SEED belongs to the arm ARM.

    \b
      study effects evals/ --baseline baseline -o effects.html
    """
    from equiloss.files import write_json, write_text
    from study.cli.tables import emit_effects
    from study.effects import compare, effects_document, load
    from study.effects_page import html

    if outputs := [path for path in (output, document) if path]:
        claim_outputs(*outputs)
    runs, split, tokens = load(evaluations)
    compared = compare(runs, baseline, split, tokens)
    whole = effects_document(compared, runs, evaluations)
    if document:
        write_json(document, whole)
    if output:
        write_text(output, html(compared, runs))
        console.say(f"the picture: {output}")
    if as_json:
        console.emit_json(whole)
    else:
        emit_effects(compared)
