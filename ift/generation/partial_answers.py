"""Answers written down one by one as they end: a killed generation goes on where it was, several processes share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from equiloss.errors import InputError
from equiloss.files import append_jsonl, read_jsonl, write_jsonl
from equiloss.records.response import Example, Response
from ift.generation.answerer import OnAnswer
from pretrain.training.distributed import World

Answer = Callable[[Sequence[Example], OnAnswer], Sequence[Response]]
"""Answers items in their order and reports each answer as it ends."""


def answer_resumably(
    examples: Sequence[Example], path: Path, fingerprint: str, answers: Answer, world: World
) -> list[Response]:
    """Answer items, keeping each finished answer in a file; those kept there of the same run are not asked again.

    Each process of `world` answers its share and keeps it in a file of its own (see `parts`); all return all answers,
    in the order of the items. The number of processes may change when a killed run goes on. The caller deletes the
    files with `forget` when the answers are safe elsewhere.
    """
    done: dict[str, Response] = {}
    for part in parts(path):
        done |= _kept(part, fingerprint)
    world.barrier()  # nobody writes before everybody has read
    left = [example for example in examples if example.id not in done]
    mine = left[world.rank :: world.size]
    own = _part(path, world.rank)
    if mine:
        if not _kept(own, fingerprint):
            write_jsonl(own, [{"fingerprint": fingerprint}])
        fresh = answers(mine, lambda one: append_jsonl(own, one.model_dump(by_alias=True)))
    else:
        fresh = []
    for rows in world.collect([one.model_dump(by_alias=True) for one in fresh]):
        done |= {row["id"]: Response.model_validate(row) for row in rows}
    return [done[example.id] for example in examples]


def parts(path: Path) -> list[Path]:
    """The files that hold finished answers: NAME.jsonl of the first process, NAME.1.jsonl of the second, ..."""
    own = [one for one in path.parent.glob(f"{path.stem}.*{path.suffix}") if _number(one, path).isdigit()]
    return [one for one in (path, *sorted(own)) if one.exists()]


def forget(path: Path) -> None:
    """Delete the files of finished answers."""
    for part in parts(path):
        part.unlink(missing_ok=True)


def _part(path: Path, rank: int) -> Path:
    return path if rank == 0 else path.with_name(f"{path.stem}.{rank}{path.suffix}")


def _number(part: Path, path: Path) -> str:
    return part.name.removeprefix(f"{path.stem}.").removesuffix(path.suffix)


def _kept(path: Path, fingerprint: str) -> dict[str, Response]:
    """The finished answers of a file by id, none where it is of another run."""
    with suppress(InputError, ValueError, KeyError):  # the last line may be half a line
        if path.exists():
            _mend(path)
            rows = read_jsonl(path)
            if rows and rows[0] == {"fingerprint": fingerprint}:
                return {row["id"]: Response.model_validate(row) for row in rows[1:]}
    return {}


def _mend(path: Path) -> None:
    """Cut off a last line that was not written to its end."""
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        with path.open("r+b") as f:
            f.truncate(data.rfind(b"\n") + 1)
