"""The ledger on a disk that takes no more."""

import resource
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from equiloss.errors import EquilossError, IncompleteError
from judge.scoring.ledger import Ledger


@contextmanager
def no_room() -> Generator[None]:
    """No file of this process may grow beyond 2,000 bytes: for SQLite the same as a spent quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_resumable_at_the_start_and_later(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with no_room(), pytest.raises(IncompleteError, match=r"no space left for .*ledger.sqlite"):
        Ledger(path)
    with Ledger(path) as ledger:
        with no_room(), pytest.raises(IncompleteError, match=r"no space left for .*ledger.sqlite"):
            ledger.claim("request")
        assert ledger.claim("request")


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_ledger_is_named_whatever_is_done_with_it(tmp_path: Path, seed: int) -> None:
    path, lots = tmp_path / "ledger.sqlite", Random(seed)
    with Ledger(path):
        pass
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    content = bytearray(path.read_bytes())
    for _ in range(20):  # beyond the header, which is how SQLite knows its files
        content[lots.randrange(100, len(content))] = lots.randrange(256)
    path.write_bytes(content)
    with suppress(EquilossError), Ledger.existing(path) as ledger:  # and no error of SQLite's own
        ledger.prune(before="2030-01-01")
