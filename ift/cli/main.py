"""The `ift` program: parses the command line and calls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from equiloss import console


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="equiloss")
def program() -> None:
    """Fine-tune base models on instructions, and write their answers.

    \b
      ift run --base runs/first/checkpoint.pt --data alpaca.json
    """


@program.command()
@click.option(
    "--base", required=True, type=click.Path(path_type=Path), help="checkpoint.pt, or a Hugging Face GPT-2 directory."
)
@click.option("--data", help="Instruction data.  [default: those of the world that the base was trained on]")
@click.option("--name", help="The run's name.  [default: the base's]")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    default=Path("runs/ift"),
    show_default=True,
    help="Where the fine-tuned model goes, in a directory called NAME.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Order of the data, dropout, noise, decoding.")
@click.option("--seeds", type=click.IntRange(min=1), help="Run N seeds: NAME.s1, NAME.s2, ... (seed --seed + 1, ...).")
@click.option("--recipe", default="default", show_default=True, help="default, diary, tiny, or a TOML file.")
@click.option("--lr-sweep", metavar="FROM:TO:N", help="Pick the learning rate by validation loss, e.g. 1e-5:1e-3:5.")
@click.option(
    "--overlap",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Shards of the pretraining text: report the test items that overlap with it.",
)
@console.option_set
@console.option_json
def run(
    base: Path,
    data: str | None,
    name: str | None,
    output: Path,
    models: Path,
    seed: int,
    seeds: int | None,
    recipe: str,
    lr_sweep: str | None,
    overlap: Path | None,
    sets: tuple[str, ...],
    as_json: bool,
) -> None:
    """Fine-tune a base model, select the best epoch, and answer the held-out items.

    \b
    DATA is a .json, .jsonl or .parquet file (Alpaca, ShareGPT or messages), hub:NAME, or world:NAME:
      ift run --base runs/first/checkpoint.pt
      ift run --base runs/first/checkpoint.pt --data alpaca.json --name first --seeds 5
      ift run --base runs/first/checkpoint.pt --data alpaca.json --recipe diary --set lr=1e-4
      torchrun --standalone --nproc-per-node 8 -m ift run --base runs/first/checkpoint.pt --data alpaca.json
    Writes OUTPUT/NAME.jsonl (answers) and OUTPUT/NAME.run.json (the record), and the model to MODELS/NAME/. The same
    command goes on with a killed run and leaves a finished one alone.
    """
    from ift.training.fine_tune import fine_tune
    from pretrain.training.allocator import keep_freed_memory

    keep_freed_memory()
    report = fine_tune(
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
    )
    for line in report.lines:
        console.say(line)
    if as_json and report.main:
        console.emit_json(report.document())


@program.command()
@click.option("--model", required=True, help="A directory of `ift run`, a checkpoint.pt, or a Hugging Face model.")
@click.option("--data", required=True, help="The items to answer.")
@click.option("--name", help="The generator's name.  [default: MODEL-DATA]")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--template", help="A template's name or path.  [default: the one the model was trained with, or alpaca]")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of sampling; an item's answer depends on nothing else."
)
@click.option("--max-new-tokens", type=click.IntRange(min=1), help="[default: as trained, or 256]")
@click.option("--temperature", type=click.FloatRange(min=0), help="0 is greedy.  [default: as trained, or 0]")
@click.option("--top-k", type=click.IntRange(min=0), help="Sample from the K likeliest tokens; 0: all.")
@click.option(
    "--top-p", type=click.FloatRange(min=0, max=1, min_open=True), help="Sample from the likeliest P of the mass."
)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="[default: as trained, or fp32]")
@click.option("--batch-size", type=click.IntRange(min=1), help="Answers written together.  [default: as many as fit]")
@click.option("--device", default="auto", show_default=True)
@console.option_json
def respond(
    model: str,
    data: str,
    name: str | None,
    output: Path,
    template: str | None,
    seed: int,
    max_new_tokens: int | None,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    precision: str | None,
    batch_size: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Answer the items of DATA with a fine-tuned model: OUTPUT/NAME.jsonl, a response per line.

    \b
      ift respond --model runs/ift/first --data test.json --name first-again
      ift respond --model openai-community/gpt2 --data test.json --template alpaca
    Each line has id, instruction, input, output (the answer), reference, generator, category, finish_reason,
    n_tokens, seed, schema. A killed run goes on with the same command.
    """
    from ift.training.fine_tune import respond as answer

    given = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "precision": precision,
        "batch_size": batch_size,
    }
    report = answer(
        model,
        data=data,
        name=name,
        results=output,
        template=template,
        seed=seed,
        decoding={key: value for key, value in given.items() if value is not None},
        device=device,
    )
    for line in report.lines:
        console.say(line)
    if as_json and report.main:
        console.emit_json(report.document())


@program.command()
@click.option("--data", required=True, help="Instruction data.")
@click.option("--template", default="alpaca", show_default=True, help="A template's name or path.")
@click.option("--tokenizer", default="gpt2", show_default=True, help="gpt2, a tokenizer.json, or a checkpoint.pt.")
@click.option("--loss-on", type=click.Choice(["response", "prompt+response"]), default="response", show_default=True)
@click.option("-n", "--count", type=click.IntRange(min=1), default=3, show_default=True, help="How many items.")
@console.option_json
def preview(
    data: str,
    template: str,
    tokenizer: str,
    loss_on: Literal["response", "prompt+response"],
    count: int,
    as_json: bool,
) -> None:
    """Show the first items as the tokens that training sees, those that carry loss between « and ».

    \b
      ift preview --data alpaca.json --template chatml -n 1
    """
    from equiloss.tokenizer import load
    from ift.generation.show import preview as look
    from ift.generation.show import preview_text

    if tokenizer.endswith(".pt"):
        from pretrain.model.checkpoint import load as load_checkpoint

        encoding = load_checkpoint(tokenizer).encoding
    else:
        encoding = load(tokenizer)
    rows = look(data, template, encoding, loss_on, count)
    if as_json:
        console.emit_json({"template": template, "loss_on": loss_on, "items": rows})
        return
    for row in rows:
        console.out().print(preview_text(row), soft_wrap=True)


@program.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-n", "--count", type=click.IntRange(min=1), default=20, show_default=True, help="Most rows to show.")
@click.option("--category", help="Only this category.")
@click.option("--wrong", is_flag=True, help="Only answers that differ from their reference.")
@click.option("--search", metavar="TEXT", help="Only items that hold this text.")
@console.option_json
def show(file: Path, count: int, category: str | None, wrong: bool, search: str | None, as_json: bool) -> None:
    """Show the answers of a results file beside their references.

    \b
      ift show results/first.jsonl --wrong -n 10
    """
    from ift.generation import metrics
    from ift.generation.show import selected, table
    from ift.training.fine_tune import answers_in_words

    everything, chosen = selected(file, category, wrong, search)
    summary = metrics.summary(everything)
    if as_json:
        rows = [one.model_dump(by_alias=True) for one in chosen[:count]]
        console.emit_json({"file": str(file), "summary": summary, "chosen": len(chosen), "responses": rows})
        return
    console.emit_table(table(chosen[:count], f"{file}: {min(count, len(chosen))} of {len(chosen)}"))
    for line in answers_in_words(summary):
        console.say(line)


@program.command()
@click.option("--model", required=True, help="A directory of `ift run`, a checkpoint.pt, or a Hugging Face model.")
@click.option("--template", help="A template's name or path.  [default: the one the model was trained with]")
@click.option("--history", is_flag=True, help="Show the model the earlier turns too.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0 is greedy.")
@click.option("--seed", type=int, default=0, show_default=True)
def chat(model: str, template: str | None, history: bool, max_new_tokens: int, temperature: float, seed: int) -> None:
    """Try a model by hand: type an instruction, read its answer.

    \b
      ift chat --model runs/ift/first
      echo "Name a colour." | ift chat --model runs/ift/first
    """
    from ift.generation.answerer import open_answerer
    from ift.generation.chat import HELP
    from ift.generation.chat import chat as talk
    from pretrain.model.device import pick_device

    decoding = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    answerer = open_answerer(model, template, decoding, pick_device("auto"))
    if sys.stdin.isatty():
        console.say(HELP)
    talk(answerer, console.read_line, click.echo, seed, history)


def main() -> None:
    """Entry point of `ift`."""
    console.run(program, "ift")
