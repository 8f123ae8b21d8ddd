"""Per-document losses of a base model: every token of a split predicted exactly once, with what each was given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from equiloss import commands, files, loss_comparison, provenance, tokenizer
from equiloss.errors import EquilossError, InputError
from equiloss.records import evaluation as equivalence_evaluation
from equiloss.records.evaluation import CONFIDENCE_BINS, DECILES, FORMAT, Evaluation
from equiloss.statistics import equivalence
from pretrain.data.shards import Shards, Split
from pretrain.model import checkpoint as checkpoints
from pretrain.model.checkpoint import Checkpoint
from pretrain.model.cross_entropy import CHUNK_ELEMENTS
from pretrain.model.decoder import GPT
from pretrain.model.precision import Precision, autocast, set_matmul_precision, settle

BATCH_TOKENS = 8192
LN2 = float(np.log(2.0))

Array = NDArray[Any]


@dataclass(frozen=True)
class Method:
    """How a split is evaluated. `stride_tokens` None: half the context; `documents` None: all of them.

    A document is seen alone, behind one `<|endoftext|>`, and its own closing `<|endoftext|>` is a target too. One that
    is longer than the context is cut into windows of `context` tokens: the first predicts all of its tokens, each next
    one moves on by the stride and predicts only the tokens that are new, so that all but the document's first tokens
    have at least context - stride tokens before them. Dropout is off, always.
    """

    split: str = "test"
    stride_tokens: int | None = None
    precision: str = "fp32"
    documents: int | None = None
    batch_tokens: int = BATCH_TOKENS


@dataclass(frozen=True)
class Window:
    """A stretch of one document: `length` inputs whose last `scored` positions are predictions that count.

    `start`: the place in the document of the first input's target.
    """

    document: int
    start: int
    length: int
    scored: int


def windows(lengths: Array, context: int, stride: int) -> Iterator[Window]:
    """The windows over documents of these lengths in tokens (D,): each token is scored in exactly one."""
    for document, n in enumerate(lengths.tolist()):
        end = min(n, context)
        yield Window(document, 0, end, end)
        while end < n:
            new = min(stride, n - end)
            end += new
            yield Window(document, end - context, context, new)


def batches(found: list[Window], batch_tokens: int) -> Iterator[list[Window]]:
    """Windows of like length together, at most `batch_tokens` padded tokens in each batch, at least one window."""
    ordered = sorted(found, key=lambda w: (-w.length, w.document, w.start))
    start = 0
    while start < len(ordered):
        rows = max(1, batch_tokens // ordered[start].length)
        yield ordered[start : start + rows]
        start += rows


def token_statistics(
    hidden: Tensor, weight: Tensor, targets: Tensor, chunk_elements: int = CHUNK_ELEMENTS
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss in nats, probability of the first guess, and whether it is right, of hidden (N, C): each (N,).

    The logits of `chunk_elements` / V tokens exist at a time; they are reduced in fp32 at least.
    """
    rows = max(1, chunk_elements // weight.shape[0])
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(hidden), rows):
        logits = F.linear(hidden[start : start + rows], weight)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # (rows, V)
        target = targets[start : start + rows]
        logsumexp = logits.logsumexp(1)
        best, guess = logits.max(1)
        nats = logsumexp - logits.gather(1, target[:, None])[:, 0]
        parts.append((nats, (best - logsumexp).exp(), guess == target))
    nats, confidence, correct = zip(*parts, strict=True)
    return torch.cat(nats), torch.cat(confidence), torch.cat(correct)


def frequency_deciles(train: Split, vocab_size: int) -> Array:
    """For each token id (V,), the tenth of the training text that it falls in when ids are sorted by frequency.

    0: the commonest ids, which make up the first tenth of all training tokens; 9: the rarest, and those never seen.
    """
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, len(train.tokens), 1 << 24):
        counts += np.bincount(train.tokens[start : start + (1 << 24)], minlength=vocab_size)
    order = np.argsort(-counts, kind="stable")
    mass = counts[order] / max(1, counts.sum())
    middle = np.cumsum(mass) - mass / 2
    deciles = np.empty(vocab_size, np.int64)
    deciles[order] = np.minimum((middle * DECILES).astype(np.int64), DECILES - 1)
    deciles[counts == 0] = DECILES - 1
    return deciles


@torch.no_grad()
def document_sums(
    model: GPT,
    split: Split,
    chosen: Array,
    deciles: Array,
    end_id: int,
    stride: int,
    precision: Precision,
    batch_tokens: int = BATCH_TOKENS,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Array]:
    """The arrays of `equiloss.statistics.equivalence` for the `chosen` documents (D,) of a split.

    Raises: EquilossError when a loss is not finite.
    """
    device = model.head_weight.device
    context = model.config.context
    documents = [np.asarray(split.document(int(i)), dtype=np.int64) for i in chosen]
    lengths = np.array([len(d) for d in documents])
    places = np.floor(np.log2(np.arange(int(lengths.max())) + 1)).astype(np.int64)  # (longest,)
    sums = _empty_sums(len(documents), int(places[-1]) + 1)
    done = 0
    model.eval()
    set_matmul_precision(precision)
    for batch in batches(list(windows(lengths, context, stride)), batch_tokens):
        width = batch[0].length
        ids = np.full((len(batch), width), end_id)
        targets, document, place, row, column = [], [], [], [], []
        for number, w in enumerate(batch):
            text = documents[w.document]
            ids[number, :1] = end_id if w.start == 0 else text[w.start - 1]
            ids[number, 1 : w.length] = text[w.start : w.start + w.length - 1]
            first = w.length - w.scored
            targets.append(text[w.start + first : w.start + w.length])
            document.append(np.full(w.scored, w.document))
            place.append(places[w.start + first : w.start + w.length])
            row.append(np.full(w.scored, number))
            column.append(np.arange(first, w.length))
        target = np.concatenate(targets)
        with autocast(precision, device):
            hidden = model.backbone(torch.from_numpy(ids).to(device))  # (B, T, C)
            scored = hidden[torch.from_numpy(np.concatenate(row)), torch.from_numpy(np.concatenate(column))]  # (N, C)
            statistics = token_statistics(scored, model.head_weight, torch.from_numpy(target).to(device))
        nats, confidence, correct = (x.double().cpu().numpy() for x in statistics)
        if not np.isfinite(nats).all():
            raise EquilossError("the model gives losses that are not finite", "was its training stopped by NaN?")
        _add(sums, np.concatenate(document), np.concatenate(place), deciles[target], nats, confidence, correct)
        done += len(target)
        if on_progress:
            on_progress(len(documents), done)
    return sums


def _empty_sums(documents: int, positions: int) -> dict[str, Array]:
    shapes = {
        "tokens": (), "nats": (), "correct": (), "decile_tokens": (DECILES,), "decile_nats": (DECILES,),
        "position_tokens": (positions,), "position_nats": (positions,), "confidence_tokens": (CONFIDENCE_BINS,),
        "confidence_sum": (CONFIDENCE_BINS,), "confidence_correct": (CONFIDENCE_BINS,),
    }  # fmt: skip
    return {name: np.zeros((documents, *shape)) for name, shape in shapes.items()}


def _add(
    sums: dict[str, Array], document: Array, place: Array, decile: Array, nats: Array, confidence: Array, correct: Array
) -> None:
    """Add N tokens to the sums of their documents."""
    level = np.minimum((confidence * CONFIDENCE_BINS).astype(np.int64), CONFIDENCE_BINS - 1)
    ones = np.ones_like(nats)
    for name, index, values in (
        ("tokens", document, ones),
        ("nats", document, nats),
        ("correct", document, correct),
        ("decile_tokens", (document, decile), ones),
        ("decile_nats", (document, decile), nats),
        ("position_tokens", (document, place), ones),
        ("position_nats", (document, place), nats),
        ("confidence_tokens", (document, level), ones),
        ("confidence_sum", (document, level), confidence),
        ("confidence_correct", (document, level), correct),
    ):
        np.add.at(sums[name], index, values)


def check_fits(loaded: Checkpoint, shards: Shards) -> None:
    """Raise InputError when a model and data have different vocabularies."""
    own, data = loaded.encoding, shards.tokenizer
    if tokenizer.sha256(own) != tokenizer.sha256(data):
        raise InputError(
            f"{loaded.path} was trained with another tokenizer ({own.n_vocab:,} ids) than {shards.directory} has "
            f"({data.n_vocab:,} ids)",
            f"write the data with the checkpoint's: `{commands.pretrain_data(None, None, None)}`",
        )


def evaluate(
    loaded: Checkpoint,
    shards: Shards,
    method: Method,
    name: str | None = None,
    deciles: Array | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate one model on one split (see `Method` for how). `name`: of the run, in tables.

    Raises: InputError when the split is empty, the stride is not within the context, or the vocabularies differ.
    """
    check_fits(loaded, shards)
    split = shards.split(method.split)
    if not len(split):
        raise InputError(f"{shards.directory}: the {method.split} split is empty", "choose another with --split")
    context = loaded.config.context
    stride = max(1, context // 2) if method.stride_tokens is None else method.stride_tokens
    if not 1 <= stride <= context:
        raise InputError(f"a stride of {stride} tokens", f"{loaded.path} has a context of {context}: 1 to {context}")
    count = min(len(split), method.documents or len(split))
    chosen = np.linspace(0, len(split) - 1, count).round().astype(np.int64)
    if deciles is None:
        deciles = frequency_deciles(shards.split("train"), shards.tokenizer.n_vocab)
    device = loaded.model.head_weight.device
    precision = settle(method.precision, device, loaded.config)
    sums = document_sums(
        loaded.model, split, chosen, deciles, shards.tokenizer.eot_token, stride, precision, method.batch_tokens,
        on_progress,
    )  # fmt: skip
    arrays = {"index": chosen, "domain": split.domain[chosen], "bytes": split.text_bytes[chosen], **sums}
    record: dict[str, Any] = {
        "format": FORMAT,
        "checkpoint": {"name": name or run_name(loaded.path), "path": str(loaded.path), "sha256": loaded.sha256},
        "data": {
            "path": str(shards.directory),
            "sha256": shards.sha256,
            "split": method.split,
            "documents": count,
            "of_documents": len(split),
            "tokens": int(sums["tokens"].sum()),
            "bytes": int(arrays["bytes"].sum()),
            "domains": shards.domains,
        },
        "method": {
            "context_tokens": context,
            "stride_tokens": stride,
            "precision": precision,
            "device": device.type,
            "dropout": 0.0,
            "interval": f"{equivalence.LEVEL:.0%}, clustered by document",
        },
    }
    return Evaluation(record | summary(record, arrays) | {"provenance": provenance.provenance()}, arrays)


def summary(record: dict[str, Any], arrays: dict[str, Array]) -> dict[str, Any]:
    """The means of an evaluation: overall, per domain, frequency decile and position, and the calibration."""
    loss = equivalence.mean_over_tokens(arrays["nats"], arrays["tokens"])
    tokens, confidence, correct = (arrays[key].sum(0) for key in equivalence_evaluation.CONFIDENCE)
    seen = tokens > 0
    parts = equivalence_evaluation.breakdowns(record, arrays)
    return {
        "loss_nats": asdict(loss),
        "perplexity": float(np.exp(min(loss.value, 700.0))),
        "bits_per_byte": asdict(equivalence.mean_over_tokens(arrays["nats"] / LN2, arrays["bytes"].astype(float))),
        "accuracy": asdict(equivalence.mean_over_tokens(arrays["correct"], arrays["tokens"])),
        "calibration": {
            "expected_calibration_error": loss_comparison.calibration_error(arrays),
            "bins": [
                {
                    "from": k / CONFIDENCE_BINS,
                    "tokens": int(tokens[k]),
                    "confidence": confidence[k] / tokens[k],
                    "accuracy": correct[k] / tokens[k],
                }
                for k in np.flatnonzero(seen).tolist()
            ],
        },
        **{part: loss_comparison.means(labels, weights, sums) for part, labels, weights, sums in parts},
    }


def run_name(path: Path) -> str:
    """What to call a checkpoint: its run's directory, or its own name where it has one."""
    return path.resolve().parent.name if path.name == "checkpoint.pt" else path.stem


def write(evaluation: Evaluation, base: Path) -> Path:
    """Write `base`.eval.npz, then `base`.eval.json, and give the latter's path."""
    path = base.with_name(base.name + ".eval.json")
    with files.atomic(path.with_suffix(".npz"), "wb") as f:
        np.savez_compressed(f, allow_pickle=False, **evaluation.arrays)
    files.write_json(path, evaluation.record)
    return path


def free_name(start: Path, split: str, data_sha256: str) -> Path:
    """Where an evaluation is written: `start`.SPLIT, and the data's hash where other data of that name stands."""
    there = start.with_name(f"{start.name}.{split}.eval.json")
    with contextlib.suppress(InputError, TypeError, KeyError):
        if files.read_json(there)["data"]["sha256"] != data_sha256:
            return start.with_name(f"{start.name}-{data_sha256[:8]}.{split}")
    return start.with_name(f"{start.name}.{split}")


def evaluate_all(
    paths: list[Path],
    data: Path,
    method: Method,
    output: Path | None,
    margin_nats: float,
    device: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """What `pretrain eval` does: evaluate each checkpoint, write its files, and compare every pair.

    The files go beside each checkpoint as DATA.SPLIT.eval.*, or into `output` as NAME.DATA.SPLIT.eval.*; those of
    other data that is called the same are left alone (`free_name`).
    Gives {"format", "evaluations": [records, each with its "file"], "comparisons": [see `equivalence.compare`]}.
    """
    if not margin_nats > 0:
        raise InputError(f"a margin of {margin_nats} nats", "it must be above 0")
    place = _device(device)
    shards = Shards.open(data)
    label = data.resolve().name
    names = [run_name(path) for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
        if len(set(names)) < len(names):
            raise InputError("a checkpoint is named twice", "name each once")
        if output is not None:
            raise InputError("two checkpoints have the same run's name", "leave out -o, or rename one run's directory")
    deciles = frequency_deciles(shards.split("train"), shards.tokenizer.n_vocab)
    results: list[Evaluation] = []
    written: list[dict[str, Any]] = []
    for path, name in zip(paths, names, strict=True):
        result = evaluate(checkpoints.load(path, place), shards, method, name, deciles, on_progress)
        start = path.parent / label if output is None else output / f"{name}.{label}"
        file = write(result, free_name(start, method.split, shards.sha256))
        results.append(result)
        written.append({"file": str(file), **result.record})
    pairs = [(a, b) for i, a in enumerate(results) for b in results[i + 1 :]]
    return {
        "format": "equiloss.evals.v1",
        "evaluations": written,
        "comparisons": [loss_comparison.compare(a, b, margin_nats) for a, b in pairs],
    }


def _device(name: str) -> torch.device:
    """Raise InputError for a device that this machine or this torch does not have."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"no device {name!r} here", "cpu always works") from None
    return device
