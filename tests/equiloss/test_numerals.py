"""Numbers as people read them, and that no other module writes them otherwise."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equiloss import numerals
from equiloss.statistics.estimate import Estimate

ROOT = Path(__file__).resolve().parents[2]
values = st.floats(-1e9, 1e9)


def read(text: str) -> float:
    """The number that a text shows."""
    return float(text.replace("−", "-").replace(",", ""))


@given(values, st.integers(0, 6))
def test_a_number_is_rounded_and_never_minus_zero(value: float, digits: int) -> None:
    text = numerals.number(value, digits)
    assert abs(read(text) - value) <= 0.5 * 10**-digits * (1 + 1e-9) + abs(value) * 1e-12
    assert "-" not in text
    assert text.startswith("−") == (read(text) < 0)
    signed = numerals.number(value, digits, sign=True)
    assert signed.lstrip("+") == text
    assert signed.startswith("+") == (read(text) > 0)


@given(values.filter(bool), st.integers(2, 5))
def test_significant_digits_say_the_number_and_never_zero(value: float, digits: int) -> None:
    text = numerals.significant(value, digits)
    slack = max(abs(value) * 10.0 ** (1 - digits), 10.0 ** -(digits + 1))
    assert abs(read(text) - value) <= 0.5 * slack * (1 + 1e-9)
    assert read(text) != 0
    assert "-" not in text


def test_the_forms() -> None:
    assert [numerals.significant(x) for x in (0, 123.456, 1234.5, 12.34, 1.234, 0.1234, -5.5, 0.0249, None)] == [
        "0", "123", "1,234", "12.3", "1.23", "0.123", "−5.50", "0.0249", "–"
    ]  # fmt: skip
    assert [numerals.number(x) for x in (None, -0.001, math.inf, -math.inf)] == ["–", "0.00", "inf", "−inf"]
    assert numerals.significant(math.inf) == "inf"
    assert numerals.significant(0.00001234) == "1.23e−05"
    assert numerals.plain(-0.05) == "−0.05"
    assert (numerals.interval(None), numerals.interval((-1, 2), 1, sign=True)) == ("–", "[−1.0, +2.0]")
    assert (numerals.span(None), numerals.span((-1, 2), 1)) == ("–", "−1.0 to 2.0")
    assert [numerals.p_value(p) for p in (None, 0.3, 0.0123, 0.0004)] == ["–", "0.300", "0.012", "< 0.001"]
    assert [numerals.p_equals(p) for p in (0.3, 0.0004)] == ["= 0.300", "< 0.001"]
    assert (numerals.percent(0.126), numerals.percent(None), numerals.percent(-0.126, 1)) == ("13 %", "–", "−12.6 %")
    assert [numerals.binary_size(x) for x in (12.5 * 2**20, 1.2 * 2**30)] == ["12.5 MiB", "1.20 GiB"]
    assert (numerals.usd(None), numerals.usd(0.0125)) == ("price unknown", "$0.0125")
    assert numerals.learning_rate(3e-4) == "3.00e-04"
    assert [numerals.digits_for(0, x) for x in (100, 10, 1)] == [1, 2, 3]


def test_estimates() -> None:
    assert numerals.estimated(Estimate(value=4.1)) == "4.10"
    gap = Estimate(value=-4.1, low=-6.2, high=2, confidence=0.9)
    assert numerals.estimated(gap) == "−4.10 (90 % interval −6.20 to 2.00)"
    assert numerals.estimated_share(Estimate(value=0.5, low=0.25, high=0.75)) == "50 % (95 % interval 25 % to 75 %)"
    assert numerals.estimated_share(Estimate(value=0.5)) == "50 %"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (42.4, "42 s"), (59.7, "1:00"), (187, "3:07"), (3725, "1:02:05")],
)
def test_durations(seconds: float, text: str) -> None:
    assert numerals.duration(seconds) == text
    assert numerals.duration(None) == "–"
    assert numerals.duration(86400 * 3 + 4 * 3600 + 300) == "3 d 04:05"


OTHERWISE = {
    "equiloss/numerals.py": "the place itself",
    "ift/training/lr_sweep.py": "rounds the rates that it tries",
    "judge/report/plots.py": "coordinates",
    "judge/simulate/server.py": "an HTTP header",
}


def test_no_other_module_gives_a_number_its_form() -> None:
    """Grouped integers (`:,`) and numbers echoed as they were given (`:g`) are plain Python; all else is numerals."""
    formed: list[str] = []
    for package in ("equiloss", "pretrain", "ift", "judge", "study"):
        for path in (ROOT / package).rglob("*.py"):
            if str(path.relative_to(ROOT)) in OTHERWISE:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
                    spec = ast.unparse(node.format_spec)[2:-1]
                    if re.search(r"\.\{?\w+\}?[fFeEgG]|%$|[fFeE]$", spec):
                        formed.append(f"{path.relative_to(ROOT)}:{node.lineno} {spec}")
    assert formed == []
