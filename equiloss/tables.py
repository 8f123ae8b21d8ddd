"""Tables on the terminal: one form for all programs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_FIGURE = re.compile(r"|–|[-+−±<$\[(]?\s*[-+−]?\$?\d.*|inf|nan")
"""What stands in a column of figures: nothing, a dash, or what begins like a number."""


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    title: str = "",
    caption: str = "",
    lines: bool = False,
) -> Table:
    """A table of texts, which are never markup. Columns of figures stand to the right; `lines` divide the rows."""
    from rich.table import Table
    from rich.text import Text

    cells = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    result = Table(title=Text(title) if title else None, caption=Text(caption) if caption else None, show_lines=lines)
    for index, name in enumerate(columns):
        figures = all(_FIGURE.fullmatch(row[index].plain) for row in cells) and any(row[index].plain for row in cells)
        result.add_column(Text(name), justify="right" if figures else "left", overflow="fold")
    for row in cells:
        result.add_row(*row)
    return result
