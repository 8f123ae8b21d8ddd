"""The commands `pretrain export` and `pretrain import`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from equiloss import console
from equiloss.cli import Overwrite, output_option
from equiloss.errors import EquilossError, IncompleteError
from pretrain.cli.options import Checkpoint

commands = Typer()


@commands.command()
def export(
    checkpoint: Checkpoint,
    directory: Annotated[Path, Argument(metavar="DIRECTORY")],
    template: Annotated[str | None, Option(help="The chat template.", show_default="its own, or alpaca")] = None,
    push: Annotated[str | None, Option(metavar="OWNER/NAME", help="Upload it to the Hub (token: HF_TOKEN).")] = None,
    private: Annotated[bool, Option("--private", help="With --push: a repository that only you see.")] = False,
    _overwrite: Overwrite = False,
) -> None:
    """Write CHECKPOINT as a Hugging Face DIRECTORY that transformers loads with no custom code.

    \b
      pretrain export runs/first/checkpoint.pt hf/first
      pretrain export runs/ift/first/checkpoint.pt hf/first-ift --push me/first-ift --private
    """
    from pretrain.exchange import export as exporting
    from pretrain.model.checkpoint import load

    try:
        name = exporting.export(load(checkpoint), directory, template, push)
    except IncompleteError as error:  # a full disk: nothing is kept, so there is nothing to go on from
        raise EquilossError(error.message, error.hint) from None
    console.say(f"wrote {directory} (chat template: {name})")
    if push:
        console.say(f"uploaded to {exporting.push(directory, push, private)}")


@commands.command("import")
def import_(
    source: Annotated[Path, Argument(metavar="SOURCE")],
    output: Annotated[Path, output_option("The checkpoint.pt to write.")],
    tokenizer: Annotated[str | None, Option(help="gpt2, or a tokenizer.json.", show_default="the source's own")] = None,
    _overwrite: Overwrite = False,
) -> None:
    """Read a model from elsewhere: SOURCE becomes a checkpoint.pt.

    \b
    SOURCE is a GPT-2 directory of Hugging Face, a directory with model.json and model.safetensors
    (gpjt/ddp-base-model-from-scratch), or a checkpoint of nanoGPT:
      pretrain import downloads/gpt2 -o runs/gpt2/checkpoint.pt
      pretrain import nanoGPT/out/ckpt.pt -o runs/nano/checkpoint.pt --tokenizer gpt2
    """
    from pretrain.exchange.importing import import_checkpoint

    imported = import_checkpoint(source, output, tokenizer)
    console.say(*(f"note: {note}" for note in imported.notes))
    shape = imported.config
    size = f"{shape.n_layer} layers, {shape.n_embd} wide, {shape.vocab_size:,} ids"
    console.say(f"wrote {output} ({imported.layout}: {size})")
