"""Axes and marks of the plots."""

import re
from xml.etree import ElementTree

from hypothesis import example, given, settings
from hypothesis import strategies as st

from judge.report import plots


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=6))
@example([0.0, 1e-9])
@settings(max_examples=200, deadline=None)
def test_an_axis_covers_its_values_with_few_round_ticks(values):
    axis = plots.axis(values)
    hair = 1e-8 * (axis.high - axis.low)
    assert axis.low - hair <= min(values)
    assert max(values) <= axis.high + hair
    assert 2 <= len(axis.ticks) <= 8
    steps = {b - a for a, b in zip(axis.ticks, axis.ticks[1:], strict=False)}
    assert max(steps) - min(steps) < 1e-6 * max(steps)
    assert axis.at(axis.low) == 0.0
    assert axis.at(axis.high) == 100.0


def test_ticks_print_as_different_numbers():
    for values in ([0.0, 1.0], [0.0, 0.02], [40.0, 90.0], [-17.5, 12.0], [2.5, 5.0], [1e-7, 3e-7]):
        axis = plots.axis(values)
        texts = [f"{tick:.{axis.digits}f}" for tick in axis.ticks]
        assert len(set(texts)) == len(texts), values


def test_an_interval_is_drawn_where_it_is_and_says_so():
    axis = plots.axis([0.0, 100.0])
    svg = str(plots.interval(axis, 50.0, (25.0, 75.0), 1, 'a "b" <c>'))
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == 'a "b" <c>'
    strokes = [line for line in root.iter("line") if line.attrib["class"].startswith("stroke")]
    assert (strokes[0].attrib["x1"], strokes[0].attrib["x2"]) == ("25%", "75%")
    assert 'class="fill m1"' in svg


def test_a_histogram_has_a_bar_for_each_score_that_was_given():
    svg = str(plots.histogram([0.0, 0.0, 100.0, 50.0], 0.0, 100.0, 0, "x"))
    heights = re.findall(r'height="([\d.]+)%"', svg)
    assert heights == ["100", "50", "50"]


def test_shares_fill_the_bar():
    svg = str(plots.shares([(33, "fill win"), (0, "fill tie"), (11, "fill loss")], "x"))
    assert re.findall(r' x="([\d.]+)%" y="0%" width="([\d.]+)%"', svg) == [("0", "75"), ("75", "25")]
