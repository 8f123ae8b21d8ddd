"""audit.html: one page that says how far a judge can be trusted, and for which difference."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from equiloss import files as runs
from equiloss import provenance
from equiloss.errors import InputError
from equiloss.numerals import number
from equiloss.records.provenance import Provenance
from equiloss.statistics.estimate import Interval
from judge.auditing import trust
from judge.auditing.documents import Audit
from judge.report import build, overview, plots


def write(report: Audit, files: Sequence[Path], directory: Path) -> tuple[Path, Path]:
    """Write audit.json and audit.html whole; returns their paths.

    Raises: InputError when `directory` is a file.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: is not a directory", "name a directory with -o")
    json_path, html_path = directory / "audit.json", directory / "audit.html"
    made_by = provenance.provenance()
    runs.write_json(json_path, {**report.model_dump(mode="json"), "provenance": made_by})
    runs.write_text(html_path, html(report, [str(one) for one in files], made_by))
    return json_path, html_path


def html(report: Audit, files: Sequence[str], made_by: Provenance) -> str:
    """The page: no network, no script, no markup from data."""
    css = resources.files("judge.report").joinpath("page.css").read_text("utf-8")
    effects = _effects(report)
    axis = plots.axis([end for effect in effects for end in effect.interval], include=[0.0])
    drawn = [plots.interval(axis, one.value, one.interval, -1, f"{one.name}: {one}", zero=True) for one in effects]
    return str(
        overview.fill(
            "audit_page",
            found=report,
            beyond=trust.trusted_beyond(report.pairs),
            judge=report.judge.partition("@")[0],
            effects=list(zip(effects, drawn, strict=True)),
            ruler=plots.ruler(axis),
            points=_points,
            files=files,
            made_by=made_by,
            css=Markup(css),
            css_hash=build.hash_of(css),
        )
    )


class _Effect(NamedTuple):
    """What a score follows besides the answer, in per cent of the scale."""

    name: str
    value: float
    interval: Interval
    p: float | None

    def __str__(self) -> str:
        return f"{number(self.value, 1)}, interval {number(self.interval[0], 1)} to {number(self.interval[1], 1)}"


def _effects(report: Audit) -> list[_Effect]:
    biases = {
        "First place against the last": report.position,
        "Per doubling of the answer's length": report.length,
        "Drift per 1,000 prompts": report.drift,
    }
    rows = [
        _Effect(name, 100 * bias.value, _points(bias.interval), bias.p)
        for name, bias in biases.items()
        if bias is not None
    ]
    repeats = report.repeatability
    if repeats is not None and repeats.noise is not None and repeats.noise_interval is not None:
        name = "Noise of one verdict (standard deviation)"
        rows.append(_Effect(name, 100 * repeats.noise, _points(repeats.noise_interval), None))
    return rows


def _points(span: Interval) -> Interval:
    return 100 * span[0], 100 * span[1]
