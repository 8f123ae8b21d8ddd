"""One device or many: where this process stands among its peers, what they agree on, and how they share a model."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from equiloss.errors import EquilossError
from pretrain.model.device import pick_device
from pretrain.training.rendezvous import agent_store

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process (`rank` of `size`) and its device. One process is a world of size 1 without any group.

    `local`: on how many devices this process trains; more than one only where JAX does.
    """

    rank: int
    size: int
    device: torch.device
    local: int = 1

    @property
    def devices(self) -> int:
        """On how many devices all processes train."""
        return self.size * self.local

    @property
    def main(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def on_main(self, action: Callable[[], T]) -> T:
        """What `action` returns on the main process, on every process; an expected error ends them all.

        Only the main one prints the error; the others leave with its exit code.
        """
        if self.size == 1:
            return action()
        box: list[Any] = [None, None]
        error: EquilossError | None = None
        if self.main:
            try:
                box = [action(), None]
            except EquilossError as caught:
                error, box = caught, [None, caught.exit_code]
        dist.broadcast_object_list(box, src=0)
        if error is not None:
            raise error
        if box[1] is not None:
            sys.exit(box[1])
        return box[0]

    def sum(self, values: list[float]) -> list[float]:
        """Element-wise sums over all processes."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def any(self, flags: list[bool]) -> list[bool]:
        """Element-wise: whether it is so in any process."""
        return [value > 0 for value in self._reduce([float(flag) for flag in flags], dist.ReduceOp.MAX)]

    def _reduce(self, values: list[float], how: Any) -> list[float]:
        if self.size == 1 or not values:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, how)
        return tensor.tolist()

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()

    def collect(self, value: T) -> list[T]:
        """What every process has, in the order of their ranks, on every process. All must call it."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def gather(self, tensor: Tensor) -> Tensor | None:
        """A (possibly sharded) tensor whole, on the CPU of the main process; None elsewhere. All must call it."""
        full_tensor = getattr(tensor, "full_tensor", None)
        whole = full_tensor() if full_tensor is not None else tensor
        return whole.detach().cpu().clone() if self.main else None

    def place(self, whole: Tensor | None, like: Tensor) -> Tensor:
        """The main process's `whole` tensor as `like` has it: on its device, its shard of it. All must call it."""
        if self.size == 1:
            assert whole is not None
            return whole.to(like.device)
        buffer = torch.empty(like.shape, dtype=like.dtype, device=self.device)
        if whole is not None:
            buffer.copy_(whole)
        dist.broadcast(buffer, src=0)
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor):
            return buffer
        return distribute_tensor(buffer, like.device_mesh, like.placements)


@contextmanager
def world(device: str = "auto", backend: Literal["torch", "jax"] = "torch") -> Generator[World]:
    """Join the processes that torchrun started, or stand alone; leave them at the end.

    Where JAX trains, torch's part of the run stays on the CPU. Raises: InputError for a device that is not there.
    """
    if backend == "jax":
        from pretrain.jax.devices import join

        with world("cpu") as peers:
            address = partial(peers.on_main, _free_address)
            yield replace(peers, local=join(device, peers.rank, peers.size, torch.get_num_threads(), address))
        return
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    chosen = pick_device(device)
    if size == 1:
        yield World(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    transport, timeout = "nccl" if chosen.type == "cuda" else "gloo", timedelta(minutes=30)
    if (store := agent_store(timeout, rank, size)) is None:
        dist.init_process_group(transport, timeout=timeout)
    else:
        dist.init_process_group(transport, store=store, rank=rank, world_size=size, timeout=timeout)
    try:
        yield World(rank, size, chosen)
    finally:
        dist.destroy_process_group()


def _free_address() -> str:
    """Where this machine can be reached by the other processes of torchrun, at a port that is free."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return f"{os.environ['MASTER_ADDR']}:{listener.getsockname()[1]}"


def restarted_run_id() -> tuple[bool, str | None]:
    """Whether torchrun started this process again after a failure, and the id of the whole launch (None: none)."""
    run_id = os.environ.get("TORCHELASTIC_RUN_ID")
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    return restarts > 0, None if run_id in (None, "none") else run_id


def share(model: nn.Module, world: World, parallel: Literal["ddp", "fsdp"]) -> nn.Module:
    """The model as all processes train it together: replicated (DDP) or sharded by layer (FSDP2, in place)."""
    if world.size == 1:
        return model
    if parallel == "ddp":
        from torch.nn.parallel import DistributedDataParallel

        ids = [world.device.index] if world.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    for block in model.get_submodule("blocks").children():
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


@contextmanager
def synchronising(model: nn.Module, last: bool) -> Generator[None]:
    """Exchange gradients in this backward pass only if it is the `last` of a step."""
    from torch.nn.parallel import DistributedDataParallel

    if isinstance(model, DistributedDataParallel):
        if last:
            yield
        else:
            with model.no_sync():
                yield
        return
    setter = getattr(model, "set_requires_gradient_sync", None)
    if setter is not None:
        setter(last)
    yield
