"""Answers and training items on the terminal: beside their references, and as the tokens that carry loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from equiloss.records.response import Response, read_responses
from equiloss.redaction import visible
from equiloss.tokenizer import load as load_encoding
from ift.data.formats import read_examples
from ift.generation import metrics
from ift.prompts import LossOn, load


def selected(
    path: Path, category: str | None = None, wrong: bool = False, search: str | None = None
) -> tuple[list[Response], list[Response]]:
    """All responses of a file, and those of a category, that miss the reference, or that hold a text.

    Raises: InputError when the file is no results file.
    """
    everything = read_responses(path)

    def wanted(one: Response) -> bool:
        texts = (one.instruction, one.input, one.output, one.reference)
        return (
            (category is None or one.category == category)
            and not (wrong and metrics.exact_match(one))
            and (search is None or any(search.casefold() in text.casefold() for text in texts))
        )

    return everything, [one for one in everything if wanted(one)]


def table(responses: Sequence[Response], title: str) -> Table:
    """Each answer beside its reference; an exact match is green. Answers are text, never markup."""
    made = Table(title=Text(visible(title)), show_lines=True)
    made.add_column("category")
    made.add_column("asked", ratio=3)
    made.add_column("reference", ratio=2)
    made.add_column("answer", ratio=3)
    for one in responses:
        asked = f"{one.instruction}\n{one.input}" if one.input else one.instruction
        style = "green" if one.reference and metrics.exact_match(one) else ""
        answer = Text(visible(one.output), style=style)
        if one.finish_reason == "length":
            answer.append(" …", style="dim")
        made.add_row(*(Text(visible(text)) for text in (one.category or "", asked, one.reference)), answer)
    return made


def preview(source: str, template: str, tokenizer: str, loss_on: LossOn, count: int) -> list[dict[str, Any]]:
    """The first items of the data as tokens: id, text, and whether each carries loss.

    `tokenizer`: gpt2, a tokenizer.json, or a checkpoint.pt, for its own. Raises: InputError when the data, the template
    or the tokenizer cannot be read.
    """
    from pretrain.exchange.tokenizer_files import named

    encoding = load_encoding(named(tokenizer))
    chosen = load(template)
    rows: list[dict[str, Any]] = []
    for example in read_examples(source)[:count]:
        tokens = chosen.tokens(example, encoding.encode_ordinary, encoding.eot_token, loss_on)
        rows.append(
            {
                "id": example.id,
                "n_tokens": len(tokens.ids),
                "prompt_tokens": tokens.prompt_tokens,
                "loss_tokens": sum(tokens.loss),
                "tokens": [
                    {"token": token, "text": encoding.decode([token]), "loss": carries}
                    for token, carries in zip(tokens.ids, tokens.loss, strict=True)
                ],
            }
        )
    return rows


def preview_text(row: dict[str, Any]) -> Text:
    """An item's tokens, cut by bars; those that carry loss stand between « and » (and are green on a terminal)."""
    text = Text(f"{visible(row['id'])}: {row['n_tokens']} tokens, {row['loss_tokens']} with loss\n", style="bold")
    inside = False
    shown = {part: visible(part) for part in {token["text"] for token in row["tokens"]}}
    for token in row["tokens"]:
        if token["loss"] != inside:
            text.append("«" if token["loss"] else "»", style="bold green")
            inside = token["loss"]
        else:
            text.append("|", style="dim")
        text.append(shown[token["text"]], style="green" if token["loss"] else "")
    if inside:
        text.append("»", style="bold green")
    return text
