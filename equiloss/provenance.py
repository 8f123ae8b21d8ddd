"""What made a file: versions, commit, platform, time."""

from __future__ import annotations

import platform
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

from equiloss.files import made_for
from equiloss.records.provenance import Provenance

LIBRARIES = (
    *("torch", "jax", "optax", "numpy", "scipy", "tiktoken", "tokenizers"),
    *("openai", "pydantic", "jinja2", "safetensors"),
)


def provenance() -> Provenance:
    """What makes the files of this process: versions of package and libraries, commit, platform, time."""
    mark = made_for.get()
    return Provenance(
        equiloss=package_version(),
        git_commit=git_commit(),
        python=platform.python_version(),
        platform=f"{sys.platform}-{platform.machine()}",
        libraries=library_versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        **({"made_for": mark} if mark else {}),
    )


@cache
def package_version() -> str:
    """The installed version of equiloss, or "unknown" when it runs from a bare checkout."""
    try:
        return metadata.version("equiloss")
    except metadata.PackageNotFoundError:
        return "unknown"


@cache
def git_commit() -> str | None:
    """The commit of the checkout that runs, with "+" when it has changes; None outside a checkout."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return None
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that can change a result, where installed. Reads metadata, imports nothing."""
    versions: dict[str, str] = {}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
