"""What a judge would be sent for one item, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from equiloss.errors import InputError
from judge import rubrics
from judge.data.answers import open_jointly
from judge.rubrics import Layout, Message
from judge.scoring.plan import Plan, PlanOptions


class PromptPreview(TypedDict):
    """A prompt: its messages, which model stands behind each label, and the tokens of its parts (GPT-2's count)."""

    messages: list[Message]
    shown: dict[str, str]
    tokens: dict[str, int]


class ItemPreview(TypedDict):
    """All prompts for an item."""

    id: str
    rubric: str
    layout: Layout
    prompts: list[PromptPreview]


def preview_item(
    files: Sequence[Path],
    item: str,
    *,
    rubric: str,
    layout: Layout | None,
    group_size: int,
    control_answers: float,
    seed: int,
) -> ItemPreview:
    """The prompts for an item (a place from 1, or an id), and who stands where in them.

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
    options = PlanOptions(
        loaded.layout_for(len(files), layout), seed=seed, group_size=group_size, control_answers=control_answers
    )
    plan = Plan(answers, loaded, options)
    encoding = gpt2()
    prompts: list[PromptPreview] = []
    for request in plan:
        if request.item.id != id:
            continue
        prompt = request.prompt
        shown = {
            label: f"control answer: {slot.control}"
            if slot.control
            else " = ".join(plan.generators[file] for file in slot.files)
            for label, slot in zip(request.labels, request.slots, strict=True)
        }
        tokens = {
            part: len(encoding.encode_ordinary(text))
            for part, text in (("system", prompt.system), ("user", prompt.user))
        }
        prompts.append({"messages": prompt.messages, "shown": shown, "tokens": tokens})
    return {"id": id, "rubric": loaded.name, "layout": options.layout, "prompts": prompts}
