"""Answers written down one by one as they end: a killed generation goes on where it was, several processes share it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from equiloss.errors import InputError
from equiloss.files import append_jsonl, json_lines, write_jsonl
from equiloss.records.response import Example, Response
from ift.generation.answerer import Answerer
from pretrain.training.distributed import World


def answer_resumably(
    answerer: Answerer,
    examples: Sequence[Example],
    generator: str,
    seed: int,
    path: Path,
    fingerprint: str,
    world: World,
) -> list[Response]:
    """Answer items, keeping each finished answer in a file; those kept there of the same run are not asked again.

    Each process of `world` answers its share and keeps it in a file of its own (see `parts`); all return all answers,
    in the order of the items. The number of processes may change when a killed run goes on. The caller deletes the
    files with `forget` when the answers are safe elsewhere.
    """
    kept = {part: _kept(part, fingerprint) for part in parts(path)}
    world.barrier()  # nobody writes before everybody has read
    done = {one.id: one for answers in kept.values() for one in answers}
    mine = [example for example in examples if example.id not in done][world.rank :: world.size]
    fresh: list[Response] = []
    if mine:
        own = path if world.rank == 0 else path.with_name(f"{path.stem}.{world.rank}{path.suffix}")
        rows = [one.model_dump(by_alias=True) for one in kept.get(own, ())]
        begin = iter([[{"fingerprint": fingerprint}, *rows]])

        def keep(one: Response) -> None:
            for known in begin:  # at the first answer, which a prompt that is too long never reaches
                write_jsonl(own, known)  # without what a kill left half written
            append_jsonl(own, one.model_dump(by_alias=True))

        fresh = answerer.answer(mine, generator, seed, keep)
    for rows in world.collect([one.model_dump(by_alias=True) for one in fresh]):
        done |= {row["id"]: Response.model_validate(row) for row in rows}
    return [done[example.id] for example in examples]


def parts(path: Path) -> list[Path]:
    """The files that hold finished answers: NAME.jsonl of the first process, NAME.1.jsonl of the second, ..."""
    others = sorted(path.parent.glob(f"{path.stem}.*{path.suffix}"))
    return [one for one in (path, *others) if one.exists() and (one == path or one.suffixes[-2][1:].isdigit())]


def begun(path: Path, fingerprint: str) -> bool:
    """Whether a run of this fingerprint has begun to answer and was broken off."""
    with suppress(InputError):
        return any(next(json_lines(part))[1] == {"fingerprint": fingerprint} for part in parts(path))
    return False


def forget(path: Path) -> None:
    """Delete the files of finished answers."""
    for part in parts(path):
        part.unlink(missing_ok=True)


def _kept(path: Path, fingerprint: str) -> list[Response]:
    """The finished answers of a file, none where it is of another run; the last line may be half a line."""
    rows: list[object] = []
    with suppress(InputError):
        rows.extend(row for _, row in json_lines(path))
    if rows[:1] != [{"fingerprint": fingerprint}]:
        return []
    answers: list[Response] = []
    with suppress(ValidationError):
        answers.extend(Response.model_validate(row) for row in rows[1:])
    return answers
