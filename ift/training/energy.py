"""Energy that the processor took, where the system counts it (Linux, Intel and AMD RAPL counters)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

ZONES = Path("/sys/class/powercap")


class Meter:
    """Counts from its making: of all packages together, other programs included."""

    def __init__(self, zones: Path = ZONES) -> None:
        # intel-rapl:0 is a package; intel-rapl:0:1 is a part of it and would count twice.
        self.zones = sorted(zone for zone in zones.glob("intel-rapl:*") if zone.name.count(":") == 1)
        self.start = [_read(zone / "energy_uj") for zone in self.zones]

    def joules(self) -> float | None:
        """Joules since the start; None where nothing can be read. A counter that wrapped once is mended."""
        total = 0
        for zone, start in zip(self.zones, self.start, strict=True):
            now, most = _read(zone / "energy_uj"), _read(zone / "max_energy_range_uj")
            if start is None or now is None:
                return None
            total += now - start if now >= start else now - start + (most or 0)
        return total / 1e6 if self.zones else None


def _read(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None
