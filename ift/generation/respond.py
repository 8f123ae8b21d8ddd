"""`ift respond`: answers of a model alone, with the record of what made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from equiloss.console import warn
from equiloss.errors import InputError
from equiloss.files import overwriting, sha256_file, sha256_of, unpacked_name
from equiloss.provenance import provenance
from equiloss.records.ift_run import IftRespond, RunData, RunFiles, RunRecord, read_run, write_run
from equiloss.records.response import write_responses
from ift.data import formats
from ift.generation import metrics
from ift.generation.model_answerer import open_answerer
from ift.generation.partial_answers import answer_resumably, begun, forget
from ift.paths import RunPaths, name_of
from pretrain.training.distributed import world


@dataclass(frozen=True)
class Answers:
    """Answers that were written. `again`: they had been before; nothing was done."""

    paths: RunPaths
    record: RunRecord
    again: bool = False


def respond(
    model: str,
    *,
    data: str,
    skip_bad: bool = False,
    name: str | None,
    results: Path,
    template: str | None,
    seed: int,
    decoding: Mapping[str, JsonValue],
    device: str,
) -> Answers | None:
    """`ift respond` (see its help); None in all processes of torchrun but the first.

    Raises: InputError for a model, data or template that does not work, or a name that belongs to other answers.
    """
    with world(device) as peers:
        answerer = open_answerer(model, template, decoding, peers.device)
        examples, unanswerable = answerer.answerable(formats.read_examples(data, skip_bad=skip_bad))
        if unanswerable and peers.main:
            first = next(iter(unanswerable))
            warn(f"{len(unanswerable)} items are longer than the model's context and get no answer: {first} …")
        if not examples:
            raise InputError("no item fits the model's context", "choose a shorter template (alpaca-short)")
        name = name or f"{name_of(Path(model))}-{Path(unpacked_name(Path(data))).stem}"
        paths = RunPaths(name, results, results)
        record = IftRespond(
            name=name,
            model=answerer.about,
            data=RunData(source=data, sha256=sha256_of([one.model_dump() for one in examples])),
            template=answerer.about_template,
            decoding=answerer.decoding.model_dump(),
            seed=seed,
        )
        fingerprint = sha256_of(record.model_dump(mode="json", exclude_unset=True))
        known = read_run(paths.record) if paths.record.exists() else None
        if known is not None:
            same = known.fingerprint == fingerprint
            if not same and not overwriting():
                hint = "choose another --name, or add --overwrite"
                raise InputError(f"{paths.record} is of other answers or of a run", hint)
            if same and paths.answered(known):
                return Answers(paths, known, again=True) if peers.main else None
        partial = results / f".{name}.answers.jsonl"
        paths.claim(known, begun(partial, fingerprint))
        results.mkdir(parents=True, exist_ok=True)
        responses = answer_resumably(answerer, examples, name, seed, partial, fingerprint, peers)
        if not peers.main:
            return None
        write_responses(paths.responses, responses)
        record = record.model_copy(
            update={
                "fingerprint": fingerprint,
                "too_long": unanswerable,
                "answers": metrics.summary(responses),
                "files": RunFiles(responses=str(paths.responses), responses_sha256=sha256_file(paths.responses)),
                "provenance": provenance(),
            }
        )
        write_run(paths.record, record)
        forget(partial)
        return Answers(paths, record)
