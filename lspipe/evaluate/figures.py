"""Scores of a run -> pictures: shapes and sizes of right, wrong and missed landslides, confidence.

Source: ratios of area to perimeter and of length to width, Morales et al. 2022, section 2.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import MissingExtra
from lspipe.evaluate.objects import class_names

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas as gpd
    import pandas as pd

    from lspipe.evaluate.calibration import Calibration

LABELS = {"tp": "right", "fp": "wrong", "fn": "missed"}
"""Of the values of `match`, in the order of legends."""

# For readers with red-green colour blindness; markers differ too. Source: Okabe and Ito 2008.
COLOURS = {"tp": "#0072B2", "fp": "#D55E00", "fn": "#CC79A7"}
_MARKERS = {"tp": "o", "fp": "x", "fn": "^"}
_GREY = "#666666"


def check_installed() -> None:
    """Check that pictures can be drawn.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra("pictures need matplotlib: pip install 'lspipe[train]'") from error


def draw_shapes(table: gpd.GeoDataFrame, path: Path, *, title: str) -> None:
    """Draw the two ratios of each object, a point each.

    Args:
        table: `match`, `area_perimeter_ratio_m` and `length_width_ratio`, one row or more.
        path: of the PNG.
        title: of the picture.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure, axes = _figure((7, 5))
    for match, label in LABELS.items():
        rows = table[table["match"] == match]
        is_open = match == "fn"
        colour = (
            {"facecolors": "none", "edgecolors": COLOURS[match]}
            if is_open
            else {"color": COLOURS[match]}
        )
        axes.scatter(
            rows["area_perimeter_ratio_m"].to_numpy(float),
            rows["length_width_ratio"].to_numpy(float),
            marker=_MARKERS[match],
            label=f"{label} ({len(rows)})",
            alpha=0.8,
            linewidths=1.5,
            **colour,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        _plain_numbers(axis)
    axes.set_xlabel("area / perimeter, m")
    axes.set_ylabel("length / width")
    axes.grid(visible=True, which="major", color="#DDDDDD")
    axes.set_axisbelow(True)
    _finish(figure, axes, path, title)


def draw_sizes(table: gpd.GeoDataFrame, path: Path, *, title: str) -> None:
    """Draw how many objects of each size class are right, wrong and missed.

    Args:
        table: `match` and `size_class`.
        path: of the PNG.
        title: of the picture.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure, axes = _figure((7, 4.5))
    names = class_names()
    places, width = np.arange(len(names)), 0.8 / len(LABELS)
    for number, (match, label) in enumerate(LABELS.items()):
        sizes = table["size_class"][table["match"] == match]
        counts = [int((sizes == name).sum()) for name in names]
        bars = axes.bar(
            places + (number - 1) * width, counts, width, color=COLOURS[match], label=label
        )
        axes.bar_label(bars, [str(count) if count else "" for count in counts], fontsize="small")
    axes.set_xticks(places, names)
    axes.set_xlabel(
        "area, m2: of the list for right and wrong ones, of the inventory for missed ones"
    )
    axes.set_ylabel("landslides")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.margins(y=0.12)
    _finish(figure, axes, path, title)


def draw_reliability(calibration: Calibration, path: Path, *, title: str) -> None:
    """Draw which share of the landslides of each confidence is right, with 95 % intervals.

    Args:
        calibration: with one decision or more.
        path: of the PNG.
        title: of the picture.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure, axes = _figure((5.5, 5.5))
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle=":", label="as it says")
    bins = calibration.bins
    at = np.array([one.confidence for one in bins])
    share = np.array([one.right / one.count for one in bins])
    low, high = np.array([one.interval for one in bins]).T
    axes.errorbar(
        at, share, yerr=np.abs([share - low, high - share]), fmt="o-", capsize=3,
        color=COLOURS["tp"], label="confidence, in tenths; how many",
    )  # fmt: skip
    for one, x, y in zip(bins, at, share, strict=True):
        axes.annotate(
            f"{one.count}", (x, y), xytext=(6, -12), textcoords="offset points", fontsize="small"
        )
    if calibration.fit is not None:
        x = np.linspace(0.001, 0.999, 200)
        axes.plot(
            x, calibration.fit(x), color=COLOURS["fp"], linestyle="--",
            label=f"calibrated, on {calibration.fit.decisions} decisions",
        )  # fmt: skip
    axes.set_xlim(0, 1.06)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that is right")
    _finish(figure, axes, path, title)


def draw_frequency(table: pd.DataFrame, path: Path, *, title: str) -> None:
    """Draw how often landslides of a size are, on logarithmic axes.

    Args:
        table: of `units.frequency`, one row or more.
        path: of the PNG.
        title: of the picture.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    figure, axes = _figure((7, 5))
    middle = np.sqrt(table["from_m2"].to_numpy() * table["to_m2"].to_numpy())
    axes.loglog(
        middle, table["density_per_m2"].to_numpy(), color=COLOURS["tp"], marker="o",
        label="landslides of the list",
    )  # fmt: skip
    axes.set_xlabel("area, m²")
    axes.set_ylabel("probability density, 1/m²")
    _finish(figure, axes, path, title)


def _figure(size: tuple[float, float]) -> tuple[Any, Any]:
    check_installed()
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def _plain_numbers(axis: Any) -> None:
    """Write 30 and not 3 x 10^1."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
    axis.set_minor_locator(LogLocator(subs=()))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _finish(figure: Any, axes: Any, path: Path, title: str) -> None:
    axes.legend(frameon=False, fontsize="small")
    axes.set_title(title, fontsize="medium")
    figure.savefig(path, dpi=120)
