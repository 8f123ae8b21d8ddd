"""Training steps in JAX: one compiled function a step, replicated weights, the batch shared by all devices."""

# Without JAX, type checkers take this package for it.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from equiloss.errors import InputError
from pretrain.config import RunConfig, TrainConfig
from pretrain.jax.decoder import Parameters, loss_sum
from pretrain.jax.devices import devices
from pretrain.jax.optimizer import Moments, Optimizer, TorchState, Weights
from pretrain.model.cross_entropy import IGNORE

DTYPES = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16"}
"""The format of matrix products by `train.precision`; weights and moments are fp32 in all."""
AXIS = "data"
EVERYWHERE, SHARED = PartitionSpec(), PartitionSpec(AXIS)
Batch = NDArray[np.int64]


def resolve_precision(train: TrainConfig, count: int) -> str:
    """The precision of a run on `count` devices; auto: bf16, but fp32 on CPUs, where XLA is no faster in bf16.

    Raises: InputError for what is done by torch alone: fp16 (a scaled loss) and sharded weights.
    """
    if train.precision == "fp16":
        raise InputError("train.precision=fp16 is not for train.backend=jax", "set it to bf16 or fp32")
    if train.parallel == "fsdp" and count > 1:
        raise InputError("train.parallel=fsdp is not for train.backend=jax", "set it to ddp")
    if train.precision != "auto":
        return train.precision
    return "fp32" if devices(train.device)[0].platform == "cpu" else "bf16"


class Trainer:
    """The weights of a run, the moments of its optimizer, and the steps on them.

    `config` has nothing left open; `weights` and `state` are what it begins with, by torch's names; `micro_batches` is
    their number per step and device; `dropout_seed` draws with the step, the device and the micro-batch.
    """

    def __init__(
        self,
        config: RunConfig,
        weights: Weights,
        state: TorchState,
        decayed: frozenset[str],
        micro_batches: int,
        dropout_seed: int,
    ) -> None:
        self.config, self.micro_batches, self.dropout_seed = config, micro_batches, dropout_seed
        self.mesh = Mesh(np.array(devices(config.train.device)), (AXIS,))
        self.dtype = DTYPES[config.train.precision]
        self.exactness = "tensorfloat32" if config.train.precision == "tf32" else "highest"  # of fp32 products
        self.optimizer = Optimizer(config.train, decayed)
        begun = weights, self.optimizer.start(weights, state)
        # Copies of their own on every device: they are donated to each step.
        self.parameters: Parameters
        self.moments: Moments
        self.parameters, self.moments = jax.device_put(begun, NamedSharding(self.mesh, EVERYWHERE), may_alias=False)
        self._stepped = jax.jit(self._step, donate_argnums=(0, 1))
        self._evaluated = jax.jit(self._loss)

    @property
    def platform(self) -> str:
        """What kind of device it trains on: cpu, gpu, tpu."""
        return self.mesh.local_devices[0].platform

    def step(self, step: int, ids: Batch, targets: Batch, lr: float) -> tuple[float, float]:
        """Make step number `step` on this process's sequences (b, T): the mean loss of all of them, the gradient norm.

        Where the norm is not finite, weights and moments stay as they were.
        """
        batch = self._share(ids), self._share(targets)
        self.parameters, self.moments, figures = self._stepped(
            self.parameters,
            self.moments,
            *batch,
            np.float32(lr),
            np.array([self.dropout_seed % 2**32, step], np.uint32),
        )
        loss, norm = np.asarray(figures).tolist()  # the step's one wait for the devices
        return loss, norm

    def evaluate(self, ids: Batch, targets: Batch) -> float:
        """The summed loss in nats of the sequences (b, T) of all processes, without dropout."""
        rows = self.config.train.batch_size
        filling = max(rows, len(ids)) - len(ids)
        filling += -(len(ids) + filling) % len(self.mesh.local_devices)
        ids = np.pad(ids, ((0, filling), (0, 0)))
        targets = np.pad(targets, ((0, filling), (0, 0)), constant_values=IGNORE)
        return float(self._evaluated(self.parameters, self._share(ids), self._share(targets)))

    def weights(self) -> Weights:
        """The weights as they stand, by torch's names."""
        return {name: np.array(value) for name, value in self.parameters.items()}

    def state(self) -> TorchState:
        """The optimizer's state as torch keeps it."""
        return self.optimizer.state(self.moments)

    def _share(self, rows: Batch) -> Array:
        return jax.make_array_from_process_local_data(NamedSharding(self.mesh, SHARED), rows.astype(np.int32))

    def _step(
        self, parameters: Parameters, moments: Moments, ids: Array, targets: Array, lr: Array, draw: Array
    ) -> tuple[Parameters, Moments, Array]:
        with jax.default_matmul_precision(self.exactness):
            loss, gradients = self._gradients(parameters, ids, targets, draw)
            norm = jnp.sqrt(sum(jnp.square(value).sum() for value in gradients.values()))
            if (limit := self.config.train.clip_norm) is not None:
                factor = jnp.where(norm > limit, limit / norm, 1.0)
                gradients = {name: value * factor for name, value in gradients.items()}
            stepped = self.optimizer.update(parameters, gradients, moments, lr)
        finite = jnp.isfinite(norm)
        kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), stepped, (parameters, moments))
        return *kept, jnp.stack([loss, norm])

    def _gradients(self, parameters: Parameters, ids: Array, targets: Array, draw: Array) -> tuple[Array, Parameters]:
        """The mean loss over all tokens of the step and its gradients, summed over micro-batches, then over devices."""
        config, parts = self.config, self.micro_batches

        def micro_batch(parameters: Parameters, sums: Any, batch: tuple[Array, Array, Array]) -> tuple[Any, None]:
            x, y, key = batch

            def mean(parameters: Parameters) -> Array:
                total = loss_sum(parameters, x, y, config.model, self.dtype, key if config.model.dropout else None)
                return total * (1 / config.tokens_per_step)

            return jax.tree.map(jnp.add, sums, jax.value_and_grad(mean)(parameters)), None

        def device(parameters: Parameters, ids: Array, targets: Array, draw: Array) -> tuple[Array, Parameters]:
            key = jax.random.fold_in(jax.random.key(draw[0]), draw[1])
            keys = jax.random.split(jax.random.fold_in(key, jax.lax.axis_index(AXIS)), parts)
            batches = *(rows.reshape(parts, -1, rows.shape[1]) for rows in (ids, targets)), keys
            zero = jnp.zeros(()), jax.tree.map(jnp.zeros_like, parameters)
            sums, _ = jax.lax.scan(partial(micro_batch, parameters), zero, batches)
            return jax.lax.psum(sums, AXIS)

        return self._on_devices(device, (EVERYWHERE, SHARED, SHARED, EVERYWHERE))(parameters, ids, targets, draw)

    def _loss(self, parameters: Parameters, ids: Array, targets: Array) -> Array:
        def device(parameters: Parameters, ids: Array, targets: Array) -> Array:
            return jax.lax.psum(loss_sum(parameters, ids, targets, self.config.model, self.dtype), AXIS)

        with jax.default_matmul_precision(self.exactness):
            return self._on_devices(device, (EVERYWHERE, SHARED, SHARED))(parameters, ids, targets)

    def _on_devices(self, function: Any, parts: Any) -> Any:
        """`function` on each device with its rows of what is SHARED; what it returns is the same on all."""
        return jax.shard_map(function, mesh=self.mesh, in_specs=parts, out_specs=EVERYWHERE, check_vma=False)
