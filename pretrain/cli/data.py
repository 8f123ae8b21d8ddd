"""The commands `pretrain data` and `pretrain world`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from equiloss import console
from equiloss.cli import JsonFlag, Overwrite, claim_outputs, output_option, repeatable
from equiloss.numerals import percent

commands = Typer()

Overlap = Annotated[
    float, Option("--overlap", min=0.01, max=1, help="The share of its 13-grams from which a document counts as there.")
]


@commands.command()
def data(
    sources: Annotated[list[str], Argument(metavar="SOURCE[=WEIGHT]...")],
    output: Annotated[Path, output_option("The data directory to write.")],
    *,
    tokenizer: Annotated[str, Option(help="gpt2, a tokenizer.json, a checkpoint.pt, or a GPT-2 directory.")] = "gpt2",
    train_tokenizer: Annotated[int | None, Option(metavar="N", help="Train a byte-level BPE of N ids instead.")] = None,
    validation: Annotated[float, Option(help="Share of documents for validation.")] = 0.05,
    test: Annotated[float, Option(help="Share of documents for the test.")] = 0.05,
    seed: Annotated[int, Option(help="Decides which documents go where.")] = 0,
    text_field: Annotated[str, Option(help="The field of a record that holds its text.")] = "text",
    domain_field: Annotated[
        str | None, Option(help="The field that names its domain.", show_default="the folder or file")
    ] = None,
    separator: Annotated[str | None, Option(help="Cut text files at this text, e.g. '<|endoftext|>'.")] = None,
    exclude: Annotated[
        list[str], repeatable("--exclude", "DATA[:SPLIT[:START:COUNT]]", "Leave out documents of this text (tokens).")
    ],
    overlap: Overlap = 0.5,
    workers: Annotated[int | None, Option(min=1, help="Tokenizing processes.", show_default="one per CPU")] = None,
    as_json: JsonFlag = False,
    _overwrite: Overwrite = False,
) -> None:
    """Turn the text of SOURCE into token shards: DIR/{train,validation,test}.bin and data.json.

    \b
    SOURCE is a text file, .jsonl, .json or .parquet (each also .gz), a folder of those (its folders are the
    domains), hub:NAME[:CONFIG][:SPLIT] for a Hugging Face data set, world:NAME for the built-in world, or tokens
    already made: a .safetensors with a vector "tokens", nanoGPT's .bin, or a folder with train.safetensors (train.bin):
      pretrain data speeches/ -o data/speeches --train-tokenizer 2048
      pretrain data hub:HuggingFaceFW/fineweb:sample-10BT -o data/fineweb
      pretrain data world:demo -o data/demo --train-tokenizer 1024
      pretrain data fineweb/=45 fineweb-edu/=45 simplewiki.parquet=10 -o data/mix
      pretrain data fineweb-edu/ -o data/edu --exclude data/fineweb:test --exclude val.safetensors:50000000:19660800
    Several sources are mixed by weight, in bytes of text: one that ends begins again, until each was read once.
    Equal documents are kept once; which split a document goes to depends on its text and the seed alone.
    """
    from functools import partial

    from equiloss.progress import counting
    from pretrain.data import mixing
    from pretrain.data.corpus import Fields
    from pretrain.data.overlap import Exclusion
    from pretrain.data.shard_writer import write_source, written
    from pretrain.data.splits import Fractions
    from pretrain.exchange.tokenizer_files import named

    claim_outputs(output / "data.json")
    with counting("pretrain data", "tokens") as on_progress:
        shards = write_source(
            sources[0],
            output,
            tokenizer=named(tokenizer),
            train_tokenizer=train_tokenizer,
            fields=Fields(text_field, domain_field, separator),
            mix=mixing.parse(sources),
            seed=seed,
            fractions=Fractions(validation, test),
            exclude=partial(Exclusion, exclude, threshold=overlap) if exclude else None,
            workers=workers,
            on_progress=on_progress,
        )
    console.say(*written(shards))
    if as_json:
        console.emit_json(shards.summary())


@commands.command()
def world(
    name: Annotated[str, Argument(metavar="NAME")],
    output: Annotated[Path, output_option("The JSON file to write.")],
    _overwrite: Overwrite = False,
) -> None:
    """Write instruction data about the built-in world NAME: Alpaca-style JSON with a category and a reference each.

    \b
    NAME is a preset, with overrides after a question mark (docs/world.md lists them):
      pretrain world demo -o demo.json
      pretrain world 'demo?people=50&skill_items=20' -o small.json
    The text that goes with it: pretrain data 'world:demo?people=50' -o data/small
    """
    from collections import Counter

    from equiloss.files import claim, read_json, write_json
    from pretrain.data.world import instructions

    items = instructions(name)
    claim(output, output.is_file() and read_json(output) == items)
    write_json(output, items)
    counts = Counter(str(item["category"]) for item in items)
    parts = ", ".join(f"{count} {category}" for category, count in sorted(counts.items()))
    console.say(f"{output}: {len(items)} items: {parts}")


@commands.command()
def overlap(
    a: Annotated[str, Argument(metavar="A")],
    b: Annotated[str, Argument(metavar="B")],
    tokenizer: Annotated[str, Option(help="Of token files: gpt2, a tokenizer.json, a checkpoint.pt.")] = "gpt2",
    threshold: Overlap = 0.5,
    as_json: JsonFlag = False,
) -> None:
    """Find the documents of B (its test split) in the training tokens of A, by runs of 13 tokens that both have.

    \b
    A and B are DATA[:SPLIT[:START:COUNT]]: a data directory, a .safetensors with a vector "tokens", or a folder with
    train.safetensors and its like; START and COUNT are in tokens:
      pretrain overlap data/mix data/fineweb:test
      pretrain overlap train.safetensors validation.safetensors:50000000:19660800
    """
    from pretrain.data.overlap import overlap as find
    from pretrain.exchange.tokenizer_files import named

    found = find(a, b, named(tokenizer), threshold)
    if as_json:
        console.emit_json(found.model_dump(mode="json"))
        return
    console.out().print(
        f"{found.documents_found:,} of {found.documents:,} documents ({percent(found.documents_share, 1)}) and "
        f"{found.tokens_found:,} of {found.tokens:,} tokens ({percent(found.tokens_share, 1)}) of {b} stand in {a}; "
        f"{found.documents_whole:,} documents whole",
        markup=False,
    )
