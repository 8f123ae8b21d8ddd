"""The command `study noise`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from equiloss import console
from equiloss.cli import JsonFlag, Overwrite, claim_outputs, output_option

commands = Typer()


@commands.command()
def noise(
    results: Annotated[list[Path] | None, Argument(metavar="RESULTS", show_default=False)] = None,
    table: Annotated[Path | None, Option(metavar="CSV", help="A table of models x judgings instead.")] = None,
    output: Annotated[Path | None, output_option("Write the ledger here, for --noise, and a page beside it.")] = None,
    as_json: JsonFlag = False,
    _overwrite: Overwrite = False,
) -> None:
    """Measure what scores vary by: pretraining run, data draw, fine-tuning seed, item, judge repeat, and which to buy.

    RESULTS are judged result files, or directories of them; runs whose recipe is the same but for its seeds are
    repeats of each other. A table has a row a model, a column `model` and columns run1, run2, ... of judgings, and may
    have `recipe`, `data` and `base`.

    \b
      study noise results -o noise.json
      study noise --table judgings.csv
    """
    from equiloss.errors import InputError
    from equiloss.files import write_json, write_text
    from study.cli.tables import emit_noise
    from study.noise.ledger import noise_ledger
    from study.noise.measurements import from_results, from_table
    from study.noise.page import html

    if bool(results) == (table is not None):
        raise InputError("name judged results, or a table with --table", "not both, not neither")
    if output:
        claim_outputs(output, output.with_suffix(".html"))
    runs = from_table(table) if table else from_results(results or [])
    ledger = noise_ledger(runs, [str(path) for path in (results or [table])])
    document = ledger.model_dump(mode="json")
    if output:
        write_json(output, document)
        write_text(output.with_suffix(".html"), html(ledger))
        console.say(f"the ledger: {output}; the page: {output.with_suffix('.html')}")
    if as_json:
        console.emit_json(document)
    else:
        emit_noise(ledger)
