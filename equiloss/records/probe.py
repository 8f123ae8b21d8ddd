"""NAME.probe.json: what `pretrain probe` measured of a base model, beside its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, JsonValue, TypeAdapter

from equiloss.records.file_record import FileRecord, read
from equiloss.records.provenance import Provenance

HINT = "name a .probe.json that `pretrain probe` wrote"
OF_TEXT = ("copying", "noise", "sharpness", "forgetting")
"""The probes that read a test text: two models are compared in them on one text alone."""


class Measure(FileRecord):
    """One number about a model with its noise. `samples` are its values by key (a fact, an item), for pairing."""

    value: float
    standard_error: float | None = None
    unit: str = ""
    n: int | None = None
    samples: dict[str, float] | None = None

    @classmethod
    def mean_of(cls, values: Sequence[float], *, unit: str, keys: Sequence[str] | None = None) -> Measure:
        """The mean of values with its standard error; with keys, the values are kept for pairing."""
        n = len(values)
        error = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else None
        samples = dict(zip(keys, values, strict=True)) if keys is not None else None
        return cls(value=float(np.mean(values)), standard_error=error, unit=unit, n=n, samples=samples)


class ProbeResult(FileRecord):
    """What one probe gave: its measures by name, and whatever else it keeps (see the probe's module)."""

    measures: dict[str, Measure] = Field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def of(cls, measures: Mapping[str, Measure], **kept: object) -> ProbeResult:
        """The measures, and what else the record keeps by name; how long it took is for whoever runs the probe."""
        return cls.model_validate({**kept, "measures": dict(measures)})


class ProbedCheckpoint(FileRecord):
    """The checkpoint that was probed; `config` is its model's."""

    path: str = ""
    sha256: str | None = None
    config: dict[str, JsonValue] = Field(default_factory=dict)


class ProbedData(FileRecord):
    """The data that it was probed with."""

    path: str = ""
    sha256: str


class ProbeRecord(FileRecord):
    """Everything that was measured of a checkpoint; `skipped` says of a probe that was not run what it lacked.

    `text`: whose test text the probes of `OF_TEXT` read; where a record does not say, that of `data`.
    """

    format: Literal["equiloss.probe.v1"] = "equiloss.probe.v1"
    checkpoint: ProbedCheckpoint = ProbedCheckpoint()
    data: ProbedData | None = None
    text: ProbedData | None = None
    seed: int = 0
    probes: dict[str, ProbeResult]
    skipped: dict[str, str] = Field(default_factory=dict)
    provenance: Provenance | None = None

    @property
    def text_sha256(self) -> str | None:
        """The hash of the data whose test text was read; None where it is not known."""
        read = self.text or self.data
        return read.sha256 if read else None

    @property
    def measures(self) -> dict[str, Measure]:
        """All measures by "PROBE.MEASURE" ("cloze.stored_accuracy")."""
        return {f"{probe}.{name}": one for probe, of in self.probes.items() for name, one in of.measures.items()}

    @property
    def item_domains(self) -> Mapping[str, str] | None:
        """The domain of each item, where the probe `domains` was run."""
        found = self.probes.get("domains")
        items = None if found is None else (found.model_extra or {}).get("items")
        return None if items is None else TypeAdapter(dict[str, str]).validate_python(items)


def load(path: Path) -> ProbeRecord:
    """Read a probe's record.

    Raises: InputError when it is missing, broken, or of another format.
    """
    return read(ProbeRecord, path, HINT)


def find(checkpoint: Path, sha256: str | None = None) -> tuple[ProbeRecord, Path] | None:
    """The record of a checkpoint (of that very one where its hash is given) and its file; None where there is none.

    That is NAME.probe.json beside the checkpoint, else the only file of that kind there.
    """
    path = checkpoint.with_name(f"{checkpoint.stem}.probe.json")
    if not path.is_file():
        others = sorted((checkpoint if checkpoint.is_dir() else checkpoint.parent).glob("*.probe.json"))
        if len(others) != 1:
            return None
        path = others[0]
    record = load(path)
    known = None in (sha256, record.checkpoint.sha256) or record.checkpoint.sha256 == sha256
    return (record, path) if known else None
