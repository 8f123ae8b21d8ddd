"""The `pretrain` program: parses the command line and calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from equiloss import console


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="equiloss")
def program() -> None:
    """Train small GPT-2-style base models, and look at what their loss does not show."""


@program.command()
@click.argument("source")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The data directory to write.")
@click.option("--tokenizer", default="gpt2", show_default=True, help="gpt2, or a tokenizer.json of an earlier run.")
@click.option("--train-tokenizer", type=int, metavar="N", help="Train a byte-level BPE of N ids on the training split.")
@click.option("--validation", type=float, default=0.05, show_default=True, help="Share of documents for validation.")
@click.option("--test", type=float, default=0.05, show_default=True, help="Share of documents for the test.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which documents go where.")
@click.option("--text-field", default="text", show_default=True, help="The field of a record that holds its text.")
@click.option("--domain-field", help="The field that names its domain.  [default: the folder or file names it]")
@click.option("--separator", help="Cut text files into documents at this text, e.g. '<|endoftext|>'.")
@click.option("--workers", type=click.IntRange(min=1), help="Tokenizing processes.  [default: one per CPU]")
@console.option_json
def data(
    source: str,
    output: Path,
    tokenizer: str,
    train_tokenizer: int | None,
    validation: float,
    test: float,
    seed: int,
    text_field: str,
    domain_field: str | None,
    separator: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Turn the text of SOURCE into token shards: DIR/{train,validation,test}.bin and data.json.

    \b
    SOURCE is a text file, .jsonl, .json or .parquet (each also .gz), a folder of those (its folders are the
    domains), hub:NAME[:CONFIG][:SPLIT] for a Hugging Face data set, world:NAME for the built-in world, or tokens
    already made: a .safetensors with a vector "tokens", or a folder with train.safetensors and its like:
      pretrain data speeches/ -o data/speeches --train-tokenizer 2048
      pretrain data hub:HuggingFaceFW/fineweb:sample-10BT -o data/fineweb
      pretrain data world:demo -o data/demo --train-tokenizer 1024
    Equal documents are kept once; which split a document goes to depends on its text and the seed alone.
    """
    from equiloss.progress import counting
    from pretrain.data.corpus import Fields
    from pretrain.data.shard_writer import Fractions, write_source, written
    from pretrain.data.token_files import is_token_source, write_token_files

    fractions = Fractions(validation, test)
    with counting("pretrain data", "tokens") as on_progress:
        if is_token_source(source):
            shards = write_token_files(
                source, output, tokenizer=tokenizer, seed=seed, fractions=fractions, on_progress=on_progress
            )
        else:
            shards = write_source(
                source,
                output,
                tokenizer=tokenizer,
                train_tokenizer=train_tokenizer,
                fields=Fields(text_field, domain_field, separator),
                seed=seed,
                fractions=fractions,
                workers=workers,
                on_progress=on_progress,
            )
    for line in written(shards):
        console.say(line)
    if as_json:
        console.emit_json(shards.summary())


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

    from equiloss.files import write_json
    from pretrain.data.world import instructions

    items = instructions(name)
    write_json(output, items)
    counts = Counter(str(item["category"]) for item in items)
    console.say(
        f"{output}: {len(items)} items: {', '.join(f'{count} {name}' for name, count in sorted(counts.items()))}"
    )


@program.command()
@click.argument("config")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="A data directory of `pretrain data`.")
@click.option("--name", help="The run's name.  [default: the config's]")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--seed", type=int, help="Initialisation, data order and dropout; the same as --set train.seed=N.")
@console.option_set
@click.option("--resume", is_flag=True, help="Go on with an unfinished run from its last state, to the bit.")
@console.option_json
def run(
    config: str,
    data: Path,
    name: str | None,
    output: Path,
    seed: int | None,
    sets: tuple[str, ...],
    resume: bool,
    as_json: bool,
) -> None:
    """Train a base model: OUTPUT/NAME/ gets config.toml, metrics.jsonl, report.html and, at the end, checkpoint.pt.

    \b
    CONFIG is a TOML file, the config.toml of another run, or a preset (tiny, gpt2-small, diary-baseline, ...):
      pretrain run tiny --data data/speeches --name first --set train.steps=500 --set train.lr=0.003
      pretrain run runs/first/config.toml --data data/speeches --name again --seed 1
      torchrun --standalone --nproc-per-node 8 -m pretrain run gpt2-small --data data/fineweb
    Ctrl-C writes a state and exits with 130; the same command with --resume goes on. A finished run is left alone.
    """
    from pretrain.config import load_run_config
    from pretrain.training.allocator import keep_freed_memory
    from pretrain.training.run import train

    keep_freed_memory()
    overrides = [*sets, *([] if seed is None else [f"train.seed={seed}"])]
    settings = load_run_config(config, overrides)
    path = Path(config)
    default = path.parent.name if path.name == "config.toml" else path.stem
    result = train(settings, data, output / (name or default), resume)
    if as_json and result.main:
        console.emit_json(result.document())


@program.command()
@click.argument("config")
@click.option(
    "--data", type=click.Path(path_type=Path), help="A data directory, for its vocabulary.  [default: GPT-2's]"
)
@click.option("--memory", type=float, metavar="GIB", help="Memory that may be used.  [default: 90 % of what is free]")
@click.option("--devices", type=int, default=1, show_default=True, help="So many devices for the estimate.")
@click.option("--usd-per-hour", type=float, help="Price of one device, for the estimate.")
@console.option_set
@console.option_json
def fit(
    config: str,
    data: Path | None,
    memory: float | None,
    devices: int,
    usd_per_hour: float | None,
    sets: tuple[str, ...],
    as_json: bool,
) -> None:
    """Find the largest micro-batch that fits here, and what the whole run will take in time, money and disk.

    \b
      pretrain fit gpt2-small --devices 8 --usd-per-hour 2.5
      pretrain fit tiny --data data/speeches --set model.context=256
    Small steps are measured; larger ones are tried only where the measured growth says that they fit.
    """
    from pretrain.config import load_run_config
    from pretrain.data.shards import Shards
    from pretrain.training import capacity as fitting

    settings = load_run_config(config, sets)
    vocab_size = None if data is None else Shards.open(data).tokenizer.n_vocab
    found = fitting.fit(settings, vocab_size, None if memory is None else int(memory * 2**30))
    whole = fitting.estimate(found, devices, usd_per_hour)
    for text in fitting.lines(found, whole):
        console.say(text)
    if as_json:
        console.emit_json(fitting.document(found, whole))


@program.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The page.  [default: compare.html beside RUNS]")
@console.option_json
def compare(runs: tuple[Path, ...], output: Path | None, as_json: bool) -> None:
    """Lay several RUNS over each other: a table, and a page with their curves and the fields in which they differ.

    \b
      pretrain compare runs/tied runs/untied
      pretrain compare runs/* -o seeds.html --json
    """
    from pretrain.training.comparison import compare as compare_runs

    compare_runs(runs, output, as_json)


@program.command()
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="A data directory of `pretrain data`.")
@click.option("--split", default="test", show_default=True, help="train, validation or test.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write.  [default: beside CHECKPOINTS]")
@click.option("--stride", type=int, help="Tokens a window moves on by in long documents.  [default: half the context]")
@click.option("--documents", type=click.IntRange(min=1), help="Only this many, spread evenly.  [default: all]")
@click.option("--precision", type=click.Choice(["fp32", "tf32", "bf16", "fp16", "auto"]), default="fp32")
@click.option("--margin", type=float, default=0.05, show_default=True, help="Nats within which losses are equivalent.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@console.option_json
def eval(
    checkpoints: tuple[Path, ...],
    data: Path,
    split: str,
    output: Path | None,
    stride: int | None,
    documents: int | None,
    precision: str,
    margin: float,
    device: str,
    as_json: bool,
) -> None:
    """Measure the loss of CHECKPOINTS document by document; several are compared in pairs.

    \b
      pretrain eval runs/first/checkpoint.pt --data data/speeches
      pretrain eval runs/*/checkpoint.pt --data data/speeches --margin 0.02 --json
    Dropout is off. Each document is seen alone; intervals are clustered by document. The files
    DATA.SPLIT.eval.json and .npz beside each checkpoint keep the losses of every document.
    """
    from equiloss.progress import counting
    from pretrain.evaluation import tables
    from pretrain.evaluation.evaluate import Method, evaluate_all

    method = Method(split, stride, precision, documents)
    with counting("pretrain eval", "tokens") as on_progress:
        result = evaluate_all(list(checkpoints), data, method, output, margin, device, on_progress)
    for row in result["evaluations"]:
        console.say(f"wrote {row['file']}")
    if as_json:
        console.emit_json(result)
        return
    console.emit_table(tables.losses(result["evaluations"]))
    for part, title in (("domains", "domain"), ("frequency_deciles", "frequency decile"), ("positions", "position")):
        console.emit_table(tables.breakdown(result["evaluations"], part, title))
    if result["comparisons"]:
        console.emit_table(tables.comparisons(result["comparisons"]))


@program.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="The data directory: its test split.")
@click.option("--facts", type=click.Path(path_type=Path, dir_okay=False), help="Facts [those of the data's world].")
@click.option("--items", type=click.Path(path_type=Path, dir_okay=False), help="Instruction items: the whole data set.")
@click.option("--test", type=click.Path(path_type=Path, dir_okay=False), help="The held-out items, or answers to them.")
@click.option("--tuned", type=click.Path(path_type=Path), help="A fine-tuning of the checkpoint, to see forgetting.")
@click.option("--only", multiple=True, metavar="PROBE", help="Run this probe alone; may be repeated.")
@click.option("--tokens", type=click.IntRange(min=64), default=65_536, show_default=True, help="Test text for losses.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of random sequences, noise and samples.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The record  [beside the checkpoint].")
@console.option_json
def probe(checkpoint: Path, output: Path | None, as_json: bool, **options: Any) -> None:
    """Measure what the loss of CHECKPOINT does not show, for `judge diagnose`: facts, copying, sharpness, items.

    \b
    Probes: cloze, copying, noise, sharpness, weights, items, domains, tolerance (only when named), forgetting.
    Those that lack their input are skipped, and the record says so.

    \b
    Examples:
      pretrain probe runs/a/checkpoint.pt --data data/demo --items alpaca.json --test results/a.jsonl
      pretrain probe runs/a/checkpoint.pt --data data/speeches --facts facts.jsonl --only cloze
    """
    from pretrain.probes import tables as show
    from pretrain.probes.run import run
    from pretrain.probes.subject import ProbeOptions

    document, path = run(checkpoint, ProbeOptions(**options), output)
    if as_json:
        console.emit_json(document)
        return
    console.emit_table(show.table(document))
    for name, reason in document["skipped"].items():
        console.say(f"{name}: skipped, {reason}")
    console.out().print(str(path), markup=False)


@program.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("prompt", default="")
@click.option("-n", "--count", type=click.IntRange(min=1), default=1, show_default=True, help="How many continuations.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0 is greedy.")
@click.option("--top-k", type=click.IntRange(min=0), default=0, help="Sample from the K likeliest tokens; 0: all.")
@click.option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True), default=1.0, help="... the likeliest P.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="auto", show_default=True)
@console.option_json
def sample(
    checkpoint: Path,
    prompt: str,
    count: int,
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Let a model write on after PROMPT (without one: from the start of a document).

    \b
      pretrain sample runs/first/checkpoint.pt "My fellow citizens"
      pretrain sample runs/first/checkpoint.pt "My fellow" -n 3 --temperature 0.8 --top-p 0.95
    """
    from dataclasses import asdict

    from pretrain.model.sample import sample as write

    samples = write(
        checkpoint,
        prompt,
        count=count,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        device=device,
    )
    if as_json:
        console.emit_json({"prompt": prompt, "seed": seed, "samples": [asdict(one) for one in samples]})
        return
    for number, one in enumerate(samples, start=1):
        if count > 1:
            console.say(f"-- {number} of {count} ({one.finish_reason})")
        click.echo(prompt + one.text)


@program.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--template", help="The instruction template of the chat template.  [default: its own, or alpaca]")
@click.option("--push", metavar="OWNER/NAME", help="Upload it to the Hugging Face Hub as well (token: HF_TOKEN).")
@click.option("--private", is_flag=True, help="With --push: a repository that only you see.")
def export(checkpoint: Path, directory: Path, template: str | None, push: str | None, private: bool) -> None:
    """Write CHECKPOINT as a Hugging Face DIRECTORY that transformers loads with no custom code.

    \b
      pretrain export runs/first/checkpoint.pt hf/first
      pretrain export runs/ift/first/checkpoint.pt hf/first-ift --push me/first-ift --private
    """
    from pretrain.exchange import export as exporting
    from pretrain.model.checkpoint import load

    name = exporting.export(load(checkpoint), directory, template, push)
    console.say(f"wrote {directory} (chat template: {name})")
    if push:
        console.say(f"uploaded to {exporting.push(directory, push, private)}")


@program.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The checkpoint.pt to write.")
@click.option("--tokenizer", help="gpt2, or a tokenizer.json of `pretrain data`.  [default: the source's own]")
def import_(source: Path, output: Path, tokenizer: str | None) -> None:
    """Read a model from elsewhere: SOURCE becomes a checkpoint.pt.

    \b
    SOURCE is a GPT-2 directory of Hugging Face, a directory with model.json and model.safetensors
    (gpjt/ddp-base-model-from-scratch), or a checkpoint of nanoGPT:
      pretrain import downloads/gpt2 -o runs/gpt2/checkpoint.pt
      pretrain import nanoGPT/out/ckpt.pt -o runs/nano/checkpoint.pt --tokenizer gpt2
    """
    from pretrain.exchange.importing import import_checkpoint

    found = import_checkpoint(source, output, tokenizer)
    for note in found.notes:
        console.say(f"note: {note}")
    shape = found.config
    console.say(
        f"wrote {output} ({found.layout}: {shape.n_layer} layers, {shape.n_embd} wide, {shape.vocab_size:,} ids)"
    )


def main() -> None:
    """Entry point of `pretrain`."""
    console.run(program, "pretrain")
