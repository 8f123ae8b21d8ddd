"""Where JAX is absent, `train.backend = "jax"` says how to get it, and nothing is written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("library", ["jax", "optax"])
def test_the_error_is_one_line_with_the_command(
    library: str, program: Callable[..., Any], shards_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library == "optax":
        pytest.importorskip("jax")
    for name in [name for name in sys.modules if name.startswith(("pretrain.jax", "pretrain.training.jax_step"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    call = ("pretrain", "run", "tiny", "--data", shards_directory, "-o", tmp_path, "--set", "train.backend=jax")
    done = program(*call)
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        f"error: this needs {library}, which is not installed. in a checkout of equiloss: pip install '.[jax]'"
    )
    assert list(tmp_path.iterdir()) == []
