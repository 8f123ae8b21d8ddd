"""What a judge would be sent for one item, exactly."""

from __future__ import annotations

from typing import TypedDict

from equiloss.errors import InputError
from judge import rubrics
from judge.data.answers import open_jointly
from judge.rubrics import Layout, Message
from judge.scoring.options import ScoreRequest
from judge.scoring.plan import Plan


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


def preview_item(request: ScoreRequest, item: str) -> ItemPreview:
    """The prompts for an item (a place from 1, or an id), and who stands where in them.

    Raises: InputError when there is no such item.
    """
    from equiloss.tokenizer import gpt2

    answers = open_jointly(request.files)
    id = item
    if item not in answers.ids:
        if not (item.isdigit() and 1 <= int(item) <= len(answers.ids)):
            raise InputError(f"no item {item!r}", f"give a place from 1 to {len(answers.ids):,}, or an id")
        id = answers.ids[int(item) - 1]
    plan = Plan(answers, rubrics.load(request.rubric), request)
    encoding = gpt2()
    prompts: list[PromptPreview] = []
    for asked in plan:
        if asked.item.id == id:
            sharers = (" = ".join(plan.generators[file] for file in slot.files) for slot in asked.slots)
            kinds = (slot.control and f"control answer: {slot.control}" for slot in asked.slots)
            shown = {label: kind or who for label, kind, who in zip(asked.labels, kinds, sharers, strict=True)}
            parts = {"system": asked.prompt.system, "user": asked.prompt.user}
            tokens = {part: len(encoding.encode_ordinary(text)) for part, text in parts.items()}
            prompts.append({"messages": asked.messages(), "shown": shown, "tokens": tokens})
    return {"id": id, "rubric": plan.rubric.name, "layout": plan.layout, "prompts": prompts}
