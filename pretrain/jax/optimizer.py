"""AdamW, or Muon for the matrices inside the blocks, with the arithmetic and the state of torch's optimizers."""

# Without JAX, type checkers take this package for it.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from numpy.typing import NDArray

from pretrain.config import TrainConfig
from pretrain.jax.decoder import Parameters

# Newton-Schulz as torch.optim.Muon has it (Jordan et al. 2024, kellerjordan.github.io/posts/muon).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
NEWTON_SCHULZ_EPS = 1e-7

Weights = dict[str, NDArray[np.float32]]
TorchState = dict[str, dict[str, NDArray[np.float32]]]
"""What `pretrain.training.optimizers.Optimizers.state` gives, in numpy: moments by the name of the parameter."""


class Moments(NamedTuple):
    """The optimizers' state: Adam's moments with the count of its updates, and Muon's momentum, by parameter."""

    adam: Any
    momentum: Parameters


class Optimizer:
    """The update of one step. `decayed`: the parameters that weight decay pulls at."""

    def __init__(self, config: TrainConfig, decayed: frozenset[str]) -> None:
        self.config, self.decayed = config, decayed
        self.adam = optax.scale_by_adam(config.beta1, config.beta2, config.eps)

    def start(self, weights: Weights, state: TorchState) -> Moments:
        """The moments before a run's first step, or those of a `state`, with as many updates behind them; in numpy."""

        def moment(key: str, muon: bool) -> Weights:
            names = [name for name, value in weights.items() if self._by_muon(name, value.ndim) == muon]
            return {name: state[name][key] if state else np.zeros_like(weights[name]) for name in names}

        count = max((int(of["step"]) for of in state.values() if "step" in of), default=0)
        adam = optax.ScaleByAdamState(np.int32(count), moment("exp_avg", False), moment("exp_avg_sq", False))
        return Moments(adam, moment("momentum_buffer", True))

    def state(self, moments: Moments) -> TorchState:
        """The moments as torch's optimizers keep them; {} before the first update, as theirs."""
        count = np.asarray(moments.adam.count, np.float32)
        if not count:
            return {}
        mu, nu = moments.adam.mu, moments.adam.nu
        adam = {name: {"step": count, "exp_avg": np.array(mu[name]), "exp_avg_sq": np.array(nu[name])} for name in mu}
        return adam | {name: {"momentum_buffer": np.array(value)} for name, value in moments.momentum.items()}

    def update(
        self, parameters: Parameters, gradients: Parameters, moments: Moments, lr: Array
    ) -> tuple[Parameters, Moments]:
        """The parameters and moments after a step along the gradients at this learning rate."""
        directions, adam = self.adam.update({name: gradients[name] for name in moments.adam.mu}, moments.adam)
        share = self.config.momentum
        momentum = {name: share * old + (1 - share) * gradients[name] for name, old in moments.momentum.items()}
        for name, value in momentum.items():
            nesterov = share * value + (1 - share) * gradients[name]
            directions[name] = orthogonalised(nesterov) * (0.2 * max(value.shape) ** 0.5)  # of AdamW's size
        decay = {name: self.config.weight_decay if name in self.decayed else 0.0 for name in parameters}
        stepped = {name: value * (1 - lr * decay[name]) - lr * directions[name] for name, value in parameters.items()}
        return stepped, Moments(adam, momentum)

    def _by_muon(self, name: str, dimensions: int) -> bool:
        return self.config.optimizer == "muon" and dimensions == 2 and name.startswith("blocks.")


def orthogonalised(matrix: Array) -> Array:
    """The nearest matrix whose singular values are about 1, in bf16 as torch computes it."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.astype(jnp.bfloat16)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / jnp.maximum(jnp.linalg.norm(x.astype(jnp.float32)), NEWTON_SCHULZ_EPS).astype(jnp.bfloat16)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return (x.T if tall else x).astype(jnp.float32)
