"""The commands `ift respond`, `preview`, `show` and `chat`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, Typer

from equiloss import console
from equiloss.cli import JsonFlag, Overwrite, positive
from ift.cli.options import Data, Model, Results, SkipBad, Template
from pretrain.cli.options import COUNT, MAX_NEW_TOKENS, TEMPERATURE, TOP_K, TOP_P, Device, Seed

commands = Typer()


@commands.command()
def respond(
    model: Model,
    data: Data,
    name: Annotated[str | None, Option(help="The generator's name.", show_default="MODEL-DATA")] = None,
    skip_bad: SkipBad = False,
    output: Results = Path("results"),
    template: Template = None,
    seed: Seed = 0,
    max_new_tokens: Annotated[int | None, MAX_NEW_TOKENS] = None,
    temperature: Annotated[float | None, TEMPERATURE] = None,
    top_k: Annotated[int | None, TOP_K] = None,
    top_p: Annotated[float | None, TOP_P] = None,
    repetition_penalty: Annotated[
        float | None, Option(help="Above 1, tokens that the answer already has become less likely.", callback=positive)
    ] = None,
    precision: Annotated[Literal["fp32", "bf16"] | None, Option()] = None,
    batch_size: Annotated[int | None, Option(min=1, help="Answered together.", show_default="all that fit")] = None,
    _overwrite: Overwrite = False,
    device: Device = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Answer the items of DATA with a fine-tuned model: OUTPUT/NAME.jsonl, a response per line.

    \b
      ift respond --model runs/ift/first --data test.json --name first-again
      ift respond --model openai-community/gpt2 --data test.json --template alpaca
    Each line has id, instruction, input, output (the answer), reference, generator, category, finish_reason,
    n_tokens, seed, schema. What is not given is as the model was trained, else alpaca, greedy, 256 tokens, fp32.
    An item's answer depends on the seed and on nothing else. A killed run goes on with the same command.
    """
    from ift.cli import summary
    from ift.generation.respond import respond as answer

    decoding = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "repetition_penalty": repetition_penalty,
        "precision": precision,
        "batch_size": batch_size,
    }
    answers = answer(
        model,
        data=data,
        skip_bad=skip_bad,
        name=name,
        results=output,
        template=template,
        seed=seed,
        decoding={key: value for key, value in decoding.items() if value is not None},
        device=device,
    )
    if answers is None:
        return
    console.say(*summary.of_answers(answers))
    if as_json:
        console.emit_json(summary.document([answers.record]))


@commands.command()
def preview(
    data: Data,
    template: Annotated[str, Option(help="A template's name or path.")] = "alpaca",
    tokenizer: Annotated[str, Option(help="gpt2, a tokenizer.json, or a checkpoint.pt.")] = "gpt2",
    loss_on: Literal["response", "prompt+response"] = "response",
    count: Annotated[int, COUNT] = 3,
    as_json: JsonFlag = False,
) -> None:
    """Show the first items as the tokens that training sees, those that carry loss between « and ».

    \b
      ift preview --data alpaca.json --template chatml -n 1
    """
    from ift.generation import show

    rows = show.preview(data, template, tokenizer, loss_on, count)
    if as_json:
        console.emit_json({"template": template, "loss_on": loss_on, "items": rows})
        return
    for row in rows:
        console.out().print(show.preview_text(row), soft_wrap=True)


@commands.command("show")
def show_answers(
    file: Annotated[Path, Argument(metavar="FILE")],
    count: Annotated[int, COUNT] = 20,
    category: Annotated[str | None, Option(help="Only this category.")] = None,
    wrong: Annotated[bool, Option("--wrong", help="Only answers that differ from their reference.")] = False,
    search: Annotated[str | None, Option(metavar="TEXT", help="Only items that hold this text.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the answers of a results file beside their references.

    \b
      ift show results/first.jsonl --wrong -n 10
    """
    from ift.cli import summary
    from ift.generation import metrics, show

    everything, chosen = show.selected(file, category, wrong, search)
    statistics = metrics.summary(everything)
    if as_json:
        rows = [response.model_dump(by_alias=True) for response in chosen[:count]]
        console.emit_json({"file": str(file), "summary": statistics, "chosen": len(chosen), "responses": rows})
        return
    console.emit_table(show.table(chosen[:count], f"{file}: {min(count, len(chosen))} of {len(chosen)}"))
    console.say(*summary.of_statistics(statistics))


@commands.command()
def chat(
    model: Model,
    template: Template = None,
    history: Annotated[bool, Option("--history", help="Show the model the earlier turns too.")] = False,
    max_new_tokens: Annotated[int, MAX_NEW_TOKENS] = 200,
    temperature: Annotated[float, TEMPERATURE] = 0.0,
    seed: Seed = 0,
) -> None:
    """Try a model by hand: type an instruction, read its answer.

    \b
      ift chat --model runs/ift/first
      echo "Name a colour." | ift chat --model runs/ift/first
    """
    from ift.generation import chat as conversation
    from ift.generation.model_answerer import open_answerer
    from pretrain.model.device import pick_device

    decoding = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    answerer = open_answerer(model, template, decoding, pick_device("auto"))
    if sys.stdin.isatty():
        console.say(conversation.HELP)
    conversation.chat(answerer, console.read_line, console.write, seed, history)
