"""Where cells run: as processes of this machine, or on a Ray cluster; `base` says what every executor can do."""

from typing import Literal

from study.executors.base import Executor


def executor_for(name: Literal["local", "ray"], address: str | None = None) -> Executor:
    """The executor of that name; `address` is the Ray cluster's, without one a local one is started."""
    if name == "ray":
        from study.executors.ray_cluster import RayExecutor

        return RayExecutor(address)
    from study.executors.local import LocalExecutor

    return LocalExecutor()
