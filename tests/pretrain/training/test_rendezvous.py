"""Processes that are started again meet in a round of their own, whatever their dead predecessors left."""

# torch.distributed exports its stores, but not in the way that type checkers ask for.
# pyright: reportPrivateImportUsage=false
from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from equiloss.errors import IncompleteError
from pretrain.training.rendezvous import agree


@pytest.mark.parametrize("size", [1, 2, 5])
def test_all_agree_on_a_name_that_no_round_before_had(size: int) -> None:
    store = dist.HashStore()
    rounds: list[str] = []
    for _ in range(5):
        with ThreadPoolExecutor(size) as pool:
            names = list(pool.map(lambda rank: agree(store, rank, size, 20), range(size)))
        assert len(set(names)) == 1
        rounds.append(names[0])
    assert len(set(rounds)) == 5


def test_what_a_process_left_that_died_on_the_way_is_not_believed() -> None:
    store = dist.HashStore()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda rank: agree(store, rank, 3, 20), range(3)))
        with pytest.raises(IncompleteError, match="process 1 of 3"):
            agree(store, 1, 3, 0.3)  # comes, finds nobody, and dies

        def late(rank: int) -> str:
            time.sleep(0.2 * rank)
            return agree(store, rank, 3, 20)

        assert len(set(pool.map(late, range(3)))) == 1
