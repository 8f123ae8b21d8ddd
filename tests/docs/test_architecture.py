"""The picture of the architecture: its layout's parts against cases that can be seen at a glance."""

from __future__ import annotations

import importlib.util
import re
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "architecture.py")
assert spec is not None
assert spec.loader is not None
architecture = importlib.util.module_from_spec(spec)
sys.modules["architecture"] = architecture
spec.loader.exec_module(architecture)


def test_an_arrow_that_follows_from_others_is_left_out():
    assert architecture.reduced([("a", "b"), ("b", "c"), ("a", "c")]) == [("a", "b"), ("b", "c")]


def test_what_imports_nothing_stands_below_and_nothing_overlaps():
    edges = [("p.a", "p.b"), ("p.b", "p.c"), ("p.a", "p.d"), ("p.e", "p.d")]
    placed = architecture.layout(["p.a", "p.b", "p.c", "p.d", "p.e"], edges, 400)
    assert [{node for node in layer if ">" not in node} for layer in placed.layers] == [
        {"p.c", "p.d"},
        {"p.b", "p.e"},
        {"p.a"},
    ]
    assert placed.chains["p.a", "p.d"] == ["p.a", "p.a>p.d@1", "p.d"]
    for layer in placed.layers:
        for left, right in pairwise(layer):
            apart = placed.x[right] - placed.x[left]
            assert apart >= (architecture.width(left) + architecture.width(right)) / 2


def test_crossings_are_counted_and_taken_out():
    links = {("a", "y"), ("b", "x")}
    assert architecture.crossings([["x", "y"], ["a", "b"]], links) == 1
    assert architecture.crossings(architecture.ordered([["x", "y"], ["a", "b"]], links), links) == 0


def test_boxes_keep_their_order_and_their_distance():
    assert architecture.spread([50, 50], [20, 20], 100) == pytest.approx([31, 69])
    with pytest.raises(ValueError, match="wider"):
        architecture.spread([10, 10], [80, 80], 100)


def test_the_picture_names_every_room():
    drawn = ElementTree.fromstring(architecture.picture())
    words = {"".join(text.itertext()) for text in drawn.iter("{http://www.w3.org/2000/svg}text")}
    rooms = {path.parent.name for name in architecture.PACKAGES for path in (ROOT / name).glob("*/__init__.py")}
    assert rooms | set(architecture.PACKAGES) <= words


def test_the_page_has_a_paragraph_for_every_room_and_names_only_what_exists():
    page = (ROOT / "docs" / "architecture.md").read_text()
    for name in architecture.PACKAGES:
        for path in (ROOT / name).glob("*/__init__.py"):
            assert f"**`{name}/{path.parent.name}/`**:" in page
    named = re.findall(rf"`((?:{'|'.join(architecture.PACKAGES)}|prompts|docs)/[\w/.]*)`", page)
    assert len(named) > 30
    assert [path for path in named if not (ROOT / path).exists()] == []
