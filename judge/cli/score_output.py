"""What the asking commands print: tables for people, one JSON document for programs."""

from __future__ import annotations

from typing import Any

from equiloss import console
from judge import rubrics
from judge.data.control_answers import summarise
from judge.endpoints import offline
from judge.scoring.ledger import Ledger
from judge.scoring.score import Result
from judge.scoring.scorer import Scored


def document(result: Result) -> dict[str, Any]:
    """The document of `judge score --json`; its keys are described in docs/judges.md."""
    return {
        "format": "equiloss.score.v1",
        "dry_run": result.request.dry_run,
        "rubric": {"name": result.rubric.name, "version": result.rubric.front.version, "sha256": result.rubric.sha},
        "layout": result.layout,
        "repeats": result.request.repeats,
        "items": len(result.answers.ids),
        "files": [
            {
                "path": str(file.path),
                "generator": file.generator,
                "items": len(file),
                "not_judged": result.answers.unmatched.get(file.generator, 0),
            }
            for file in result.answers.files
        ],
        "judges": [_judge(result, one) for one in result.scored],
        "ledger": str(result.ledger) if result.ledger else None,
        "prices_as_of": result.prices.as_of,
        "warnings": result.warnings + [text for one in result.scored for text in _warnings(result, one)],
        "stopped": str(result.stopped) if result.stopped else None,
    }


def emit(result: Result, *, as_json: bool) -> None:
    """Print the summary of `judge score`."""
    found = document(result)
    if as_json:
        console.emit_json(found)
        return
    for warning in found["warnings"]:
        console.warn(warning)
    for judge in found["judges"]:
        if result.request.dry_run:
            _emit_estimate(found, judge)
        else:
            _emit_scores(found, judge)


def emit_rubrics(*, as_json: bool) -> None:
    """Print the shipped rubrics."""
    from rich.table import Table

    loaded = [rubrics.load(name) for name in rubrics.names()]
    if as_json:
        console.emit_json([{**one.front.model_dump(mode="json"), "sha256": one.sha} for one in loaded])
        return
    table = Table(title="rubrics")
    for column in ("name", "layout", "scale", "criteria", "reference", "what it judges"):
        table.add_column(column, overflow="fold")
    for one in loaded:
        scale = one.front.scale
        table.add_row(
            one.name,
            one.front.layout,
            f"{scale.min:g} to {scale.max:g}",
            ", ".join(one.criteria),
            one.front.reference,
            one.front.description,
        )
    console.emit_table(table)


def emit_rubric(name: str, *, as_json: bool) -> None:
    """Check a rubric and print its text, or its front matter and schema as JSON."""
    rubric = rubrics.load(name)
    if as_json:
        front = rubric.front.model_dump(mode="json")
        console.emit_json({**front, "sha256": rubric.sha, "schema": rubric.schema(["A", "B"])})
    else:
        console.out().print(rubric.text, markup=False, soft_wrap=True)


def emit_preview(found: dict[str, Any], *, as_json: bool) -> None:
    """Print the prompts of an item."""
    if as_json:
        console.emit_json(found)
        return
    out = console.out()
    for prompt in found["prompts"]:
        for message, tokens in zip(prompt["messages"], prompt["tokens"].values(), strict=True):
            out.print(f"--- {message['role']} ({tokens:,} tokens) ---", style="bold", markup=False)
            out.print(message["content"], markup=False, soft_wrap=True)
        shown = "; ".join(f"{label} is {who}" for label, who in prompt["shown"].items())
        console.say(f"the judge does not see that {shown}")


def emit_ledger(ledger: Ledger, *, as_json: bool) -> None:
    """Print what a ledger holds."""
    from rich.table import Table

    totals = ledger.totals()
    if as_json:
        console.emit_json({"path": str(ledger.path), "totals": totals})
        return
    table = Table(title=str(ledger.path))
    for column in ("judge", "rubric", "requests", "failed", "replies", "tokens in", "tokens out", "cost", "last"):
        table.add_column(column, overflow="fold")
    for one in totals:
        cells = [f"{one[key]:,}" for key in ("requests", "failures", "replies", "prompt_tokens", "completion_tokens")]
        table.add_row(one["judge"], one["rubric"], *cells, _usd(one["cost_usd"]), one["last"])
    console.emit_table(table)


def emit_injection(found: dict[str, Any], *, as_json: bool) -> None:
    """Print how far a judge can be talked into a score."""
    from rich.table import Table

    if as_json:
        console.emit_json(found)
        return
    table = Table(title=f"injections: {found['rubric']} by {found['judge']}")
    for column in ("injection", "asked", "fooled", "95 % interval", "mean share of the scale"):
        table.add_column(column)
    for name, one in [*found["kinds"].items(), ("all", found["all"])]:
        if one["n"]:
            low, high = one["interval"]
            table.add_row(name, str(one["n"]), f"{one['fooled']:.0%}", f"{low:.0%} to {high:.0%}", f"{one['mean']:.0%}")
    console.emit_table(table)


def _judge(result: Result, scored: Scored) -> dict[str, Any]:
    survey, spent = scored.survey, scored.spent
    found: dict[str, Any] = {
        "judge": scored.judge.name,
        "is_llm": not scored.judge.is_offline,
        "notice": offline.NOTICE if scored.judge.is_offline else None,
        "requests": survey.requests,
        "from_ledger": survey.settled,
        "to_ask": survey.to_ask,
    }
    if result.request.dry_run:
        cost = None
        if scored.price is not None:
            cost = scored.price.cost_usd(survey.prompt_tokens, survey.completion_tokens)
            cost *= result.prices.batch_discount if result.request.batch else 1.0
        tokens = {"prompt": survey.prompt_tokens, "completion": survey.completion_tokens}
        return {**found, "tokens": tokens, "cost_usd": 0.0 if scored.judge.is_offline else cost}
    tokens = {"prompt": spent.prompt_tokens, "completion": spent.completion_tokens, "cached": spent.cached_tokens}
    saved = {
        "requests": survey.settled,
        "prompt_tokens": survey.saved_prompt_tokens,
        "completion_tokens": survey.saved_completion_tokens,
        "cost_usd": survey.saved_usd,
    }
    return {
        **found,
        "replies": spent.replies,
        "reasked": spent.reasked,
        "retries": spent.retries,
        "lost": len(spent.lost),
        "tokens": tokens,
        "cost_usd": spent.cost_usd,
        "saved": saved,
        "endpoint": scored.profile.record() if scored.profile and survey.to_ask else None,
        "results": _results(scored),
        "canaries": _control_answers(result, scored),
        "early_stop": scored.early,
    }


def _results(scored: Scored) -> list[dict[str, Any]]:
    if scored.written is None:
        return []
    return [
        {
            "generator": tally.generator,
            "path": str(tally.path),
            "verdicts": tally.n,
            "mean": {name: tally.total[name] / count for name, count in tally.n.items()},
            "failures": len(tally.failures),
            "failures_path": str(tally.failures_path) if tally.failures else None,
        }
        for tally in scored.written.tallies
    ]


def _control_answers(result: Result, scored: Scored) -> dict[str, Any] | None:
    planted = [one for tally in (scored.written.tallies if scored.written else []) for one in tally.control_answers]
    if not planted:
        return None
    cost = [one.cost_usd for one in planted if one.cost_usd is not None]
    tokens = sum(one.usage.prompt_tokens + one.usage.completion_tokens for one in planted)
    found = summarise(planted, result.rubric.front.scale.min, result.rubric.front.scale.max)
    return {**found, "tokens": tokens, "cost_usd": sum(cost) if cost else None}


def _warnings(result: Result, scored: Scored) -> list[str]:
    found = (_control_answers(result, scored) or {}).get("warnings", [])
    failures = sum(len(tally.failures) for tally in scored.written.tallies) if scored.written else 0
    if failures:
        found = [*found, f"{failures:,} answers have no verdict: see the .failures.jsonl files (--retry-failures)"]
    return found


def _emit_estimate(found: dict[str, Any], judge: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f"{found['rubric']['name']} by {judge['judge']}: nothing was asked")
    for column in ("requests", "in the ledger", "to ask", "tokens in", "tokens out (estimated)", "cost"):
        table.add_column(column, justify="right")
    counts = [f"{judge[key]:,}" for key in ("requests", "from_ledger", "to_ask")]
    tokens = [f"{judge['tokens'][key]:,}" for key in ("prompt", "completion")]
    table.add_row(*counts, *tokens, _usd(judge["cost_usd"]))
    table.caption = f"prices of {found['prices_as_of']}; tokens as GPT-2 counts them"
    console.emit_table(table)


def _emit_scores(found: dict[str, Any], judge: dict[str, Any]) -> None:
    from rich.table import Table

    name = judge["judge"] + ("" if judge["is_llm"] else " (not an LLM)")
    table = Table(title=f"{found['rubric']['name']} by {name}, {found['layout']}, {found['items']:,} items")
    if not judge["is_llm"]:
        table.caption = offline.EVIDENCE
    criteria = list(dict.fromkeys(key for one in judge["results"] for key in one["mean"]))
    table.add_column("model", overflow="fold")
    for criterion in criteria:
        table.add_column(criterion, justify="right")
    table.add_column("verdicts", justify="right")
    table.add_column("failures", justify="right")
    for one in judge["results"]:
        means = [f"{one['mean'][key]:.2f}" if key in one["mean"] else "–" for key in criteria]
        table.add_row(one["generator"], *means, f"{sum(one['verdicts'].values()):,}", f"{one['failures']:,}")
    console.emit_table(table)
    for line in _told(judge):
        console.say(line)
    for one in judge["results"]:
        console.say(f"wrote {one['path']}")


def _told(judge: dict[str, Any]) -> list[str]:
    if not judge["is_llm"]:
        return []
    tokens, saved = judge["tokens"], judge["saved"]
    lines = [
        f"asked {judge['replies']:,} times: {tokens['prompt']:,} tokens in, {tokens['completion']:,} out, "
        f"{_usd(judge['cost_usd'])}; the ledger saved {saved['requests']:,} requests, "
        f"{saved['prompt_tokens'] + saved['completion_tokens']:,} tokens, {_usd(saved['cost_usd'])}"
    ]
    if judge["canaries"]:
        parts = [f"{kind} {one['mean']:.0%}" for kind, one in judge["canaries"]["kinds"].items()]
        cost = f"; they cost {judge['canaries']['tokens']:,} tokens, {_usd(judge['canaries']['cost_usd'])}"
        lines.append(f"control answers (mean share of the scale): {', '.join(parts)}{cost}")
    if (early := judge["early_stop"]) and early["decided"]:
        lines.append(
            f"settled after {early['items']:,} items; {early['items_saved']:,} were saved (alpha {early['alpha']:g})"
        )
    return lines


def _usd(value: float | None) -> str:
    return "price unknown" if value is None else f"${value:.4f}"
