"""What a judge would be sent for one item, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from equiloss.errors import InputError
from judge import rubrics
from judge.data.answers import open_jointly
from judge.scoring.plan import Options, Plan


class PromptPreview(TypedDict):
    """One prompt: what is sent, who stands behind each label, and the tokens of its parts as GPT-2 counts them."""

    messages: list[dict[str, str]]
    shown: dict[str, str]
    tokens: dict[str, int]


class ItemPreview(TypedDict):
    """All prompts for an item."""

    id: str
    rubric: str
    layout: str
    prompts: list[PromptPreview]


def preview_item(
    files: Sequence[Path],
    item: str,
    *,
    rubric: str,
    layout: str | None,
    group_size: int,
    control_answers: float,
    seed: int,
) -> ItemPreview:
    """The prompts for an item (a place from 1, or an id), who stands where in them, and their tokens (GPT-2's count).

    Raises: InputError when there is no such item.
    """
    from equiloss.tokenizer import gpt2

    answers = open_jointly(files)
    loaded = rubrics.load(rubric)
    id = item
    if item not in answers.ids:
        if not (item.isdigit() and 1 <= int(item) <= len(answers.ids)):
            raise InputError(f"no item {item!r}", f"give a place from 1 to {len(answers.ids):,}, or an id")
        id = answers.ids[int(item) - 1]
    options = Options(
        loaded.layout_for(len(files), layout), seed=seed, group_size=group_size, control_answers=control_answers
    )
    plan = Plan(answers, loaded, options)
    encoding = gpt2()
    names = [file.generator for file in answers.files]
    prompts: list[PromptPreview] = []
    for ask in plan:
        if ask.item.id != id:
            continue
        prompt = ask.prompt(loaded)
        shown = {
            label: f"control answer: {slot.control}" if slot.control else " = ".join(names[one] for one in slot.files)
            for label, slot in zip(prompt.labels, ask.slots, strict=True)
        }
        tokens = {part: len(encoding.encode_ordinary(getattr(prompt, part))) for part in ("system", "user")}
        prompts.append({"messages": prompt.messages, "shown": shown, "tokens": tokens})
    return {"id": id, "rubric": loaded.name, "layout": options.layout, "prompts": prompts}
