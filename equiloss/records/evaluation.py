"""Evaluations of base models: what `pretrain eval` writes for a checkpoint and a split of some data, in two files.

NAME.eval.json (format "equiloss.eval.v1") is for reading: what was evaluated (`checkpoint`, `data`, `method`) and every
mean with its interval. NAME.eval.npz holds the sums that the means come from, a row for each of D documents, so that
any two files on the same data can be compared:

    index (D,)     the document's number in the split
    domain (D,)    its domain, a number into `data.domains` of the JSON file
    tokens, nats, bytes, correct (D,)      targets, their summed loss, the text's UTF-8 bytes, right first guesses
    decile_tokens, decile_nats (D, 10)     by how frequent the target is in the training split, 0 the commonest
    position_tokens, position_nats (D, P)  by place in the document: bin p holds places 2**p - 1 ... 2**(p+1) - 2
    confidence_tokens, confidence_sum, confidence_correct (D, 15)   by the probability of the first guess
    seen (D,)      whether the document stands in the model's training text; missing where that was not at hand
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from equiloss.errors import InputError
from equiloss.files import atomic, read_arrays, write_json
from equiloss.records.file_record import FileRecord, read
from equiloss.records.provenance import Provenance
from equiloss.statistics.estimate import ClusteredMean

Array = NDArray[Any]
DECILES = 10
CONFIDENCE_BINS = 15
PER_DOCUMENT = ("index", "domain", "tokens", "nats", "bytes", "correct")
BREAKDOWNS = ("decile_tokens", "decile_nats", "position_tokens", "position_nats")
CONFIDENCE = ("confidence_tokens", "confidence_sum", "confidence_correct")
HINT = "name an .eval.json that `pretrain eval` wrote"


class EvaluatedCheckpoint(FileRecord):
    """The model: its run's name, its file and that file's hash, and what of the test text it was trained on.

    `own_share`: the share of its training text that comes from the test text's sources; `seen_documents`: how many of
    the evaluated documents stand in its training text (`pretrain overlap` says by what rule). None: not known.
    `tokenizer_sha256`: of its own tokenizer, where it read the text with another than the data's.
    """

    name: str = ""
    path: str = ""
    sha256: str = ""
    tokenizer_sha256: str | None = None
    own_share: float | None = None
    seen_documents: int | None = None


class EvaluatedData(FileRecord):
    """The text: a split of a data directory (`sha256` of the data), and how much of it was evaluated."""

    path: str = ""
    sha256: str
    split: str
    documents: int = 0
    of_documents: int = 0
    tokens: int = 0
    bytes: int = 0
    domains: list[str] = Field(default_factory=list)


class EvaluationMethod(FileRecord):
    """How each document was seen (see `pretrain.evaluation.evaluate.Method`), and what the intervals are."""

    context_tokens: int
    stride_tokens: int
    precision: str
    device: str = "cpu"
    dropout: float = 0.0
    interval: str = ""


class PartMean(ClusteredMean):
    """The mean loss of a part of the text, in nats per token: a domain, a frequency decile, a range of positions."""

    name: str
    tokens: int


class CalibrationBin(FileRecord):
    """The tokens whose first guess had a probability from `start` on: their mean probability, and the share right."""

    start: float = Field(validation_alias="from", serialization_alias="from")
    tokens: int
    confidence: float
    accuracy: float


class Calibration(FileRecord):
    """How far the first guess's probability is from how often it is right."""

    expected_calibration_error: float
    bins: list[CalibrationBin]


class EvaluationRecord(FileRecord):
    """The JSON file: what was evaluated, and every mean with its interval; NaN where a foreign file leaves one out."""

    format: Literal["equiloss.eval.v1"] = "equiloss.eval.v1"
    checkpoint: EvaluatedCheckpoint
    data: EvaluatedData
    method: EvaluationMethod
    loss_nats: ClusteredMean = ClusteredMean(value=math.nan)
    perplexity: float = math.nan
    bits_per_byte: ClusteredMean = ClusteredMean(value=math.nan)
    accuracy: ClusteredMean = ClusteredMean(value=math.nan)
    calibration: Calibration = Calibration(expected_calibration_error=math.nan, bins=[])
    domains: list[PartMean] = Field(default_factory=list[PartMean])
    frequency_deciles: list[PartMean] = Field(default_factory=list[PartMean])
    positions: list[PartMean] = Field(default_factory=list[PartMean])
    provenance: Provenance | None = None


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint's losses on one split: the JSON file's record and the npz file's arrays."""

    record: EvaluationRecord
    arrays: Mapping[str, Array]
    path: Path | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        return self.record.checkpoint.name

    @property
    def seen(self) -> Array:
        """Whether each document stands in the model's training text (D,); False where that is not known."""
        return self.arrays.get("seen", np.zeros(len(self.arrays["index"]))) > 0


def breakdowns(domains: list[str], arrays: Mapping[str, Array]) -> dict[str, tuple[list[str], Array, Array]]:
    """Domains, frequency deciles and positions: labels (K,), tokens (D, K), nats (D, K) of each."""
    member = arrays["domain"][:, None] == np.arange(len(domains))  # (D, K)
    deciles = [f"{n + 1}" for n in range(DECILES)]
    positions = [f"{2**p - 1}-{2 ** (p + 1) - 2}" if p else "0" for p in range(arrays["position_tokens"].shape[1])]
    return {
        "domains": (domains, member * arrays["tokens"][:, None], member * arrays["nats"][:, None]),
        "frequency_deciles": (deciles, arrays["decile_tokens"], arrays["decile_nats"]),
        "positions": (positions, arrays["position_tokens"], arrays["position_nats"]),
    }


def save(evaluation: Evaluation, base: Path) -> Path:
    """Write `base`.eval.npz, then `base`.eval.json, and give the latter's path."""
    path = base.with_name(base.name + ".eval.json")
    with atomic(path.with_suffix(".npz"), "wb") as f:
        np.savez_compressed(f, allow_pickle=False, **evaluation.arrays)
    write_json(path, evaluation.record)
    return path


def load(path: Path | str) -> Evaluation:
    """Read what `pretrain eval` wrote, given either of its two files.

    Raises: InputError when one is missing or damaged, or of another format.
    """
    base = Path(path)
    base = base.with_suffix(".json") if base.suffix == ".npz" else base
    record = read(EvaluationRecord, base, HINT)
    path, names = base.with_suffix(".npz"), (*PER_DOCUMENT, *BREAKDOWNS, *CONFIDENCE)
    names = (*names, "seen") if record.checkpoint.seen_documents is not None else names
    arrays = read_arrays(path, names, "run `pretrain eval` again")
    rows = arrays["index"].shape[:1]
    flat = all(arrays[name].shape == rows for name in (*PER_DOCUMENT, "seen") if name in arrays)
    finite = all(bool(np.isfinite(array).all()) for array in arrays.values())
    tables = (arrays[name] for name in (*BREAKDOWNS, *CONFIDENCE))
    if not (flat and finite and all(table.ndim == 2 and table.shape[:1] == rows for table in tables)):
        raise InputError(f"{path}: arrays that do not fit together, or numbers that are not finite", HINT)
    if len(arrays["domain"]) and not 0 <= arrays["domain"].min() <= arrays["domain"].max() < len(record.data.domains):
        raise InputError(f"{path}: domains that {base.name} does not name", HINT)
    return Evaluation(record, arrays, base)


def find(checkpoint: Path | str, sha256: str | None = None) -> list[Evaluation]:
    """The evaluations that stand beside a checkpoint, of that very checkpoint where its hash is given."""
    evaluations = [load(path) for path in sorted(Path(checkpoint).parent.glob("*.eval.json"))]
    return [e for e in evaluations if sha256 is None or e.record.checkpoint.sha256 == sha256]
