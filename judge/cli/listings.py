"""What the commands around `judge score` print: rubrics, prompts, the ledger, and how far a judge can be talked."""

from __future__ import annotations

from equiloss import console
from equiloss.numerals import interval, number, percent, usd
from judge import rubrics
from judge.endpoints.capabilities import Capabilities
from judge.scoring.injection import InjectionResult
from judge.scoring.ledger import Ledger
from judge.scoring.perturbations import Perturbations
from judge.scoring.preview import ItemPreview


def emit_rubrics(*, as_json: bool) -> None:
    """Print the shipped rubrics."""
    shipped = [rubrics.load(name) for name in rubrics.names()]
    if as_json:
        console.emit_json([{**rubric.front.model_dump(mode="json"), "sha256": rubric.sha} for rubric in shipped])
        return
    headings = ("name", "layout", "scale", "criteria", "reference", "what it judges")
    rows: list[tuple[str, ...]] = []
    for rubric in shipped:
        front, scale = rubric.front, f"{rubric.front.scale.min:g} to {rubric.front.scale.max:g}"
        criteria = ", ".join(rubric.criteria)
        rows.append((rubric.name, front.layout, scale, criteria, front.reference, front.description))
    console.emit_table(console.table("rubrics", "llllll", headings, rows))


def emit_rubric(name: str, *, as_json: bool) -> None:
    """Check a rubric and print its text, or its front matter and schema as JSON."""
    rubric = rubrics.load(name)
    if as_json:
        front = rubric.front.model_dump(mode="json")
        console.emit_json({**front, "sha256": rubric.sha, "schema": rubric.schema(["A", "B"])})
    else:
        console.out().print(rubric.text, markup=False, soft_wrap=True)


def emit_preview(preview: ItemPreview, *, as_json: bool) -> None:
    """Print the prompts of an item."""
    if as_json:
        console.emit_json(preview)
        return
    out = console.out()
    for prompt in preview["prompts"]:
        for message, tokens in zip(prompt["messages"], prompt["tokens"].values(), strict=True):
            out.print(f"--- {message['role']} ({tokens:,} tokens) ---", style="bold", markup=False)
            out.print(message["content"], markup=False, soft_wrap=True)
        shown = "; ".join(f"{label} is {who}" for label, who in prompt["shown"].items())
        console.say(f"the judge does not see that {shown}")


def emit_ledger(ledger: Ledger, *, as_json: bool) -> None:
    """Print what a ledger holds."""
    totals = ledger.totals()
    if as_json:
        console.emit_json({"path": str(ledger.path), "totals": [total._asdict() for total in totals]})
        return
    headings = ("judge", "rubric", "requests", "failed", "replies", "tokens in", "tokens out", "cost", "last")
    rows: list[tuple[str, ...]] = []
    for total in totals:
        counts = (total.requests, total.failures, total.replies, total.prompt_tokens, total.completion_tokens)
        rows.append((total.judge, total.rubric, *(f"{n:,}" for n in counts), usd(total.cost_usd), total.last))
    console.emit_table(console.table(str(ledger.path), "llrrrrrrl", headings, rows))


def emit_endpoints(ledger: Ledger, *, as_json: bool) -> None:
    """Print what a ledger knows of endpoints."""
    known = ledger.endpoints()
    if as_json:
        rows = [{"base_url": url, "model": model, **record} for url, model, record in known]
        console.emit_json({"path": str(ledger.path), "endpoints": rows})
        return
    table = [
        (f"{model}@{url}", ", ".join(Capabilities.of(record).losses) or "nothing", record.get("learnt", ""), note)
        for url, model, record in known
        for note in record["notes"] or [""]
    ]
    headings = ("endpoint", "what it does without", "learnt", "because of")
    console.emit_table(console.table(str(ledger.path), "llll", headings, table))


def emit_injection(result: InjectionResult, *, as_json: bool) -> None:
    """Print how far a judge can be talked into a score."""
    if as_json:
        console.emit_json(result)
        return
    rows: list[tuple[str, ...]] = []
    for name, kind in [*result["kinds"].items(), ("all", result["all"])]:
        if kind["interval"]:
            spread = " to ".join(map(percent, kind["interval"]))
            rows.append((name, str(kind["n"]), percent(kind["fooled"]), spread, percent(kind["mean"])))
    headings = ("injection", "asked", "fooled", "95 % interval", "mean share of the scale")
    console.emit_table(console.table(f"injections: {result['rubric']} by {result['judge']}", "lrrrr", headings, rows))


def emit_perturbations(result: Perturbations, *, as_json: bool) -> None:
    """Print how far each perturbation moves a judge's scores."""
    if as_json:
        console.emit_json(result.model_dump(mode="json"))
        return
    rows = [
        (
            row.kind,
            str(row.n),
            *(
                text
                for found in (row.moves, row.distance)
                for text in (number(found and found.value), interval(found and found.interval))
            ),
        )
        for row in result.kinds
    ]
    headings = ("perturbation", "answers", "moves, points", "95 % interval", "mean distance", "95 % interval")
    title = f"perturbations: {result.rubric} by {result.judge}, {result.n_items:,} items"
    console.emit_table(console.table(title, "lrrrrr", headings, rows))
