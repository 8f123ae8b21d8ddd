"""The command `ift run`."""

from pathlib import Path
from typing import Annotated

from typer import Option, Typer

from equiloss import console
from equiloss.cli import JsonFlag, Overwrite, Sets
from ift.cli.options import Results, SkipBad
from pretrain.cli.options import Seed

commands = Typer()


@commands.command()
def run(
    *,
    base: Annotated[Path, Option(help="checkpoint.pt, or a Hugging Face causal model.")],
    data: Annotated[str | None, Option(help="Instruction data.", show_default="of the world the base read")] = None,
    name: Annotated[str | None, Option(help="The run's name.", show_default="the base's")] = None,
    output: Results = Path("results"),
    models: Annotated[Path, Option(help="Where the model goes, in a directory called NAME.")] = Path("runs/ift"),
    seed: Seed = 0,
    seeds: Annotated[int | None, Option(min=1, help="Run N seeds: NAME.s1, ... (seed --seed + 1, ...).")] = None,
    recipe: Annotated[str, Option(help="default, diary, tiny, or a TOML file.")] = "default",
    lr_sweep: Annotated[str | None, Option(metavar="FROM:TO:N", help="Pick the rate by validation loss.")] = None,
    skip_bad: SkipBad = False,
    drop_model: Annotated[bool, Option("--drop-model", help="Keep the answers, not the fine-tuned model.")] = False,
    overlap: Annotated[Path | None, Option(help="Shards of the pretraining text: report the test items in it.")] = None,
    sets: Sets,
    _overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Fine-tune a base model, select the best epoch, and answer the held-out items.

    \b
    DATA is a .json, .jsonl or .parquet file (Alpaca, ShareGPT or messages), hub:NAME, or world:NAME:
      ift run --base runs/first/checkpoint.pt
      ift run --base runs/first/checkpoint.pt --data alpaca.json --name first --seeds 5
      ift run --base runs/first/checkpoint.pt --data alpaca.json --recipe diary --set lr=1e-4
      ift run --base HuggingFaceTB/SmolLM2-135M --data alpaca.json --set template=own
      torchrun --standalone --nproc-per-node 8 -m ift run --base runs/first/checkpoint.pt --data alpaca.json
    Writes OUTPUT/NAME.jsonl (answers) and OUTPUT/NAME.run.json (the record), and the model to MODELS/NAME/. The same
    command goes on with a killed run and leaves a finished one alone.
    """
    from ift.cli import summary
    from ift.training.fine_tune import fine_tune
    from pretrain.training.allocator import keep_freed_memory

    keep_freed_memory()
    runs = fine_tune(
        base,
        data=data,
        name=name,
        results=output,
        models=models,
        seed=seed,
        seeds=seeds,
        recipe=recipe,
        sets=sets,
        lr_sweep=lr_sweep,
        overlap=overlap,
        skip_bad=skip_bad,
        drop_model=drop_model,
    )
    console.say(*(summary.of_runs(runs) if runs else ()))
    if as_json and runs:
        console.emit_json(summary.document([run.record for run in runs]))
