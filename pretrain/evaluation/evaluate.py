"""`pretrain eval`: per-document losses of base models, every token of a split predicted exactly once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from equiloss import loss_comparison
from equiloss.errors import InputError
from equiloss.files import claim
from equiloss.loss_comparison import LossComparison, OverallComparison
from equiloss.numerals import percent
from equiloss.records import evaluation as evaluations
from equiloss.records.base_run import TrainingData
from equiloss.records.evaluation import (
    EvaluatedCheckpoint,
    EvaluatedData,
    Evaluation,
    EvaluationMethod,
    EvaluationRecord,
)
from equiloss.records.file_record import FileRecord, read
from equiloss.statistics.equivalence import LEVEL
from pretrain.data.overlap import THRESHOLD, HeldBack, TokenText
from pretrain.data.shards import Shards, TokenSplit
from pretrain.evaluation.losses import BATCH_TOKENS, Array, document_sums, frequency_deciles
from pretrain.model.language_model import LoadedModel
from pretrain.model.opening import open_model

SAMPLED_DOCUMENTS = 2000
"""Documents of the training text whose tokens of another tokenizer are counted, spread evenly."""
OnProgress = Callable[[int, int], None]
"""Called with the documents and the tokens that are done."""


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


class WrittenEvaluation(EvaluationRecord):
    """An evaluation, and the file that it was written to."""

    file: str


class EvaluationReport(FileRecord):
    """What `pretrain eval --json` prints: every evaluation, every pair compared on each test set, and over them all."""

    format: Literal["equiloss.evals.v1"] = "equiloss.evals.v1"
    evaluations: list[WrittenEvaluation]
    comparisons: list[LossComparison]
    overall: list[OverallComparison]


def evaluate(
    loaded: LoadedModel,
    shards: Shards,
    method: Method,
    name: str | None = None,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Evaluate one model on one split (see `Method` for how). `name`: of the run, in tables.

    Raises: InputError when the split is empty, the stride is not within the context, or the vocabularies differ.
    """
    split = shards.split(method.split)
    if not len(split):
        raise InputError(f"{shards.directory}: the {method.split} split is empty", "choose another with --split")
    context = loaded.evaluated_context
    stride = max(1, context // 2) if method.stride_tokens is None else method.stride_tokens
    if not 1 <= stride <= context:
        raise InputError(f"a stride of {stride} tokens", f"{loaded.path} has a context of {context}: 1 to {context}")
    count = min(len(split), method.documents or len(split))
    chosen = np.linspace(0, len(split) - 1, count).round().astype(np.int64)
    text, places = loaded.tokens_of(shards, split, chosen)
    precision = loaded.precision(method.precision)
    sums = document_sums(
        loaded.model, text, places, _deciles(loaded, shards), loaded.before_text, context, stride, precision,
        method.batch_tokens, on_progress,
    )  # fmt: skip
    arrays = {"index": chosen, "domain": split.domain[chosen], "bytes": text.text_bytes[places], **sums}
    seen = _seen(loaded.run.data, shards, split, chosen)
    if seen is not None:
        arrays["seen"] = seen
    trained_on, source = loaded.run.data.source if loaded.run.data else None, shards.record.source
    record = loss_comparison.summary(
        EvaluatedCheckpoint(
            name=name or run_name(loaded.path),
            path=str(loaded.path),
            sha256=loaded.sha256,
            tokenizer_sha256=None if text is split else loaded.tokenizer_sha256,
            own_share=source.share_in(trained_on) if source and trained_on else None,
            seen_documents=None if seen is None else int(seen.sum()),
        ),
        EvaluatedData(
            path=str(shards.directory),
            sha256=shards.sha256,
            split=method.split,
            documents=count,
            of_documents=len(split),
            tokens=int(sums["tokens"].sum()),
            bytes=int(arrays["bytes"].sum()),
            domains=shards.domains,
        ),
        EvaluationMethod(
            context_tokens=context,
            stride_tokens=stride,
            precision=precision,
            device=loaded.device.type,
            interval=f"{percent(LEVEL)}, clustered by document",
        ),
        arrays,
    )
    return Evaluation(record, arrays)


def _deciles(loaded: LoadedModel, shards: Shards) -> Array:
    """See `frequency_deciles`: of the training text in the model's tokens, or of a sample where it reads that anew."""
    key = (shards.sha256, loaded.tokenizer_sha256)
    if key not in _DECILES:
        train = shards.split("train")
        sample = np.linspace(0, len(train) - 1, min(len(train), SAMPLED_DOCUMENTS)).round().astype(np.int64)
        _DECILES[key] = frequency_deciles(loaded.tokens_of(shards, train, sample)[0], loaded.encoding.n_vocab)
    return _DECILES[key]


def _seen(training: TrainingData | None, shards: Shards, split: TokenSplit, chosen: Array) -> Array | None:
    """Which of the `chosen` documents stand in the training text (D,); None where that text is not at hand."""
    if training is None or not training.directory or not (Path(training.directory) / "data.json").is_file():
        return None
    text = Shards.open(training.directory)
    if text.sha256 != training.sha256:
        return None
    key = (text.sha256, shards.sha256, split.name, chosen.tobytes())
    if key not in _SEEN:
        tokens = text.split("train").tokens
        held = HeldBack(split.document(int(i))[:-1] for i in chosen)
        held.search(TokenText(training.directory, tokens, 0, len(tokens), text.tokenizer))
        _SEEN[key] = held.shares() >= THRESHOLD
    return _SEEN[key]


_DECILES: dict[tuple[str, str], Array] = {}
_SEEN: dict[tuple[str, str, str, bytes], Array] = {}
"""What was found already: several runs have one training text."""


def run_name(path: Path) -> str:
    """What to call a checkpoint: its run's directory, or its own name where it has one."""
    if path.is_dir() or path.suffix == ".safetensors":
        return (path if path.is_dir() else path.parent).resolve().name
    return path.resolve().parent.name if path.name == "checkpoint.pt" else path.stem


def free_name(start: Path, split: str, data_sha256: str) -> Path:
    """Where an evaluation is written: `start`.SPLIT, and the data's hash where other data of that name stands."""
    with contextlib.suppress(InputError):
        if read(EvaluationRecord, start.with_name(f"{start.name}.{split}.eval.json"), "").data.sha256 != data_sha256:
            return start.with_name(f"{start.name}-{data_sha256[:8]}.{split}")
    return start.with_name(f"{start.name}.{split}")


def _asked(record: EvaluationRecord) -> tuple[object, ...]:
    """What an evaluation is of; one of the same may be replaced."""
    data, method = record.data, record.method
    return record.checkpoint.sha256, data.documents, method.context_tokens, method.stride_tokens, method.precision


def evaluate_all(
    paths: list[Path],
    data: list[Path],
    method: Method,
    output: Path | None,
    margin_nats: float,
    device: str,
    on_progress: OnProgress | None = None,
) -> EvaluationReport:
    """What `pretrain eval` does: evaluate each checkpoint on each test set, write the files, and compare every pair.

    The files go beside each checkpoint as DATA.SPLIT.eval.*, or into `output` as NAME.DATA.SPLIT.eval.*; those of
    other data that is called the same are left alone (`free_name`).
    """
    if not margin_nats > 0:
        raise InputError(f"a margin of {margin_nats} nats", "it must be above 0")
    place = _device(device)
    names = [run_name(path) for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
        if len(set(names)) < len(names):
            raise InputError("a checkpoint is named twice", "name each once")
        if output is not None:
            raise InputError("two checkpoints have the same run's name", "leave out -o, or rename one run's directory")
    test_sets = _open(data)
    results: list[list[Evaluation]] = [[] for _ in test_sets]
    for path, name in zip(paths, names, strict=True):
        loaded = open_model(path, place)
        if output is None and loaded.path.parent.parent.name == "snapshots":
            raise InputError(f"{path}: is on the Hub, so nothing can be written beside it", "name a directory with -o")
        for shards, of_set in zip(test_sets, results, strict=True):
            result = evaluate(loaded, shards, method, name, on_progress)
            label = shards.directory.resolve().name
            start = loaded.path.parent / label if output is None else output / f"{name}.{label}"
            base = free_name(start, method.split, shards.sha256)
            earlier = base.with_name(f"{base.name}.eval.json")
            same = earlier.is_file() and _asked(read(EvaluationRecord, earlier, evaluations.HINT)) == _asked(
                result.record
            )
            claim(earlier, same, "it is of another checkpoint, other documents or another method: move it, or use -o")
            of_set.append(Evaluation(result.record, result.arrays, evaluations.save(result, base)))
    pairs = [
        [loss_comparison.compare(of_set[i], of_set[j], margin_nats) for of_set in results]
        for i, j in combinations(range(len(paths)), 2)
    ]
    return EvaluationReport(
        evaluations=[WrittenEvaluation(file=str(one.path), **dict(one.record)) for of_set in results for one in of_set],
        comparisons=[pair[number] for number in range(len(data)) for pair in pairs],
        overall=[loss_comparison.over_all(pair) for pair in pairs],
    )


def _open(data: list[Path]) -> list[Shards]:
    """Raise InputError for no data, or for one test set named twice."""
    if not data:
        raise InputError("no test set", "name a data directory with --data")
    opened = [Shards.open(path) for path in data]
    if len({shards.sha256 for shards in opened}) < len(opened):
        raise InputError(f"{data[-1]}: a test set is named twice", "name each with --data once")
    return opened


def _device(name: str) -> torch.device:
    """Raise InputError for a device that this machine or this torch does not have."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"no device {name!r} here", "cpu always works") from None
    return device
