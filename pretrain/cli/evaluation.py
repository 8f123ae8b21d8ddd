"""The commands `pretrain eval`, `pretrain probe` and `pretrain sample`."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, Typer

from equiloss import console
from equiloss.cli import JsonFlag, Overwrite, output_option, repeatable
from pretrain.cli.options import (
    COUNT,
    MAX_NEW_TOKENS,
    TEMPERATURE,
    TOP_K,
    TOP_P,
    Checkpoint,
    Device,
    Seed,
)

commands = Typer()


@commands.command("eval")
def evaluate(
    checkpoints: Annotated[list[Path], Argument(metavar="CHECKPOINTS")],
    *,
    data: Annotated[list[Path], repeatable("--data", "DIR", "A data directory; several are several test sets.")],
    split: Annotated[str, Option(help="train, validation or test.")] = "test",
    output: Annotated[Path | None, output_option("Where to write.", "beside CHECKPOINTS")] = None,
    stride: Annotated[int | None, Option(help="Tokens a window moves on by.", show_default="half the context")] = None,
    documents: Annotated[int | None, Option(min=1, help="Only this many, spread evenly.", show_default="all")] = None,
    precision: Annotated[Literal["fp32", "tf32", "bf16", "fp16", "auto"], Option()] = "fp32",
    margin: Annotated[float, Option(help="Nats within which losses are equivalent.")] = 0.05,
    _overwrite: Overwrite = False,
    device: Device = "cpu",
    as_json: JsonFlag = False,
) -> None:
    """Measure the loss of CHECKPOINTS document by document; several are compared in pairs, on each test set.

    \b
      pretrain eval runs/first/checkpoint.pt --data data/speeches
      pretrain eval runs/*/checkpoint.pt --data data/fineweb --data data/fineweb-edu --margin 0.02 --json
    Dropout is off. Each document is seen alone; intervals are clustered by document. The files
    DATA.SPLIT.eval.json and .npz beside each checkpoint keep the losses of every document.
    """
    from equiloss.progress import counting
    from pretrain.evaluation import tables
    from pretrain.evaluation.evaluate import Method, evaluate_all

    method = Method(split, stride, precision, documents)
    with counting("pretrain eval", "tokens") as on_progress:
        result = evaluate_all(checkpoints, data, method, output, margin, device, on_progress)
    console.say(*(f"wrote {row.file}" for row in result.evaluations))
    if as_json:
        console.emit_json(result)
    else:
        tables.emit(result.evaluations, result.comparisons, result.overall)


@commands.command()
def probe(
    checkpoint: Checkpoint,
    *,
    data: Annotated[Path | None, Option(help="The data directory: its test split.")] = None,
    text: Annotated[
        Path | None,
        Option(help="Its test text is read instead: one for all models that are compared.", show_default="--data"),
    ] = None,
    facts: Annotated[Path | None, Option(help="Facts.", show_default="those of the data's world")] = None,
    items: Annotated[Path | None, Option(help="Instruction items: the whole data set.")] = None,
    test: Annotated[Path | None, Option(help="The held-out items, or answers to them.")] = None,
    tuned: Annotated[Path | None, Option(help="A fine-tuning of the checkpoint, to see forgetting.")] = None,
    only: Annotated[list[str], repeatable("--only", "PROBE", "This probe alone; may be repeated.")],
    tokens: Annotated[int, Option(min=64, help="Test text for losses.")] = 65_536,
    seed: Annotated[int, Option(help="Of random sequences, noise and samples.")] = 0,
    output: Annotated[Path | None, output_option("The record.", "beside the checkpoint")] = None,
    _overwrite: Overwrite = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure what the loss of CHECKPOINT does not show, for `judge diagnose`: facts, copying, sharpness, items.

    A probe that lacks its input is skipped, and the record says so; tolerance, which takes minutes, runs only when
    named. An unknown name lists the probes.

    \b
      pretrain probe runs/a/checkpoint.pt --data data/demo --items alpaca.json --test results/a.jsonl
      pretrain probe runs/b/checkpoint.pt --data data/reworded --text data/demo
      pretrain probe runs/a/checkpoint.pt --data data/speeches --facts facts.jsonl --only cloze
    """
    from pretrain.probes import tables
    from pretrain.probes.run import run
    from pretrain.probes.subject import ProbeOptions

    record, path = run(checkpoint, ProbeOptions(data, text, facts, items, test, tuned, only, tokens, seed), output)
    if as_json:
        console.emit_json(record)
        return
    console.emit_table(tables.table(record))
    console.say(*(f"{name}: skipped, {reason}" for name, reason in record.skipped.items()))
    console.out().print(str(path), markup=False)


@commands.command()
def sample(
    checkpoint: Checkpoint,
    prompt: Annotated[str, Argument(metavar="PROMPT")] = "",
    count: Annotated[int, COUNT] = 1,
    max_new_tokens: Annotated[int, MAX_NEW_TOKENS] = 100,
    temperature: Annotated[float, TEMPERATURE] = 0.0,
    top_k: Annotated[int, TOP_K] = 0,
    top_p: Annotated[float, TOP_P] = 1.0,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Let a model write on after PROMPT (without one: from the start of a document).

    \b
      pretrain sample runs/first/checkpoint.pt "My fellow citizens"
      pretrain sample runs/first/checkpoint.pt "My fellow" -n 3 --temperature 0.8 --top-p 0.95
    """
    from dataclasses import asdict

    from pretrain.model import sample as sampling

    samples = sampling.sample(
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
        console.emit_json({"prompt": prompt, "seed": seed, "samples": [asdict(text) for text in samples]})
        return
    for number, continuation in enumerate(samples, start=1):
        if count > 1:
            console.say(f"-- {number} of {count} ({continuation.finish_reason})")
        console.write(prompt + continuation.text)
