"""Named random streams: one seed in the config, and a stream of its own for everything that draws."""

from __future__ import annotations

import hashlib


def stream(seed: int, *names: str | int) -> int:
    """The seed (63 bits) of the stream called `names`: independent of every other name's, the same everywhere."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
