"""Freed memory is kept, where the C library can be told so."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from pretrain.training.allocator import keep_freed_memory
from pretrain.config import ModelConfig
from pretrain.model.decoder import GPT

print(keep_freed_memory())
model = GPT(ModelConfig(n_layer=2, n_head=2, n_embd=64, context=64, vocab_size=20_000))
ids = torch.zeros(16, 64, dtype=torch.long)
for step in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    model(ids, ids).backward()
    model.zero_grad()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults_of_a_step(**environment: str) -> tuple[str, float]:
    """Page faults of a usual step: of the median, since the heap may still grow by a block in one step or another."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    obeyed, *counts = run.stdout.split()
    return obeyed, statistics.median(map(int, counts))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_training_steps_fault_in_no_memory_again_unless_the_user_has_settings_of_their_own() -> None:
    obeyed, kept = faults_of_a_step()
    assert obeyed == "True"
    obeyed, given_back = faults_of_a_step(MALLOC_ARENA_MAX="2")
    assert obeyed == "False"
    assert kept < 300 < given_back
