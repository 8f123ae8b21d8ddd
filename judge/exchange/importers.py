"""How foreign formats state answers and scores. A reader raises KeyError or ValueError at what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from judge.exchange.collected import Found

Row = Mapping[str, Any]
Reader = Callable[["Found", Row, str, str, object], None]


def annotation(found: Found, row: Row, generator: str, judge: str, where: object) -> None:
    """AlpacaEval's annotations.json: `preference` is 1 for the first output, 2 for the second, or between; 1.5 a tie.

    Kept in per cent for each, so that the second's mean and its standard error are the leaderboard's.
    """
    del generator
    names = (str(row["generator_1"]), str(row["generator_2"]))
    key = ""
    for index, name in enumerate(names, start=1):
        fields = {"instruction": row["instruction"], "output": row[f"output_{index}"], "category": row.get("dataset")}
        key = found.answer(name, where, **fields)
    if (preference := row["preference"]) is None:
        return
    second = 0.5 if preference in (0, 1.5) else float(preference) - 1
    if not 0 <= second <= 1:
        raise ValueError(f"a preference of {preference}")
    for position, (name, share) in enumerate(zip(names, (1 - second, second), strict=True)):
        found.score(
            name,
            key,
            100 * share,
            rubric="alpaca-eval",
            judge=str(row.get("annotator") or judge),
            criterion="preference",
            group=list(names),
            position=position,
            scale=(0, 100),
        )


def lm_eval(found: Found, row: Row, generator: str, judge: str, where: object) -> None:
    """lm-evaluation-harness's samples_TASK.jsonl, of a task that generates: prompt, answer, target and metrics.

    A document has a line for each of the task's filters: the first one's answer is kept, and the metrics of all.
    """
    del judge
    arguments: Any = row["arguments"]
    if isinstance(arguments, Mapping):  # {"gen_args_0": {"arg_0": the prompt, "arg_1": the settings}}
        prompt: Any = cast("Row", next(iter(cast("Row", arguments).values())))["arg_0"]
    else:
        prompt = arguments[0][0]
    if isinstance(prompt, list):
        prompt = cast("list[Any]", prompt)[0]
    output = row["filtered_resps"][0]
    if not isinstance(output, str):
        raise ValueError("no text was generated; a task of choices has no answers to judge")
    fields = {"instruction": _asked(str(prompt)), "output": output, "reference": str(row.get("target") or "")}
    path, _ = cast("tuple[str, int]", where)
    key = found.answer(generator, (path, row["doc_id"]), **fields)
    rubric = "lm-eval" if row.get("filter") in (None, "none") else f"lm-eval-{row['filter']}"
    metrics = row.get("metrics") or [name for name in row if name not in _LM_EVAL_FIELDS]
    for name in metrics:
        if isinstance(value := row.get(str(name)), int | float):
            found.score(generator, key, float(value), rubric=rubric, judge="lm-eval", criterion=str(name))


_LM_EVAL_FIELDS = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash",
                   "prompt_hash", "target_hash"}  # fmt: skip


def _asked(prompt: str) -> str:
    """What a prompt asks: of messages that a chat template was given, the last one's text."""
    try:
        messages: Any = json.loads(prompt)
    except ValueError:
        return prompt
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict) and "content" in messages[-1]:
        return str(cast("list[dict[str, Any]]", messages)[-1]["content"])
    return prompt


def inspect(found: Found, row: Row, generator: str, judge: str, where: object) -> None:
    """Inspect's precomputed scores: `id`, `value` (a number, a grade, or one of them for each name), `epoch`."""
    del where
    about: Row = row.get("metadata") or {}
    value: Any = row["value"]
    named = cast("Row", value) if isinstance(value, Mapping) else {"score": value}
    for name, one in named.items():
        found.score(
            str(about.get("generator") or generator),
            str(row["id"]),
            _GRADES[one] if one in _GRADES else float(one),
            rubric=str(about.get("rubric") or "inspect"),
            judge=str(about.get("judge") or judge),
            criterion=str(name),
            explanation=row.get("explanation") or "",
            repeat=int(row.get("epoch") or 1) - 1,
        )


_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}


def book(found: Found, row: Row, generator: str, judge: str, where: object) -> None:
    """The diary's file (`model_response`), and the book's of several models ("model 1 response", ...)."""
    del judge
    names = [key for key in row if key.endswith("response")]
    if not names:
        raise KeyError("model_response")
    for name in names:
        model = generator if name == "model_response" else name.removesuffix("response").strip().replace(" ", "-")
        fields = {"instruction": row["instruction"], "input": row.get("input") or "", "reference": row["output"]}
        found.answer(model, where, output=str(row[name]).strip(), **fields)


def table(found: Found, row: Row, generator: str, judge: str, where: object) -> None:
    """A row of the table that csv and parquet are written as: an answer, and its score if there is one."""
    name = str(row.get("generator") or generator)
    kept = {key: value for key, value in row.items() if value not in (None, "")}
    known = ("id", "instruction", "input", "reference", "category", "finish_reason", "n_tokens")
    fields = {one: kept[one] for one in known if one in kept}
    key = found.answer(name, kept.get("id") or where, output=row["output"] or "", **fields)
    if "value" in kept:
        known = ("judge_resolved", "criterion", "repeat", "position", "explanation", "cost_usd")
        fields = {"criterion": "score", **{one: kept[one] for one in known if one in kept}}
        by = {"rubric": str(kept.get("rubric", "table")), "judge": str(kept.get("judge", judge))}
        found.score(name, key, float(kept["value"]), **by, **fields)


READERS: dict[str, Reader] = {
    "alpaca-eval": annotation,
    "lm-eval": lm_eval,
    "inspect": inspect,
    "diary": book,
    "csv": table,
    "parquet": table,
}
