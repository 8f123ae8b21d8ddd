"""The ledger on a disk that takes no more."""

import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from equiloss.errors import IncompleteError
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
