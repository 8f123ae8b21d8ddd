"""How a decoder's weights begin: GPT-2's way, or the defaults of torch's and of Flax NNX's layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pretrain.config import ModelConfig

INIT_STD = 0.02
LOGIT_STD = 0.3
"""The most that logits may vary at initialisation: their variance adds half of itself to the first loss."""
TRUNCATED_STD = 0.87962566103423978
"""The standard deviation of a standard normal cut off at 2 on both sides."""


def initial(config: ModelConfig, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """The first values of the parameter `name` of a model of this shape; norms start at 1 and 0 in all three ways.

    - gpt2: N(0, 0.02), residual projections divided by sqrt(2 n_layer), biases 0 (Radford et al., 2019). The matrix
      that writes tokens is drawn narrower where n_embd is large, so that the first loss is ln(vocab_size).
    - torch: embeddings N(0, 1); weights and biases uniform within 1/sqrt(fan-in). A tied head has the embedding's
      values, and a first loss of hundreds of nats.
    - flax: embeddings N(0, 1/n_embd); weights from a normal of variance 1/fan-in cut off at 2 standard deviations
      (LeCun); biases 0.
    """
    values = torch.zeros(shape)
    if "norm" in name:
        return values.fill_(1.0) if name.endswith("weight") else values
    bias, embedding = name.endswith("bias"), name in ("token_embedding.weight", "position_embedding.weight")
    width = config.n_embd * (4 if "mlp.down" in name else 1)  # what a row of the layer's matrix has: its fan-in
    if config.init == "torch" and not embedding:
        return values.uniform_(-(width**-0.5), width**-0.5, generator=generator)
    if bias:
        return values
    if config.init == "flax" and not embedding:
        std = width**-0.5 / TRUNCATED_STD
        return torch.nn.init.trunc_normal_(values, 0.0, std, -2 * std, 2 * std, generator)
    if config.init != "gpt2":
        return values.normal_(0.0, 1.0 if config.init == "torch" else width**-0.5, generator=generator)
    residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
    std = INIT_STD / math.sqrt(2 * config.n_layer) if residual else INIT_STD
    if name == ("token_embedding.weight" if config.tie_weights else "unembedding.weight"):
        std = min(std, LOGIT_STD / math.sqrt(config.n_embd))
    return values.normal_(0.0, std, generator=generator)
