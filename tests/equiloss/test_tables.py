"""Tables on the terminal."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from equiloss.tables import table


def drawn(**options: object) -> str:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(table(**options))  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_figures_stand_to_the_right_and_words_to_the_left() -> None:
    rows = [["a", "1.0", "yes", "–"], ["longer", "−123.45", "no", "< 0.001"], ["b", "+2 [1, 3]", Text("ja"), ""]]
    made = table(["name", "mean", "word", "p"], rows, title="t [x]", caption="[c]")
    assert [column.justify for column in made.columns] == ["left", "right", "left", "right"]
    assert [column.justify for column in table(["name", "empty"], [["a", ""]]).columns] == ["left", "left"]
    assert len(table(["name"], []).rows) == 0


def test_nothing_is_markup() -> None:
    text = drawn(columns=["[red]"], rows=[["[bold]a"]], title="[t]", caption="[/c]", lines=True)
    assert all(word in text for word in ("[red]", "[bold]a", "[t]", "[/c]"))
