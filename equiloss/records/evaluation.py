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
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from equiloss.errors import InputError
from equiloss.files import read_json

Array = NDArray[Any]


FORMAT = "equiloss.eval.v1"


DECILES = 10


CONFIDENCE_BINS = 15


PER_DOCUMENT = ("index", "domain", "tokens", "nats", "bytes", "correct")


BREAKDOWNS = ("decile_tokens", "decile_nats", "position_tokens", "position_nats")


CONFIDENCE = ("confidence_tokens", "confidence_sum", "confidence_correct")


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint's losses on one split: the JSON file's record and the npz file's arrays."""

    record: Mapping[str, Any]
    arrays: Mapping[str, Array]
    path: Path | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.record["checkpoint"]["name"])


def breakdowns(record: Mapping[str, Any], arrays: Mapping[str, Array]) -> list[tuple[str, list[str], Array, Array]]:
    """(name, labels (K,), tokens (D, K), nats (D, K)) for domains, frequency deciles and positions."""
    names = cast("list[str]", record["data"]["domains"])
    member = arrays["domain"][:, None] == np.arange(len(names))  # (D, K)
    deciles = [f"{n + 1}" for n in range(DECILES)]
    positions = [f"{2**p - 1}-{2 ** (p + 1) - 2}" if p else "0" for p in range(arrays["position_tokens"].shape[1])]
    return [
        ("domains", names, member * arrays["tokens"][:, None], member * arrays["nats"][:, None]),
        ("frequency_deciles", deciles, arrays["decile_tokens"], arrays["decile_nats"]),
        ("positions", positions, arrays["position_tokens"], arrays["position_nats"]),
    ]


def load(path: Path | str) -> Evaluation:
    """Read what `pretrain eval` wrote, given either of its two files.

    Raises: InputError when one is missing or damaged, or of another format.
    """
    base = Path(path)
    base = base.with_suffix(".json") if base.suffix == ".npz" else base
    record = read_json(base)
    if not isinstance(record, dict) or cast("dict[str, Any]", record).get("format") != FORMAT:
        raise InputError(f"{base}: not of the format {FORMAT}", "name an .eval.json that `pretrain eval` wrote")
    try:
        with np.load(base.with_suffix(".npz"), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in (*PER_DOCUMENT, *BREAKDOWNS, *CONFIDENCE)}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{base.with_suffix('.npz')}: {error}", "run `pretrain eval` again") from None
    return Evaluation(cast("dict[str, Any]", record), arrays, base)


def find(checkpoint: Path | str, sha256: str | None = None) -> list[Evaluation]:
    """The evaluations that stand beside a checkpoint, of that very checkpoint where its hash is given."""
    found = [load(path) for path in sorted(Path(checkpoint).parent.glob("*.eval.json"))]
    return [e for e in found if sha256 is None or e.record["checkpoint"]["sha256"] == sha256]
