"""`pretrain probe`: run the probes on a checkpoint and write CHECKPOINT's name with `.probe.json` beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equiloss import console
from equiloss.errors import InputError
from equiloss.files import write_json
from equiloss.provenance import provenance
from pretrain.data.shards import Shards
from pretrain.model import checkpoint
from pretrain.model.checkpoint import Checkpoint
from pretrain.probes import (
    cloze,
    copying,
    domains,
    facts,
    forgetting,
    items,
    noise,
    sharpness,
    tolerance,
    weights,
    windows,
)

FORMAT = "equiloss.probe.v1"
NAMES = (
    "cloze", "copying", "noise", "sharpness", "weights", "items", "domains", "tolerance", "forgetting"
)  # fmt: skip
SLOW = ("tolerance",)


@dataclass(frozen=True)
class Request:
    """What to probe with. Probes whose input is missing are skipped and say so."""

    data: Path | None = None
    facts: Path | None = None
    items: Path | None = None
    test: Path | None = None
    tuned: Path | None = None
    only: Sequence[str] = ()
    tokens: int = 65_536
    seed: int = 0


def run(path: Path, request: Request, output: Path | None = None) -> tuple[dict[str, Any], Path]:
    """Probe a checkpoint; the record and where it was written.

    Raises: InputError for a bad checkpoint, data, facts or items, or an unknown probe.
    """
    unknown = [name for name in request.only if name not in NAMES]
    if unknown:
        raise InputError(f"no probe named {unknown[0]!r}", f"the probes: {', '.join(NAMES)}")
    loaded = checkpoint.load(path)
    shards = Shards.open(request.data) if request.data else None
    if shards is not None:
        _check_tokenizer(loaded, shards, request.data)
    chosen = request.only or [name for name in NAMES if name not in SLOW]
    probes: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for name in chosen:
        start = time.perf_counter()
        prepared = _prepare(name, loaded, shards, request)
        if isinstance(prepared, str):
            skipped[name] = prepared
            continue
        probes[name] = prepared()
        if name == "cloze" and _told_elsewhere(loaded, shards, request):
            skipped["cloze.stored"] = "--data is not the text that this checkpoint read"
        probes[name]["seconds"] = round(time.perf_counter() - start, 2)
        console.say(f"{name}: {probes[name]['seconds']:.1f} s")
    document = {
        "format": FORMAT,
        "checkpoint": {"path": str(path), "sha256": loaded.sha256, "config": loaded.config.model_dump()},
        "data": {"path": str(request.data), "sha256": shards.sha256} if shards else None,
        "seed": request.seed,
        "probes": probes,
        "skipped": skipped,
        "provenance": provenance(),
    }
    target = output or path.with_name(f"{path.stem}.probe.json")
    write_json(target, document)
    return document, target


def _check_tokenizer(loaded: Checkpoint, shards: Shards, path: Path | None) -> None:
    from equiloss import tokenizer

    if tokenizer.sha256(loaded.encoding) != tokenizer.sha256(shards.tokenizer):
        raise InputError(
            f"{path}: was made with another tokenizer than the checkpoint", "give the data it was trained on"
        )


def _prepare(
    name: str, loaded: Checkpoint, shards: Shards | None, request: Request
) -> Callable[[], dict[str, Any]] | str:
    """The probe, ready to run; or what it lacks."""
    model, encoding = loaded.model, loaded.encoding
    needs_text = name in ("noise", "sharpness", "copying", "forgetting")
    if needs_text and shards is None:
        return "needs --data"
    if name in ("items", "tolerance") and (request.items is None or request.test is None):
        return "needs --items and --test"
    if name == "forgetting" and request.tuned is None:
        return "needs --tuned"
    if name == "weights":
        return lambda: weights.probe(model)
    if name == "cloze":
        known = _facts(loaded, shards, request)
        return known if isinstance(known, str) else lambda: cloze.probe(model, encoding, known)
    if name == "domains":
        if shards is None or request.test is None:
            return "needs --data and --test"
        held = items.read_items(request.test)
        return lambda: domains.probe(encoding, shards, held)
    if name in ("items", "tolerance"):
        assert request.items is not None
        assert request.test is not None
        everything, test = items.read_items(request.items), items.read_items(request.test)
        if name == "items":
            return lambda: items.probe(model, encoding, everything, test, seed=request.seed)
        asked = {one.question for one in test}
        train = [one for one in everything if one.question not in asked]
        return lambda: tolerance.probe(model, encoding, train, test, seed=request.seed)
    assert shards is not None
    split = shards.split("test")
    rows = windows.windows(split.tokens, model.config.context, request.tokens)
    if name == "copying":
        seen = torch.from_numpy(np.unique(np.asarray(split.tokens)).astype(np.int64))
        vocabulary = seen[seen != encoding.eot_token]
        return lambda: copying.probe(model, vocabulary, rows, seed=request.seed)
    if name == "noise":
        few = rows[:: max(1, len(rows) // 64)][:64]
        return lambda: noise.probe(model, few, seed=request.seed)
    if name == "sharpness":
        few = rows[:: max(1, len(rows) // 32)][:32]
        return lambda: sharpness.probe(model, few, seed=request.seed)
    assert request.tuned is not None
    tuned = checkpoint.load(request.tuned / "checkpoint.pt" if request.tuned.is_dir() else request.tuned)
    if tuned.config != loaded.config:
        raise InputError(
            f"{request.tuned}: has another shape than the base model", "give a fine-tuning of this checkpoint"
        )
    return lambda: forgetting.probe(model, tuned.model, rows)


def _told_elsewhere(loaded: Checkpoint, shards: Shards | None, request: Request) -> bool:
    """Whether the facts' words are those of shards that the checkpoint, as its record says, was not trained on."""
    read = (loaded.run.get("data") or {}).get("sha256")
    return request.facts is None and shards is not None and read not in (None, shards.sha256)


def _facts(loaded: Checkpoint, shards: Shards | None, request: Request) -> list[facts.Fact] | str:
    """Facts from the file, else those of the world that the data was made from, in words that the model read."""
    if request.facts is not None:
        return facts.read_facts(request.facts)
    source = str((shards.record.get("source") or {}).get("name", "")) if shards else ""
    if shards and not source:
        found = shards.record.get("source")
        source = found if isinstance(found, str) else ""
    if not source.startswith("world:"):
        return "needs --facts, or --data of a built-in world"
    known = facts.world_facts(source)
    return [replace(one, told=()) for one in known] if _told_elsewhere(loaded, shards, request) else known
