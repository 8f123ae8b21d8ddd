"""audit.html: one page that says how far a judge can be trusted, and for which difference."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

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


def write(found: Audit, files: Sequence[Path], directory: Path) -> tuple[Path, Path]:
    """Write audit.json and audit.html whole; returns their paths.

    Raises: InputError when `directory` is a file.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: is not a directory", "name a directory with -o")
    json_path, html_path = directory / "audit.json", directory / "audit.html"
    made_by = provenance.provenance()
    runs.write_json(json_path, {**found.model_dump(mode="json"), "provenance": made_by})
    runs.write_text(html_path, html(found, [str(one) for one in files], made_by))
    return json_path, html_path


def html(found: Audit, files: Sequence[str], made_by: Provenance) -> str:
    """The page: no network, no script, no markup from data."""
    css = resources.files("judge.report").joinpath("page.css").read_text("utf-8")
    effects = _effects(found)
    axis = plots.axis([end for one in effects for end in one["interval"]], include=[0.0])
    for one in effects:
        words = f"{one['name']}: {number(one['value'], 1)}, interval {number(one['interval'][0], 1)} to "
        words += number(one["interval"][1], 1)
        one["plot"] = plots.interval(axis, one["value"], one["interval"], -1, words, zero=True)
    return str(
        overview.fill(
            "audit_page",
            found=found,
            beyond=trust.trusted_beyond(found.pairs),
            judge=found.judge.partition("@")[0],
            effects=effects,
            ruler=plots.ruler(axis),
            parts=[_parts(one) for one in found.pairs],
            files=files,
            made_by=made_by,
            css=Markup(css),
            css_hash=build.hash_of(css),
        )
    )


def _effects(found: Audit) -> list[dict[str, Any]]:
    """What a score follows besides the answer, in per cent of the scale."""
    rows: list[dict[str, Any]] = []
    for name, bias in (
        ("First place against the last", found.position),
        ("Per doubling of the answer's length", found.length),
        ("Drift per 1,000 prompts", found.drift),
    ):
        if bias is not None:
            rows.append({"name": name, "value": 100 * bias.value, "interval": _points(bias.interval), "p": bias.p})
    again = found.repeatability
    if again is not None and again.noise is not None and again.noise_interval is not None:
        name = "Noise of one verdict (standard deviation)"
        rows.append({"name": name, "value": 100 * again.noise, "interval": _points(again.noise_interval), "p": None})
    return rows


def _parts(pair: trust.PairTrust) -> dict[str, Any]:
    """A pair's gap, and what the judge can make of it at most, in per cent of the scale."""
    limits = {"place": pair.by_place, "length": pair.by_length, "noise": pair.by_noise}
    return {
        "a": pair.a,
        "b": pair.b,
        "gap": 100 * pair.gap,
        "limits": {name: 100 * max(map(abs, span)) if span else None for name, span in limits.items()},
        "unknown": pair.unknown,
        "beyond": None if pair.trusted_beyond is None else 100 * pair.trusted_beyond,
        "adjusted": None if pair.adjusted is None else 100 * pair.adjusted,
        "adjusted_interval": _points(pair.adjusted_interval) if pair.adjusted_interval else None,
    }


def _points(span: Interval) -> Interval:
    return 100 * span[0], 100 * span[1]
