"""A finished run of the demo to the picture of README.md: before, and after with what was listed.

    make demo
    .venv/bin/lspipe export runs/demo
    .venv/bin/python docs/picture.py

Reads what QGIS would open: the exported GeoTIFFs, the list, and what was not observed. Needs
matplotlib (`pip install 'lspipe[train]'`).
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import rasterio
from rasterio.merge import merge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EPSG = 32718

CROP = (711500.0, 5191600.0, 717100.0, 5195600.0)
"""Part of the area that is shown: left, bottom, right, top, UTM metres. Both tiles are in it."""

COLOURS = {
    "new": "#ffae00", "persistent": "#ffffff", "vanished": "#35c8ff", "undetermined": "#ff5cc8",
}  # fmt: skip
"""Outlines by status."""

WORDS = {
    "new": "new", "persistent": "persistent: on both dates", "vanished": "vanished: before only",
    "undetermined": "undetermined: hidden on one",
}  # fmt: skip

UNSEEN, INK, PAPER = "#d8d8d8", "#1c1c1c", "#ffffff"
SIZE, DPI = (15.6, 6.4), 100
BRIGHTEN = 0.62
"""Exponent: forest is darker than a screen shows well."""


def draw(run: Path) -> Figure:
    """Draw the two dates side by side."""
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 14, "text.color": INK})
    figure, (left, right) = plt.subplots(1, 2, figsize=SIZE)
    figure.subplots_adjust(left=0.005, right=0.995, top=0.935, bottom=0.095, wspace=0.02)
    inventory = gpd.read_parquet(run / "inventory.parquet")
    for axes, date in ((left, "before"), (right, "after")):
        _show(axes, run, date)
        day = inventory[f"date_{date}"].max()
        axes.set_title(f"{date.capitalize()}: {day.day} {day:%B %Y}", loc="left", weight="bold")
    _north_and_scale(left)
    _hatch(right, gpd.read_parquet(run / "unobserved.parquet").to_crs(EPSG))
    shown = inventory.to_crs(EPSG).cx[CROP[0] : CROP[2], CROP[1] : CROP[3]]
    present = [status for status in COLOURS if (shown["status"] == status).any()]
    for status in present:
        _outline(right, shown[shown["status"] == status], COLOURS[status])
    # GeoPandas names the axes.
    right.set(xlabel="", ylabel="")
    _legend(figure, present)
    return figure


def _show(axes: Axes, run: Path, date: str) -> None:
    """Show the true colour of a date, its tiles side by side."""
    paths = sorted((run / "layers").glob(f"[0-9]????_{date}.tif"))  # of tiles such as 18GYS
    files = [rasterio.open(path) for path in paths]
    pixels, _ = merge(files, bounds=CROP)
    for file in files:
        file.close()
    colours = np.where(pixels == 0, 1.0, (pixels / 255) ** BRIGHTEN)
    extent = (CROP[0], CROP[2], CROP[1], CROP[3])
    axes.imshow(np.moveaxis(colours, 0, -1), extent=extent, interpolation="nearest")
    axes.set(xticks=[], yticks=[], xlim=(CROP[0], CROP[2]), ylim=(CROP[1], CROP[3]))


def _outline(axes: Axes, objects: gpd.GeoDataFrame, colour: str) -> None:
    objects.boundary.plot(ax=axes, color=INK, linewidth=3.6)
    objects.boundary.plot(ax=axes, color=colour, linewidth=2.0)
    axes.set(xlim=(CROP[0], CROP[2]), ylim=(CROP[1], CROP[3]))


def _hatch(axes: Axes, unobserved: gpd.GeoDataFrame) -> None:
    """Hatch what was not observed on one of the dates."""
    hidden = gpd.GeoSeries([unobserved.union_all()], crs=EPSG)
    hidden.plot(ax=axes, facecolor="none", edgecolor=UNSEEN, hatch="//", linewidth=0.8)


def _legend(figure: Figure, present: list[str]) -> None:
    from matplotlib.patches import Patch

    entries: list[Any] = [
        Patch(facecolor=COLOURS[status], edgecolor=INK, label=WORDS[status]) for status in present
    ]
    hidden = "not observed on one date"
    entries.append(Patch(facecolor="#46603f", edgecolor=UNSEEN, hatch="//", label=hidden))
    figure.legend(
        handles=entries, loc="lower center", ncols=len(entries), frameon=False, columnspacing=1.2
    )


def _north_and_scale(axes: Axes) -> None:
    left, bottom = CROP[0] + 180, CROP[1] + 190
    axes.plot((left, left + 1000), (bottom, bottom), color=PAPER, lw=5)
    axes.text(left + 500, bottom + 60, "1 km", color=PAPER, ha="center", va="bottom")
    axes.annotate(
        "N",
        xy=(left + 60, CROP[3] - 120),
        xytext=(left + 60, CROP[3] - 560),
        color=PAPER,
        weight="bold",
        ha="center",
        arrowprops={"arrowstyle": "-|>,head_width=0.4,head_length=0.7", "color": PAPER, "lw": 2.5},
    )


def save(figure: Figure, path: Path) -> int:
    """Write a PNG of 160 colours, a quarter of the size of one of 16 million; return its bytes."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor=PAPER)
    picture = Image.open(buffer).convert("RGB")
    # Outlines exactly as in the legend, the rest as the picture needs it.
    exact = (*COLOURS.values(), UNSEEN, INK, PAPER)
    flat = [round(255 * part) for name in exact for part in to_rgb(name)]
    rest = picture.quantize(160 - len(exact), method=Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette((flat + rest)[: 3 * 256])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
    return path.stat().st_size


def main() -> None:
    """Draw a run into the docs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/demo.png"))
    asked = parser.parse_args()
    import matplotlib as mpl

    mpl.use("Agg")
    print(asked.out, save(draw(asked.run), asked.out), "bytes")


if __name__ == "__main__":
    main()
