"""`pretrain probe`: run the probes on a checkpoint and write CHECKPOINT's name with `.probe.json` beside it."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from equiloss import console
from equiloss.errors import InputError
from equiloss.files import claim, write_json
from equiloss.numerals import duration
from equiloss.provenance import provenance
from equiloss.records.file_record import read
from equiloss.records.probe import ProbedCheckpoint, ProbedData, ProbeRecord, ProbeResult
from pretrain.model.opening import open_model
from pretrain.probes.registry import probes
from pretrain.probes.subject import MissingInput, ProbeOptions, Subject


def run(path: Path, options: ProbeOptions, output: Path | None = None) -> tuple[ProbeRecord, Path]:
    """Probe a checkpoint; the record and where it was written.

    Raises: InputError for a bad checkpoint, data, facts or items, or an unknown probe.
    """
    known = probes()
    unknown = [name for name in options.only if name not in known]
    if unknown:
        raise InputError(f"no probe named {unknown[0]!r}", f"the probes: {', '.join(known)}")
    subject = Subject(open_model(path), options)
    target = output or subject.base.path.with_name(f"{subject.base.path.stem}.probe.json")
    if target.exists():
        ours = {str(path), subject.base.sha256} & _probed(target)
        claim(target, bool(ours), "name another file with -o, or add --overwrite")
    shards = subject.shards if options.data else None
    text = subject.text if options.text else shards
    measured: dict[str, ProbeResult] = {}
    for name in options.only or [name for name, probe in known.items() if not probe.only_when_named]:
        start = time.perf_counter()
        try:
            result = known[name].run(subject)
        except MissingInput as missing:
            subject.skipped[name] = str(missing)
            continue
        measured[name] = result.model_copy(update={"seconds": round(time.perf_counter() - start, 2)})
        console.say(f"{name}: {duration(measured[name].seconds)}")
    base = subject.base
    record = ProbeRecord(
        checkpoint=ProbedCheckpoint(path=str(base.path), sha256=base.sha256, config=base.settings),
        data=ProbedData(path=str(options.data), sha256=shards.sha256) if shards else None,
        text=ProbedData(path=str(options.text or options.data), sha256=text.sha256) if text else None,
        seed=options.seed,
        probes=measured,
        skipped=subject.skipped,
        provenance=provenance(),
    )
    write_json(target, record)
    return record, target


def _probed(path: Path) -> set[str | None]:
    """The path and the hash of the checkpoint that a record of probes is of; none where a file is no such record."""
    with suppress(InputError):
        probed = read(ProbeRecord, path, "").checkpoint
        return {probed.path, probed.sha256}
    return set()
