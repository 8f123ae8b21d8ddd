"""`pretrain sample`: text that a model writes after a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from equiloss.errors import InputError
from equiloss.seeds import stream
from pretrain.model import checkpoint
from pretrain.model.device import pick_device
from pretrain.model.generation import generate


@dataclass(frozen=True)
class Sample:
    """A continuation of a prompt."""

    text: str
    n_tokens: int
    finish_reason: Literal["stop", "length"]


def sample(
    path: Path,
    prompt: str,
    *,
    count: int = 1,
    max_new_tokens: int = 100,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    device: str = "auto",
) -> list[Sample]:
    """`count` continuations of `prompt` by the model in a checkpoint; an empty prompt is the start of a document.

    Raises: InputError when the checkpoint is none, or the prompt leaves no room in the model's context.
    """
    loaded = checkpoint.load(path, pick_device(device))
    encoding = loaded.encoding
    ids = encoding.encode_ordinary(prompt) or [encoding.eot_token]
    if len(ids) >= loaded.config.context:
        raise InputError(
            f"the prompt's {len(ids)} tokens fill the model's context of {loaded.config.context}", "shorten it"
        )
    written = generate(
        loaded.model,
        [ids] * count,
        max_new_tokens=max_new_tokens,
        eos_id=encoding.eot_token,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seeds=[stream(seed, "sample", number) for number in range(count)],
    )
    return [Sample(encoding.decode(text.tokens), len(text.tokens), text.finish_reason) for text in written]
