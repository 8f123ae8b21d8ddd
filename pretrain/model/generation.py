"""Generation: many prompts at once over a static cache of keys and values; an answer does not depend on its batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from equiloss.errors import InputError
from pretrain.model.attention import Heads
from pretrain.model.language_model import LanguageModel
from pretrain.model.next_token import Chooser
from pretrain.model.packing import Packed

CACHE_BYTES = 2 << 30
"""What the cache of one batch may take where no batch size is given."""
PREFILL_TOKENS = 8192
"""About how many prompt tokens go through the model at once."""
SHRINK_AT = 0.8
"""A batch is packed anew when at most this share of its rows is still writing."""
LIBRARY_ROWS = 16
"""Answers that `transformers` writes together where no batch size is given."""
ATTEND_TOGETHER = 0.85
"""Rows whose prompt is at least this share as long as the longest of their group attend over the same slots."""


@dataclass
class Generation:
    """What was written after a prompt: without the end-of-text id, and why it ended."""

    tokens: list[int] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] = "length"


OnDone = Callable[[int, Generation], None]
"""Called with the prompt's number and its answer as each answer ends."""


@torch.inference_mode()
def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    eos_id: int | Sequence[int] | None,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    seeds: Sequence[int] | None = None,
    batch_size: int | None = None,
    on_done: OnDone | None = None,
) -> list[Generation]:
    """Continue each prompt until an `eos_id`, `max_new_tokens` or the end of the context; in the order of the prompts.

    Temperature 0 is greedy; otherwise `seeds` (one per prompt) makes an answer repeatable whatever its batch.
    `top_k` 0 and `top_p` 1 cut nothing. `repetition_penalty` above 1 makes tokens less likely that the answer already
    has, below 1 more likely (Keskar et al. 2019, arXiv 1909.05858). `batch_size` None: as many rows as
    the cache's budget allows.
    Raises: InputError for an empty prompt, one that fills the context, or sampling without seeds.
    """
    if temperature > 0 and (seeds is None or len(seeds) != len(prompts)):
        raise InputError("sampling needs a seed for every prompt", "give seeds, or temperature 0")
    context = model.context
    for number, prompt in enumerate(prompts):
        if not 1 <= len(prompt) < context:
            raise InputError(
                f"prompt {number + 1} has {len(prompt)} tokens", f"it needs 1 to {context - 1} to leave room to write"
            )
    ends = eos_id if isinstance(eos_id, Sequence) else [eos_id]
    training = model.training
    model.eval()
    results = [Generation() for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda number: -len(prompts[number]))
    if not model.packs:
        known = [end for end in ends if end is not None]
        how = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "repetition_penalty": repetition_penalty}
        while order:
            most = min(max_new_tokens, context - len(prompts[order[0]]))
            together = model.pads_left and not temperature and most == max_new_tokens
            rows = (batch_size or LIBRARY_ROWS) if together else 1
            batch, order = order[:rows], order[rows:]
            torch.manual_seed(seeds[batch[0]] if seeds else 0)
            answers = model.continued([prompts[number] for number in batch], most, known, **how)
            for number, written in zip(batch, answers, strict=True):
                stop = next((place for place, token in enumerate(written) if token in ends), None)
                results[number] = Generation(written[:stop], "length" if stop is None else "stop")
                if on_done is not None:
                    on_done(number, results[number])
        return results
    while order:
        longest = min(context, len(prompts[order[0]]) + max_new_tokens)
        rows = batch_size or rows_that_fit(model, longest)
        batch, order = order[:rows], order[rows:]
        uniforms = None
        if temperature > 0 and seeds is not None:
            uniforms = np.stack([np.random.default_rng(seeds[number]).random(max_new_tokens) for number in batch])
        score = None if model.plain_head else model.head
        choose = Chooser(model.head_weight, temperature, top_k, top_p, repetition_penalty, uniforms, score)
        _GeneratingBatch(model, prompts, batch, results, on_done).run(max_new_tokens, ends, choose)
    model.train(training)
    return results


def rows_that_fit(model: LanguageModel, slots: int, cache_bytes: int = CACHE_BYTES) -> int:
    """How many rows of `slots` tokens fit a cache of `cache_bytes`."""
    layers, heads, size = model.cache_shape
    return max(1, cache_bytes // (2 * layers * heads * size * slots * _cache_type(model).itemsize))


def _cache_type(model: LanguageModel) -> torch.dtype:
    """The number format of keys and values: the model's, but fp32 for bf16 on the CPU, where attention is faster so."""
    weight = model.head_weight
    return torch.float32 if weight.device.type == "cpu" and weight.dtype == torch.bfloat16 else weight.dtype


class _CachingAttention:
    """The attention of packed prompts that also puts their keys and values into a cache (layers, B, K, S, D).

    Every prompt ends at the slot before `width`.
    """

    def __init__(self, packed: Packed, keys: Tensor, values: Tensor, width: int) -> None:
        self.packed, self.keys, self.values = packed, keys, values
        self.layer = 0
        device = keys.device
        self.source = torch.cat(packed.index)
        self.rows = torch.cat([torch.full_like(index, row) for row, index in enumerate(packed.index)])
        self.slots = torch.cat([torch.arange(width - len(index), width, device=device) for index in packed.index])

    def __call__(self, qkv: Tensor, heads: Heads, dropout: float) -> Tensor:
        _, k, v = heads.split(qkv[0])  # (N, K, D)
        self.keys[self.layer].transpose(1, 2)[self.rows, self.slots] = k[self.source].to(self.keys.dtype)
        self.values[self.layer].transpose(1, 2)[self.rows, self.slots] = v[self.source].to(self.keys.dtype)
        self.layer += 1
        return self.packed.attend(qkv, heads, dropout)


class _GeneratingBatch:
    """Rows that are written together. Prompts end in the same slot of the cache, so that each step writes one slot."""

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Sequence[int]],
        numbers: Sequence[int],
        results: list[Generation],
        on_done: OnDone | None,
    ) -> None:
        self.model, self.prompts, self.results, self.on_done = model, prompts, results, on_done
        self.numbers = list(numbers)
        """Whose row it is; -1 when its answer is done."""
        self.device = model.head_weight.device
        self.lengths = torch.tensor([len(prompts[number]) for number in numbers], device=self.device)
        self.width = int(self.lengths.max())
        self.groups: list[tuple[int, int, int]] = []
        """(first row, row after the last, first slot in use): rows of like length attend together, as views."""

    def run(self, max_new_tokens: int, ends: Sequence[int | None], choose: Chooser) -> None:
        """Write until every row is done."""
        slots = self.width + min(max_new_tokens, self.model.context - int(self.lengths.min()))
        layers, heads, size = self.model.cache_shape
        shape = (layers, len(self.numbers), heads, slots, size)
        # Zeros, not empty: a masked slot still multiplies, and 0 × NaN is NaN.
        self.keys = torch.zeros(shape, device=self.device, dtype=_cache_type(self.model))
        self.values = torch.zeros_like(self.keys)
        unused = torch.arange(slots, device=self.device) < self.width - self.lengths[:, None]  # (B, S)
        self.mask = torch.zeros(unused.shape, device=self.device, dtype=self.keys.dtype).masked_fill_(unused, -math.inf)
        self.groups = self._alike()
        hidden = self._prefill()
        rows = torch.arange(len(self.numbers), device=self.device)
        written: Tensor | None = None  # (B, steps so far)
        for step in range(max_new_tokens):
            ids = choose.pick(hidden, rows, step, written)
            written = ids[:, None] if written is None else torch.cat([written, ids[:, None]], dim=1)
            going = self._note(ids.tolist(), ends, last=step + 1 == max_new_tokens)
            if not going:
                return
            if len(going) <= SHRINK_AT * len(self.numbers):
                keep = torch.tensor(going, device=self.device)
                ids, rows, self.lengths, written = ids[keep], rows[keep], self.lengths[keep], written[keep]
                self.numbers = [self.numbers[row] for row in going]
                self.keys, self.values, self.mask = self.keys[:, keep], self.values[:, keep], self.mask[keep]
                self.groups = self._alike()
            hidden = self._step(ids, step)

    def _alike(self) -> list[tuple[int, int, int]]:
        """The rows, longest prompt first, cut where attending over the longest one's slots would waste too much."""
        groups: list[tuple[int, int, int]] = []
        for row, length in enumerate(self.lengths.tolist()):
            if groups and length >= ATTEND_TOGETHER * (self.width - groups[-1][2]):
                groups[-1] = (groups[-1][0], row + 1, groups[-1][2])
            else:
                groups.append((row, row + 1, self.width - length))
        return groups

    def _note(self, ids: Sequence[int], ends: Sequence[int | None], last: bool) -> list[int]:
        """Record each row's next id; the rows that go on. A finished row that still rides along is left alone."""
        going: list[int] = []
        for row, token in enumerate(ids):
            number = self.numbers[row]
            if number < 0:
                continue
            result = self.results[number]
            if token in ends:
                result.finish_reason = "stop"
            else:
                result.tokens.append(token)
                if not last and len(self.prompts[number]) + len(result.tokens) < self.model.context:
                    going.append(row)
                    continue
            self.numbers[row] = -1
            if self.on_done is not None:
                self.on_done(number, result)
        return going

    def _prefill(self) -> Tensor:
        """Put the prompts' keys and values into the cache; the hidden states (B, C) of their last tokens."""
        prompts = [self.prompts[number] for number in self.numbers]
        last: list[Tensor] = []
        start = 0
        while start < len(prompts):
            stop, tokens = start + 1, len(prompts[start])
            while stop < len(prompts) and tokens + len(prompts[stop]) <= PREFILL_TOKENS:
                tokens += len(prompts[stop])
                stop += 1
            packed = Packed(prompts[start:stop], device=self.device)
            attend = _CachingAttention(packed, self.keys[:, start:stop], self.values[:, start:stop], self.width)
            hidden = self.model.backbone(packed.ids, packed.positions, attend)[0]
            last.append(hidden[torch.stack([index[-1] for index in packed.index])])
            start = stop
        return torch.cat(last)

    def _step(self, ids: Tensor, step: int) -> Tensor:
        """One token (B,) more in each row; its hidden states (B, C)."""
        slot = self.width + step
        positions = (self.lengths + step).clamp(max=self.model.context - 1)[:, None]
        layer = 0

        def attend(qkv: Tensor, heads: Heads, _: float) -> Tensor:
            nonlocal layer
            q, k, v = (x[:, 0] for x in heads.split(qkv))  # (B, H or K, D)
            keys, values = self.keys[layer], self.values[layer]
            keys[:, :, slot], values[:, :, slot] = k, v
            layer += 1
            q = q.to(keys.dtype)
            y = torch.empty_like(q)
            for start, stop, first in self.groups:
                used = slice(first if heads.window is None else max(first, slot + 1 - heads.window), slot + 1)
                y[start:stop] = heads.product(
                    q[start:stop, :, None],
                    keys[start:stop, :, used],
                    values[start:stop, :, used],
                    self.mask[start:stop, None, None, used],
                )[:, :, 0]
            return y.flatten(1)[:, None].to(qkv.dtype)

        return self.model.backbone(ids[:, None], positions, attend)[:, 0]
