"""A fresh start for processes that torchrun starts again.

torchrun's agent keeps one store over all restarts, and torch reads the addresses of dead processes from it: the group
then waits for them until its timeout (pytorch issue 135712). The count of restarts does not help, since every agent
counts its own. So the processes agree on a round that only those who are alive can know.
"""

# torch.distributed exports its stores, but not in the way that type checkers ask for.
# pyright: reportPrivateImportUsage=false
from __future__ import annotations

import hashlib
import os
import time
import uuid
from datetime import timedelta

import torch.distributed as dist

from equiloss.errors import IncompleteError
from equiloss.numerals import duration

POLL_S = 0.05


def agree(store: dist.Store, rank: int, size: int, patience_s: float) -> str:
    """A name for this round, the same in all `size` processes and never used before.

    Every process leaves a word that nobody else can know. Rank 0 makes the round's name from the words it finds, and
    makes it again when one changes: what a dead process left is written over by its successor. The round begins when
    all have confirmed the name that holds their own word.
    Raises: IncompleteError when the others do not come in time.
    """
    word = uuid.uuid4().hex
    store.set(f"word/{rank}", word)
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        if rank == 0:
            words = [_read(store, f"word/{peer}") for peer in range(size)]
            if all(words):
                round_name = _name(words)
                store.set("words", ",".join(words))
                if all(_read(store, f"confirmed/{peer}") == round_name for peer in range(1, size)):
                    store.set("begun", round_name)
                    return round_name
        else:
            words = _read(store, "words").split(",")
            if len(words) > rank and words[rank] == word:
                round_name = _name(words)
                store.set(f"confirmed/{rank}", round_name)
                if _read(store, "begun") == round_name:
                    return round_name
        time.sleep(POLL_S)
    raise IncompleteError(
        f"process {rank} of {size} has waited {duration(patience_s)} for the others", "run the same command again"
    )


def agent_store(timeout: timedelta, rank: int, size: int) -> dist.Store | None:
    """torchrun's store, with a name space of its own for this round; None where torch shall find its own way."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(host, port, size, is_master=False, timeout=timeout)
    return dist.PrefixStore(agree(dist.PrefixStore("equiloss", store), rank, size, timeout.total_seconds()), store)


def _name(words: list[str]) -> str:
    return hashlib.sha256(",".join(words).encode()).hexdigest()[:16]


def _read(store: dist.Store, key: str) -> str:
    return store.get(key).decode() if store.check([key]) else ""
