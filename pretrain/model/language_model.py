"""What a model must give to be evaluated, probed, fine-tuned and asked: the own decoder does, and any other can.

`LanguageModel` is the network; `LoadedModel` is one that was opened, with its tokenizer and what made it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from equiloss.records.base_run import CheckpointRun
from equiloss.records.ift_run import AnsweringModel, Settings
from pretrain.data.shards import Shards, TokenSplit
from pretrain.model.attention import Attend
from pretrain.model.cross_entropy import IGNORE, linear_cross_entropy
from pretrain.model.precision import Precision

Documents = NDArray[np.signedinteger[Any]]
"""Numbers of documents (D,)."""


class LanguageModel(nn.Module, ABC):
    """Logits of the next token, as a head over hidden states; dropout acts in training mode only.

    `packs`: texts may lie end to end in one row, with positions and attention of their own (`packing.Packed`);
    `pads_left`: of those that may not, whether prompts padded on the left are continued as each alone.
    `plain_head`: the logits are the product with `head_weight` and nothing more.
    """

    packs: bool = True
    pads_left: bool = False
    plain_head: bool = True

    @property
    @abstractmethod
    def context(self) -> int:
        """The most tokens that it takes."""

    @property
    @abstractmethod
    def cache_shape(self) -> tuple[int, int, int]:
        """What generation keeps of a token: layers, heads of keys, and the size of a head."""

    @property
    @abstractmethod
    def head_weight(self) -> Tensor:
        """The matrix that turns hidden states into logits (V, C)."""

    @property
    @abstractmethod
    def adaptable(self) -> nn.Module:
        """The part whose matrices get low-rank additions."""

    @abstractmethod
    def with_dropout(self, dropout: float) -> LanguageModel:
        """A copy of this model to train, with that dropout wherever its architecture has one."""

    @abstractmethod
    def untied(self) -> LanguageModel:
        """This model with a head of its own, which begins as the token embedding; itself where it has one."""

    @abstractmethod
    def backbone(self, ids: Tensor, positions: Tensor | None = None, attend: Attend | None = None) -> Tensor:
        """Hidden states (B, T, C) after the last norm.

        `positions` (B, T): where each token stands; default 0, 1, 2, ... `attend`: how every layer attends, where texts
        are packed into one row or keys and values are cached; default: causally, within each row.
        """

    def continued(
        self, prompts: Sequence[Sequence[int]], most: int, ends: Sequence[int], **sampling: float
    ) -> list[list[int]]:
        """What it writes after each prompt, the id included at which it ends: of models that do not pack."""
        raise NotImplementedError

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of hidden states (..., C)."""
        return F.linear(hidden, self.head_weight)

    def loss_at(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The summed loss in nats of hidden states (N, C) whose next tokens are `targets` (N,; -100: no loss)."""
        return linear_cross_entropy(hidden, self.head_weight, targets)

    def forward(self, ids: Tensor, targets: Tensor | None = None, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """Logits (B, T, V) of ids (B, T); with targets (B, T; -100 carries no loss) the mean or summed loss in nats."""
        if targets is None:
            return self.head(self.backbone(ids))
        total, count = self.loss_sum(ids, targets)
        return total if reduction == "sum" else total / count.clamp(min=1)

    def loss_sum(self, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The summed loss in nats and the number of targets that carry it, for averages weighted by tokens."""
        return self.loss_at(self.backbone(ids).flatten(0, 1), targets.flatten()), (targets != IGNORE).sum()


class TextEncoding(Protocol):
    """A tokenizer: tiktoken's, or another library's behind the same names."""

    @property
    def eot_token(self) -> int:
        """The id that ends a text."""
        ...

    @property
    def n_vocab(self) -> int:
        """Ids from 0 on."""
        ...

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of a text, no special token added, and none read in it."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ids."""
        ...


class LoadedModel(ABC):
    """A model that was opened: the network in evaluation mode, where it lay, its tokenizer, what made it."""

    model: LanguageModel
    path: Path
    """Its weights' file: what is measured of the model is written beside it."""
    sha256: str
    run: CheckpointRun
    notes: Sequence[str] = ()
    """What a person should know of how it is handled."""

    @property
    @abstractmethod
    def encoding(self) -> TextEncoding:
        """Its tokenizer."""

    @property
    @abstractmethod
    def tokenizer_sha256(self) -> str:
        """A hash of its tokenizer: equal hashes, equal ids."""

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """Its shape, for records."""

    @property
    @abstractmethod
    def about(self) -> AnsweringModel:
        """What the record of its answers says of it."""

    @abstractmethod
    def save(self, directory: Path, model: LanguageModel, run: CheckpointRun) -> None:
        """Write a fine-tuning of this model into a directory, whole or not at all."""

    @abstractmethod
    def weights_in(self, directory: Path) -> Path:
        """The file that `save` writes last."""

    @abstractmethod
    def tokens_of(self, shards: Shards, split: TokenSplit, chosen: Documents) -> tuple[TokenSplit, Documents]:
        """The `chosen` documents (D,) of a split in its own tokens: a split, and which they are in it (D,).

        Raises: InputError where it can only read data of its own tokenizer, and these are of another.
        """

    @abstractmethod
    def precision(self, asked: str) -> Precision:
        """The number format that "auto" stands for; another is returned as it is."""

    @property
    def evaluated_context(self) -> int:
        """The most tokens that it is shown at once when it is measured."""
        return self.model.context

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.model.head_weight.device

    @property
    def start_ids(self) -> list[int]:
        """The ids that its tokenizer puts before every text by itself."""
        return []

    @property
    def end_ids(self) -> list[int]:
        """The ids at which its answers end."""
        return [self.encoding.eot_token]

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids that stand for no text."""
        return frozenset([self.encoding.eot_token])

    @property
    def chat_template(self) -> str | None:
        """Its tokenizer's own chat template."""
        return None

    def chat(self, messages: list[dict[str, str]], answer_next: bool) -> str:
        """Messages (role and content of each) by its own chat template; `answer_next`: with the next turn opened."""
        raise NotImplementedError

    def guard(self, text: str) -> str:
        """A text of an item, marked so that what looks like a special token in it stays text in `encode_template`."""
        return text

    def encode_template(self, text: str) -> list[int]:
        """The ids of what a template wrote, whose own special tokens are meant where the tokenizer has some."""
        return self.encoding.encode_ordinary(text)

    @property
    def before_text(self) -> int:
        """The id behind which a document begins."""
        return (self.start_ids or [self.encoding.eot_token])[-1]
