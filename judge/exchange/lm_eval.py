"""lm-evaluation-harness: samples_TASK.jsonl of a task that generates, in."""

from __future__ import annotations

import json

from judge.exchange.collected import Collected, Source
from judge.exchange.registry import Row, importer

_FIELDS = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash",
           "prompt_hash", "target_hash"}  # fmt: skip


@importer("lm-eval")
def sample(collected: Collected, row: Row, source: Source) -> None:
    """Prompt, answer, target and metrics.

    A document has a line for each of the task's filters: the first one's answer is kept, and the metrics of all.
    """
    arguments, output = row["arguments"], row["filtered_resps"][0]  # {"gen_args_0": {"arg_0": ...}}, or [[..., {}]]
    prompt = arguments["gen_args_0"]["arg_0"] if "gen_args_0" in arguments else arguments[0][0]
    if not isinstance(output, str):
        raise ValueError("no text was generated; a task of choices has no answers to judge")
    asked = _asked(prompt if isinstance(prompt, str) else prompt[0])
    document = (source.path, json.dumps(row["doc_id"]))
    id = collected.answer(source.generator, document, asked, output, reference=str(row.get("target") or ""))
    rubric = "lm-eval" if row.get("filter") in (None, "none") else f"lm-eval-{row['filter']}"
    for name in row.get("metrics") or [name for name in row if name not in _FIELDS]:
        if isinstance(value := row.get(name), int | float):
            collected.score(source.generator, id, value, rubric, "lm-eval", criterion=name)


def _asked(prompt: str) -> str:
    """What a prompt asks: of messages that a chat template was given, the last one's text."""
    try:
        return str(json.loads(prompt)[-1]["content"])
    except (ValueError, TypeError, KeyError, IndexError):
        return prompt
