"""Numbers of the list -> bars of the report's charts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import geopandas as gpd

WIDTH, HEIGHT = 320, 120
"""Of a chart without its labels, in units of its drawing."""

_AREAS_HA = (0, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, np.inf)
"""Ends of the bars of area: each about twice the one before."""

_CONFIDENCES = np.linspace(0, 1, 11)


@dataclass(frozen=True)
class Bar:
    """One bar, in units of the drawing."""

    x: float
    y: float
    width: float
    height: float
    count: int
    label: str
    """The range of values: "0.5 to 1"."""
    tick: str
    """Its lower end."""


@dataclass(frozen=True)
class Chart:
    """A histogram."""

    title: str
    unit: str
    bars: tuple[Bar, ...]


def charts(listed: gpd.GeoDataFrame) -> list[Chart]:
    """Return the charts of the new landslides; of all objects where none is new."""
    wanted = listed[listed["status"].isin(["new", "grown", "detected"])]
    name = "new landslide" if (listed["status"] == "new").any() else "landslide"
    if not len(wanted):
        wanted, name = listed, "object"
    if not len(wanted):
        return []
    many = f"{len(wanted):,} {name}{'' if len(wanted) == 1 else 's'}"
    areas = wanted["area_m2"].to_numpy(float) / 10_000
    sure = wanted["confidence"].to_numpy(float)
    return [
        histogram(f"Area of {many}", "ha", areas, _AREAS_HA),
        histogram(f"Confidence of {many}", "0 to 1", sure, _CONFIDENCES),
    ]


def histogram(title: str, unit: str, values: Any, edges: Any) -> Chart:
    """Count values between edges; the last bar holds its upper end too.

    >>> [bar.count for bar in histogram("t", "m", [0, 1, 1.5, 2], (0, 1, 2)).bars]
    [1, 3]
    """
    counts, _ = np.histogram(np.asarray(values, float), edges)
    step, most = WIDTH / len(counts), max(1, int(counts.max()))
    bars = []
    for place, count in enumerate(counts):
        low, high = float(edges[place]), float(edges[place + 1])
        label = f"{low:g} to {high:g}" if np.isfinite(high) else f"more than {low:g}"
        height = round(HEIGHT * int(count) / most, 1)
        bars.append(
            Bar(
                round(place * step + 2, 1), round(HEIGHT - height, 1), round(step - 4, 1), height,
                int(count), label, f"{low:g}",
            )
        )  # fmt: skip
    return Chart(title, unit, tuple(bars))
