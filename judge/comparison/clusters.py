"""Which items go together, so that they do not count as independent."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equiloss.errors import InputError
from judge.data.verdicts import Judged

_REPEATED = re.compile(r"-\d+$")


def clusters_of(judged: Sequence[Judged], ids: Sequence[str], field: str | None) -> NDArray[np.intp]:
    """The cluster of every item, numbered from 0.

    Raises: InputError when no response has the field.
    """
    names: list[str] = []
    for key in ids:
        response = next((run.responses[key] for run in judged if key in run.responses), None)
        if field is None:
            names.append(_REPEATED.sub("", key))
        else:
            value = response.model_dump().get(field) if response else None
            names.append(f"{field}={value}" if value is not None else f"item={key}")
    if field is not None and not any(name.startswith(f"{field}=") for name in names):
        raise InputError(f"no response has the field {field!r}", "name a field of the result files, e.g. category")
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.intp)
