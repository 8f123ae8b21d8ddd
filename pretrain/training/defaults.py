"""What a run's open fields come to, once its data and its device are known."""

from __future__ import annotations

import math

from equiloss.errors import InputError
from pretrain.config import RunConfig
from pretrain.data.shards import Shards
from pretrain.model.precision import resolve_precision
from pretrain.training.distributed import World


def resolve(config: RunConfig, shards: Shards, peers: World) -> RunConfig:
    """The configuration with nothing left open: vocabulary, steps, precision, seeds, intervals.

    Raises: InputError when the vocabulary is not the data's, or for what JAX does not do here.
    """
    model, train = config.model, config.train
    n_vocab = shards.tokenizer.n_vocab
    if model.vocab_size not in (None, n_vocab):
        raise InputError(
            f"model.vocab_size is {model.vocab_size}, but the tokenizer of {shards.directory} has {n_vocab} tokens",
            f"set model.vocab_size={n_vocab}, or leave it out",
        )
    model = model.model_copy(update={"vocab_size": n_vocab})
    if train.backend == "jax":
        from pretrain.jax import trainer

        precision = trainer.resolve_precision(train, peers.devices)
    else:
        precision = resolve_precision(train.precision, peers.device, model)
    steps = train.steps if train.tokens is None else math.ceil(train.tokens / config.tokens_per_step)
    train = train.model_copy(
        update={
            "steps": steps,
            "tokens": None,
            "precision": precision,
            "init_seed": train.seed if train.init_seed is None else train.init_seed,
            "order_seed": train.seed if train.order_seed is None else train.order_seed,
            "dropout_seed": train.seed if train.dropout_seed is None else train.dropout_seed,
            "eval_every": eval_every(config, steps) if train.eval_every is None else train.eval_every,
        }
    )
    return RunConfig(model=model, train=train)


def eval_every(config: RunConfig, steps: int) -> int:
    """A tenth of the run, or more where validation (a forward pass: a third of a step) would cost over a tenth."""
    least = math.ceil(config.train.eval_tokens / 3 / (0.1 * config.tokens_per_step))
    return min(steps, max(math.ceil(steps / 10), least))
