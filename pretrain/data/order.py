"""Which windows of the data a step takes: a function of the step alone, so that resuming and sharing are exact."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from equiloss.errors import InputError
from equiloss.seeds import stream

Order = Literal["shuffled", "random", "sequential"]
Offsets = NDArray[np.int64]


class DataOrder:
    """Where in the data the windows of `context` + 1 tokens start, for every step.

    shuffled: windows side by side, each once per epoch, in an order and with a phase of the epoch's own; random:
    anywhere, independently; sequential: side by side as they stand. Raises: InputError when the data is too short.
    """

    def __init__(self, n_tokens: int, context: int, batch: int, order: Order, seed: int) -> None:
        if n_tokens < context + 1:
            raise InputError(
                f"the training data has {n_tokens} tokens, fewer than one window of model.context {context} + 1",
                "use more text or a shorter model.context",
            )
        self.n_tokens, self.context, self.batch, self.order, self.seed = n_tokens, context, batch, order, seed
        self.windows = (n_tokens - 1) // context
        """Windows per epoch."""
        if order == "shuffled" and self.windows > 1:
            self.windows -= 1  # leaves room to move the phase by up to a whole window
        self._epoch = lru_cache(maxsize=2)(self._shuffle)

    def offsets(self, step: int) -> Offsets:
        """Starts (batch,) of the windows of `step`, counted from 0."""
        if self.order == "random":
            return np.random.default_rng([self.seed, step]).integers(
                0, self.n_tokens - self.context, self.batch, dtype=np.int64
            )
        index = np.arange(step * self.batch, (step + 1) * self.batch, dtype=np.int64)
        epoch, within = np.divmod(index, self.windows)
        if self.order == "sequential":
            return within * self.context
        result = np.empty_like(index)
        for number in range(int(epoch[0]), int(epoch[-1]) + 1):
            here = epoch == number
            permutation, phase = self._epoch(number)
            result[here] = permutation[within[here]] * self.context + phase
        return result

    def epoch(self, step: int) -> float:
        """How often the data has been seen before `step`."""
        return step * self.batch * self.context / self.n_tokens

    def _shuffle(self, epoch: int) -> tuple[Offsets, int]:
        rng = np.random.default_rng([stream(self.seed, "epoch"), epoch])
        spare = self.n_tokens - 1 - self.windows * self.context
        phase = int(rng.integers(0, min(spare, self.context - 1) + 1))
        return rng.permutation(self.windows), phase


def gather(tokens: NDArray[np.integer], offsets: Offsets, length: int) -> NDArray[np.int64]:
    """Windows (B, length) of memory-mapped `tokens` that start at `offsets` (B,)."""
    return np.asarray(tokens[offsets[:, None] + np.arange(length)], dtype=np.int64)


def evenly_spaced(n_tokens: int, context: int, budget_tokens: int) -> Offsets:
    """Starts of at most `budget_tokens` worth of windows, spread over the whole text, always the same ones."""
    windows = (n_tokens - 1) // context
    wanted = min(windows, max(1, budget_tokens // context))
    return np.linspace(0, windows - 1, wanted).round().astype(np.int64) * context
