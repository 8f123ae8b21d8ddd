"""What the commands do: one run or several seeds, answers alone, and the words that sum them up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from equiloss.console import say, warn
from equiloss.errors import InputError
from equiloss.files import read_json, sha256_file, sha256_of, write_json
from equiloss.provenance import provenance
from equiloss.records.response import write_responses
from ift import recipe
from ift.data import formats
from ift.generation import metrics
from ift.generation.answerer import open_answerer, open_base
from ift.generation.partial_answers import answer_resumably, forget
from ift.training import lr_sweep as sweep
from ift.training.prepared import default_data, prepare
from ift.training.run import Outcome, Paths, written
from ift.training.run import run as run_one
from pretrain.model.decoder import GPT
from pretrain.training.distributed import World, world

RESPOND_FORMAT = "equiloss.ift-respond.v1"
FAST, LARGE = 5e-4, 20_000_000
"""A learning rate and a number of parameters that together deserve a warning."""


@dataclass
class Report:
    """What a command found and wrote: `lines` for people, `document` for programs."""

    records: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    main: bool = True

    def document(self) -> dict[str, Any]:
        """`runs`: the records (of `ift run`: NAME.run.json) without the text of templates and the ids of splits."""
        return {"runs": [_short(record) for record in self.records]}


def fine_tune(
    base: Path,
    *,
    data: str | None,
    name: str | None,
    results: Path,
    models: Path,
    seed: int,
    seeds: int | None,
    recipe: str,
    sets: Sequence[str] = (),
    lr_sweep: str | None = None,
    overlap: Path | None = None,
) -> Report:
    """`ift run`: see its help. Raises: InputError and EquilossError as `prepare` and `run` do."""
    chosen = _recipe(recipe, sets)
    rates = None if lr_sweep is None else sweep.parse(lr_sweep)
    with world(chosen.device) as peers:
        if chosen.threads is not None:
            torch.set_num_threads(chosen.threads)
        name = name or _name_of(base)
        peers.on_main(lambda: str(open_base(base, name, models).path))  # one process takes over a foreign model
        loaded = open_base(base, name, models)
        source = data
        if source is None:
            source, why = default_data(loaded)
            if peers.main:
                say(why)
        prepared = prepare(loaded, source, chosen, overlap)
        for line in _remarks(prepared.too_long, prepared.overlap) if peers.main else []:
            warn(line)
        if peers.main and rates is None and (doubt := too_fast(chosen.lr, loaded.model)):
            warn(doubt)
        names = [(name, seed)] if seeds is None else [(f"{name}.s{k}", seed + k) for k in range(1, seeds + 1)]
        extra: dict[str, Any] = {}
        if rates is not None:
            prepared, extra["lr_sweep"] = sweep.pick(prepared, rates, names[0][1], peers, models / name)
        outcomes = [run_one(prepared, Paths(one, results, models), number, peers, extra) for one, number in names]
        return _report(outcomes, peers)


def _recipe(name: str, sets: Sequence[str]) -> recipe.Recipe:
    return recipe.load(name, sets)


def _name_of(path: Path) -> str:
    """A run's name from its base's path: runs/first/checkpoint.pt is first."""
    if path.name == "checkpoint.pt":
        return path.resolve().parent.name
    return path.stem if path.suffix in (".pt", ".pth") else path.resolve().name


def too_fast(lr: float, model: GPT) -> str | None:
    """A remark where a rate that suits a base of a million parameters meets one many times larger."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if lr <= FAST or parameters <= LARGE:
        return None
    return (
        f"a learning rate of {lr:g} was measured on a base of a million parameters, and this one has "
        f"{parameters / 1e6:.0f} million: --lr-sweep 1e-5:3e-3:6 finds its own"
    )


def _remarks(too_long: dict[str, Any], overlap: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for part, items in too_long.items():
        counts = Counter(one.action for one in items)
        lines += [f"{n} {part} items are longer than the context: {action}" for action, n in sorted(counts.items())]
    for kind, what in (("exact", "ask exactly what a training item asks"), ("near", "nearly repeat a training item")):
        found = overlap[kind]
        if found["items"]:
            lines.append(f"{found['items']} test items ({found['share']:.1%}) {what}")
    corpus = overlap["corpus"]
    if corpus is not None and corpus["items"]:
        lines.append(f"{corpus['items']} test items ({corpus['share']:.1%}) share 8 words in a row with the shards")
    return lines


def _report(outcomes: Sequence[Outcome], peers: World) -> Report:
    report = Report([one.record for one in outcomes], main=peers.main)
    if not peers.main:
        return report
    for one in outcomes:
        record, paths = one.record, one.paths
        if one.again:
            report.lines.append(f"{paths.name}: finished before; nothing to do")
        loss = record["selected_validation_loss"]
        report.lines.append(
            f"{paths.name}: {len(record['epochs'])} epochs, epoch {record['selected_epoch']} selected"
            + ("" if loss is None else f", validation loss {loss:.4f}")
            + f"; {record['environment']['wall_s']:.0f} s"
        )
        report.lines += [f"  {line}" for line in answers_in_words(record["answers"])]
        report.lines.append(f"  answers {paths.responses}, record {paths.record}, model {paths.model}/")
    files = " ".join(str(one.paths.responses) for one in outcomes)
    report.lines.append(f"next: judge score {files}")
    return report


def answers_in_words(summary: dict[str, dict[str, Any]]) -> list[str]:
    """The answers' statistics in one line, and exact matches by category in another."""
    total = summary[metrics.ALL]
    if not total["items"]:
        return ["no test items"]
    line = f"{total['items']} answers, {total['finish_reason']['length']} unfinished, {total['empty']} empty"
    if total["exact_match"] is not None:
        line += f"; exact match {total['exact_match']:.1%}"
    if total["rouge_l"] is not None:
        line += f", ROUGE-L {total['rouge_l']:.2f}"
    by_category = {
        name: group["exact_match"]
        for name, group in summary.items()
        if name != metrics.ALL and group["exact_match"] is not None
    }
    if not by_category:
        return [line]
    return [line, "exact match: " + ", ".join(f"{name} {share:.0%}" for name, share in sorted(by_category.items()))]


def respond(
    model: str,
    *,
    data: str,
    name: str | None,
    results: Path,
    template: str | None,
    seed: int,
    decoding: dict[str, Any],
    device: str,
) -> Report:
    """`ift respond`: see its help. Raises: InputError for a model, data or template that does not work."""
    with world(device) as peers:
        answerer = open_answerer(model, template, decoding, peers.device)
        examples, unanswerable = answerer.answerable(formats.read_examples(data))
        if unanswerable and peers.main:
            first = next(iter(unanswerable))
            warn(f"{len(unanswerable)} items are longer than the model's context and get no answer: {first} …")
        if not examples:
            raise InputError("no item fits the model's context", "choose a shorter template (alpaca-short)")
        name = name or f"{_name_of(Path(model))}-{Path(data).stem}"
        paths = Paths(name, results, results)
        about = {
            "model": answerer.about,
            "data": {"source": data, "sha256": sha256_of([one.model_dump() for one in examples])},
            "template": {"name": answerer.template_name, "sha256": answerer.template_sha256},
            "decoding": answerer.decoding.model_dump(),
            "seed": seed,
        }
        fingerprint = sha256_of({**about, "name": name})
        if paths.record.exists():
            record = read_json(paths.record)
            if record.get("fingerprint") != fingerprint:
                raise InputError(f"{paths.record} is of other answers or of a run", "choose another --name")
            if written(record, paths):
                lines = [f"{name}: finished before; nothing to do", f"answers {paths.responses}"]
                return Report([record], lines, main=peers.main)
        partial = results / f".{name}.answers.jsonl"
        results.mkdir(parents=True, exist_ok=True)
        responses = answer_resumably(
            examples, partial, fingerprint, lambda items, note: answerer.answer(items, name, seed, note), peers
        )
        record = {
            "format": RESPOND_FORMAT,
            "name": name,
            "fingerprint": fingerprint,
            **about,
            "too_long": unanswerable,
            "answers": metrics.summary(responses),
            "files": {"responses": str(paths.responses)},
            "provenance": provenance(),
        }
        if peers.main:
            write_responses(paths.responses, responses)
            record["files"]["responses_sha256"] = sha256_file(paths.responses)
            write_json(paths.record, record)
            forget(partial)
        lines = [f"{name}: {line}" for line in answers_in_words(record["answers"])]
        lines += [f"answers {paths.responses}", f"next: judge score {paths.responses}"]
        return Report([record], lines if peers.main else [], main=peers.main)


def _short(record: dict[str, Any]) -> dict[str, Any]:
    short = dict(record)
    if "text" in short.get("template", {}):
        short["template"] = {key: value for key, value in short["template"].items() if key != "text"}
    if "split" in short.get("data", {}):
        short["data"] = {key: value for key, value in short["data"].items() if key != "split"}
    return short
