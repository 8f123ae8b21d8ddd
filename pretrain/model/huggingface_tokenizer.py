"""A tokenizer of `transformers`: tiktoken's names for it, where its texts begin and where they end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from equiloss.tokenizer import END_OF_TEXT

ENDS = (END_OF_TEXT, "</s>", "<eos>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>")
"""What other tokenizers call the end of a text."""


class HuggingFaceEncoding:
    """A tokenizer of `transformers` behind tiktoken's names."""

    def __init__(self, tokenizer: Any, end_id: int, before_text: int) -> None:
        self.tokenizer, self.eot_token, self.before_text = tokenizer, end_id, before_text

    @property
    def n_vocab(self) -> int:
        """Ids from 0 on."""
        return max(len(self.tokenizer), self.eot_token + 1)

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of a text: nothing is added to it, and nothing in it is a special token."""
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ids, as written: special tokens left out, no spaces tidied."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def end_ids(inner: Any, tokenizer: Any, notes: list[str]) -> list[int]:
    """Where it says that it ends: its tokenizer's id first, which training writes, and its generation config's."""
    own = getattr(inner.generation_config, "eos_token_id", None) or getattr(inner.config, "eos_token_id", None)
    ids = [] if own is None else list(own) if isinstance(own, (list, tuple)) else [own]
    if tokenizer.eos_token_id is not None:
        ids = [tokenizer.eos_token_id, *(one for one in ids if one != tokenizer.eos_token_id)]
    size = inner.get_input_embeddings().weight.shape[0]
    ids = [int(one) for one in ids if 0 <= int(one) < size]
    if not ids:
        vocabulary = tokenizer.get_vocab()
        known = next((name for name in ENDS if name in vocabulary), None)
        if known is None:
            known = END_OF_TEXT
            tokenizer.add_special_tokens({"eos_token": known})
            if len(tokenizer) > size:
                inner.resize_token_embeddings(len(tokenizer), mean_resizing=False)
                with torch.no_grad():
                    for table in {inner.get_input_embeddings(), inner.get_output_embeddings()}:
                        table.weight[size:] = table.weight[:size].mean(0)
        tokenizer.eos_token = known
        ids = [int(tokenizer.convert_tokens_to_ids(known))]
        notes.append(f"its tokenizer names no end of text: using {known} ({ids[0]})")
    if tokenizer.pad_token_id is None:
        notes.append("its tokenizer has no padding: where some is needed, the end of text stands in, without loss")
    return ids


def start_ids(tokenizer: Any, notes: list[str]) -> list[int]:
    """The ids that it puts before a text by itself; those that it puts behind are said and left out."""
    added, bare = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=False)
    at = next((at for at in range(len(added)) if bare and added[at : at + len(bare)] == bare), 0)
    start, behind = [int(one) for one in added[:at]], added[at + len(bare) :]
    if start:
        notes.append(f"its tokenizer begins every text with {tokenizer.decode(start)}: every prompt here begins so too")
    if behind:
        notes.append(f"its tokenizer ends every text with {tokenizer.decode(behind)}: left out here but for the end")
    return start
