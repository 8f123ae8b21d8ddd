"""The commands `pretrain run`, `pretrain fit` and `pretrain compare`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from equiloss import console
from equiloss.cli import JsonFlag, Overwrite, Sets, output_option
from equiloss.errors import EquilossError
from pretrain.cli.options import DataDirectory

commands = Typer()

Config = Annotated[str, Argument(metavar="CONFIG")]


@commands.command()
def run(
    config: Config,
    *,
    data: DataDirectory,
    name: Annotated[str | None, Option(help="The run's name.", show_default="the config's")] = None,
    output: Annotated[Path, output_option("Where runs lie.")] = Path("runs"),
    seed: Annotated[int | None, Option(help="The same as --set train.seed=N.")] = None,
    sets: Sets,
    resume: Annotated[bool, Option("--resume", help="Go on with an unfinished run, to the bit.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a base model: OUTPUT/NAME/ gets config.toml, metrics.jsonl, report.html and, at the end, checkpoint.pt.

    \b
    CONFIG is a TOML file, the config.toml of another run, or a preset (tiny, gpt2-small, diary-baseline, ...):
      pretrain run tiny --data data/speeches --name first --set train.steps=500 --set train.lr=0.003
      pretrain run runs/first/config.toml --data data/speeches --name again --seed 1
      torchrun --standalone --nproc-per-node 8 -m pretrain run gpt2-small --data data/fineweb
    Ctrl-C writes a state and exits with 130; the same command with --resume goes on. A finished run is left alone.
    """
    from equiloss.files import child
    from pretrain.config import load_run_config
    from pretrain.training.allocator import keep_freed_memory
    from pretrain.training.run import train

    keep_freed_memory()
    settings = load_run_config(config, [*sets, *([] if seed is None else [f"train.seed={seed}"])])
    path = Path(config)
    default = path.parent.name if path.name == "config.toml" else path.stem
    result = train(settings, data, child(output, name or default), resume)
    if as_json and result.main:
        console.emit_json(result)
    if 2 * result.skipped > result.steps:
        raise EquilossError(
            f"{result.directory}: {result.skipped:,} of {result.steps:,} steps were skipped: gradients not finite",
            "it is not the model of its configuration: lower train.lr, or set train.precision=fp32",
        )


@commands.command()
def fit(
    config: Config,
    *,
    data: Annotated[Path | None, Option(help="A data directory, for its vocabulary.", show_default="GPT-2's")] = None,
    memory: Annotated[
        float | None, Option(metavar="GIB", help="Memory to use.", show_default="90 % of the free")
    ] = None,
    devices: Annotated[int, Option(help="So many devices for the estimate.")] = 1,
    usd_per_hour: Annotated[float | None, Option(help="Price of one device, for the estimate.")] = None,
    sets: Sets,
    as_json: JsonFlag = False,
) -> None:
    """Find the largest micro-batch that fits here, and what the whole run will take in time, money and disk.

    \b
      pretrain fit gpt2-small --devices 8 --usd-per-hour 2.5
      pretrain fit tiny --data data/speeches --set model.context=256
    Small steps are measured; larger ones are tried only where the measured growth says that they fit.
    """
    from pretrain.config import load_run_config
    from pretrain.data.shards import Shards
    from pretrain.training import capacity

    settings = load_run_config(config, sets)
    shards = None if data is None else Shards.open(data)
    vocab_size = shards and shards.tokenizer.n_vocab
    fitted = capacity.fit(settings, vocab_size, None if memory is None else int(memory * 2**30))
    validation = shards and len(shards.split("validation").tokens)
    estimate = capacity.estimate(fitted, devices, usd_per_hour, validation)
    console.say(*capacity.lines(fitted, estimate))
    if as_json:
        console.emit_json(capacity.document(fitted, estimate))


@commands.command()
def compare(
    runs: Annotated[list[Path], Argument(metavar="RUNS")],
    output: Annotated[Path | None, output_option("The page.", "compare.html beside RUNS")] = None,
    as_json: JsonFlag = False,
    _overwrite: Overwrite = False,
) -> None:
    """Lay several RUNS over each other: a table, and a page with their curves and the fields in which they differ.

    \b
      pretrain compare runs/tied runs/untied
      pretrain compare runs/* -o seeds.html --json
    """
    from pretrain.training.comparison import compare as compare_runs

    compare_runs(runs, output, as_json)
