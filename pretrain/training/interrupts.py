"""What can come in between while a run trains: Ctrl-C, a full disk, a peer that went away."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from equiloss.errors import IncompleteError
from equiloss.files import disk_is_full
from pretrain.training.distributed import World
from pretrain.training.run_directory import last_state


class StopRequest:
    """Whether someone asked the run to stop."""

    asked = False

    @contextmanager
    def on_signals(self) -> Generator[None]:
        """Ctrl-C and SIGTERM ask to stop after the step at hand; a second one ends the run at once."""

        def handle(*_: Any) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True

        try:
            old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: whoever runs us there has the signals
            yield
            return
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


@contextmanager
def resumable_errors(directory: Path, world: World) -> Generator[None]:
    """Turn a full disk and a lost peer into one line that names the last state. Both are resumable: exit code 3."""
    try:
        yield
    except (OSError, RuntimeError, IncompleteError) as error:
        state = last_state(directory)
        last = f"the last state is {state.name}" if state else "no state was written yet"
        if isinstance(error, IncompleteError) or disk_is_full(error, directory):
            raise IncompleteError(
                f"no space left for {directory}; {last}", "make room and run the same command with --resume"
            ) from None
        if world.size > 1 and ("gloo" in str(error).lower() or "nccl" in str(error).lower()):
            raise IncompleteError(
                f"process {world.rank} of {world.size} lost another one; {last}",
                "see why it ended; torchrun --max-restarts goes on by itself, the same command with --resume by hand",
            ) from error
        raise
