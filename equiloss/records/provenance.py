"""What made a file, as every record holds it (see `equiloss.provenance`)."""

from __future__ import annotations

from pydantic import Field

from equiloss.records.file_record import SparseRecord


class Provenance(SparseRecord):
    """Versions, platform and time. `git_commit` ends in "+" where the checkout had changes; `created` is UTC.

    `made_for`: the command that writes it, with a hash of its options; it alone may replace the file unasked.
    """

    equiloss: str = "unknown"
    git_commit: str | None = None
    python: str = ""
    platform: str = ""
    libraries: dict[str, str] = Field(default_factory=dict)
    created: str = ""
    made_for: str = ""
