"""A finished demo run to the picture of README.md: before, after, the probability, the whole area.

    make demo
    pip install matplotlib
    python benchmarks/demo_picture.py

Reads the run directory as any other program would: `evidence.zarr` and `detections.zarr` with
xarray, the list with geopandas; and `truth.geojson` of the simulated archive. Needs matplotlib,
which lspipe itself does not.
"""

from __future__ import annotations

import argparse
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import xarray as xr

from lspipe.evaluate.truth import ListScore, score_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

CROP = (711500.0, 5191600.0, 717100.0, 5195600.0)
"""Part of the area that is shown large: left, bottom, right, top, UTM metres. Both tiles are in it,
seven of the new landslides, clouds, snow, fields, and landslides that were there before."""

PIXEL = 10.0
SCALE = 2  # screen pixels per pixel of 10 m, so that pixels stay pixels
DPI = 100
MARGIN, GAP, TITLE = 22, 30, 54  # screen pixels
BRIGHTEN = 0.62  # exponent: forest is darker than a screen shows well

NEW, WRONG, PERSISTENT, TRUTH = "#ffae00", "#ff2d2d", "#ffffff", "#0a3fd0"
UNSEEN, INK, PAPER = "#b4b4b4", "#1c1c1c", "#ffffff"
LIKELY = ("#fbf7ee", "#fdd58a", "#f57f17", "#8c1a06")  # probability 0 to 1
FLAT = (NEW, WRONG, PERSISTENT, TRUTH, UNSEEN, INK, *LIKELY)


@dataclass(frozen=True)
class Mosaic:
    """The tiles of a run side by side, and what is drawn over them."""

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    """True colour (y, x, 3), 0..1."""
    probability: NDArray[np.float32]
    """Of the date after, (y, x), NaN = not observed."""
    extent: tuple[float, float, float, float]
    """Left, right, bottom, top, UTM metres."""
    right: gpd.GeoDataFrame
    """Listed as new, and planted."""
    wrong: gpd.GeoDataFrame
    """Listed as new, and not planted."""
    persistent: gpd.GeoDataFrame
    truth: gpd.GeoDataFrame
    tiles: dict[str, tuple[float, float, float, float]]
    """Left, bottom, right, top per tile."""
    days: tuple[str, str]
    score: ListScore


def read(run: Path, archive: Path) -> Mosaic:
    """Read a finished run of the demo."""
    names = sorted(path.name for path in (run / "evidence.zarr").iterdir() if path.is_dir())
    opened = {
        name: (_open(run, "evidence", name), _open(run, "detections", name)) for name in names
    }
    bounds = {name: _bounds(seen) for name, (seen, _) in opened.items()}
    left, bottom, right, top = (
        pick(values)
        for pick, values in zip(
            (min, min, max, max), zip(*bounds.values(), strict=True), strict=True
        )
    )
    shape = (round((top - bottom) / PIXEL), round((right - left) / PIXEL))
    colours = np.zeros((2, *shape, 3), np.uint8)
    probability = np.full(shape, np.nan, np.float32)
    for name, (seen, found) in opened.items():
        place = (
            slice(row := round((top - bounds[name][3]) / PIXEL), row + seen.sizes["y"]),
            slice(column := round((bounds[name][0] - left) / PIXEL), column + seen.sizes["x"]),
        )
        for date in (0, 1):
            picture = np.moveaxis(seen["true_colour"].to_numpy()[date], 0, -1)
            colours[date][place] = np.where(picture == 0, colours[date][place], picture)
        there = found["probability"].to_numpy()[1]
        probability[place] = np.fmax(probability[place], there)
    inventory = gpd.read_parquet(run / "inventory.parquet")
    truth = gpd.read_file(archive / "truth.geojson")
    epsg = int(inventory["utm_epsg"].iloc[0])
    new = inventory[inventory["status"] == "new"]
    is_right = np.array([score_list(new.iloc[[row]], truth).right == 1 for row in range(len(new))])
    first = opened[names[0]][0]["time"]
    return Mosaic(
        before=_brightened(colours[0]),
        after=_brightened(colours[1]),
        probability=probability,
        extent=(left, right, bottom, top),
        right=new[is_right].to_crs(epsg),
        wrong=new[~is_right].to_crs(epsg),
        persistent=inventory[inventory["status"] == "persistent"].to_crs(epsg),
        truth=truth.to_crs(epsg),
        tiles=bounds,
        days=(_day(first[0]), _day(first[1])),
        score=score_list(inventory, truth),
    )


def _brightened(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return colours 0..1, white where there is no data."""
    return np.where(colours == 0, 1.0, (colours / 255) ** BRIGHTEN)


def _open(run: Path, store: str, tile: str) -> xr.Dataset:
    # Colours stay the bytes they are; probabilities become floats with NaN.
    return xr.open_dataset(
        run / f"{store}.zarr",
        group=tile,
        engine="zarr",
        consolidated=False,
        mask_and_scale=store == "detections",
    )


def _bounds(tile: xr.Dataset) -> tuple[float, float, float, float]:
    x, y = tile["x"].to_numpy(), tile["y"].to_numpy()
    half = PIXEL / 2
    return x.min() - half, y.min() - half, x.max() + half, y.max() + half


def _day(time: xr.DataArray) -> str:
    return f"{time.dt.day.item()} {time.dt.strftime('%B %Y').item()}"


# --- drawing ------------------------------------------------------------------------------------


def draw(mosaic: Mosaic) -> Figure:
    """Draw four panels of one size: before and after, probability and the whole area."""
    import matplotlib.pyplot as plt

    plt.rcParams |= {"font.family": "DejaVu Sans", "font.size": 21, "text.color": INK}
    width = round((CROP[2] - CROP[0]) / PIXEL) * SCALE
    height = round((CROP[3] - CROP[1]) / PIXEL) * SCALE
    whole = (2 * (width + MARGIN) + GAP, 2 * (height + TITLE) + GAP + MARGIN)
    figure = plt.figure(figsize=(whole[0] / DPI, whole[1] / DPI), dpi=DPI, facecolor=PAPER)

    def panel(column: int, row: int) -> Axes:
        left = MARGIN + column * (width + GAP)
        top = TITLE + row * (height + TITLE + GAP)
        return figure.add_axes(
            (left / whole[0], 1 - (top + height) / whole[1], width / whole[0], height / whole[1])
        )

    _draw_before(panel(0, 0), mosaic)
    _draw_after(panel(1, 0), mosaic)
    _draw_probability(panel(0, 1), mosaic)
    _draw_whole(panel(1, 1), mosaic, figure)
    return figure


def _draw_before(axes: Axes, mosaic: Mosaic) -> None:
    _show(axes, mosaic.before, mosaic, CROP)
    axes.set_title(f"Before: {mosaic.days[0]}", loc="left", fontweight="bold")
    _north_and_scale(axes, CROP)


def _draw_after(axes: Axes, mosaic: Mosaic) -> None:
    _show(axes, mosaic.after, mosaic, CROP)
    _outline(axes, mosaic.persistent, PERSISTENT, 2.2)
    _outline_new(axes, mosaic, 2.4)
    axes.set_title(f"After: {mosaic.days[1]}, and what was listed", loc="left", fontweight="bold")


def _draw_probability(axes: Axes, mosaic: Mosaic) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("likely", LIKELY).with_extremes(bad=UNSEEN)
    image = _show(axes, mosaic.probability, mosaic, CROP, cmap=colours, vmin=0, vmax=1)
    _outline(axes, mosaic.truth, TRUTH, 1.8, halo=PAPER)
    axes.set_title(
        "Probability on the date after, and what was planted", loc="left", fontweight="bold"
    )
    bar = axes.inset_axes((0.03, 0.06, 0.27, 0.03))
    axes.figure.colorbar(image, cax=bar, orientation="horizontal", ticks=(0, 0.5, 1))
    bar.tick_params(colors=INK, labelsize=18, length=4)
    bar.xaxis.set_ticks_position("top")


def _draw_whole(axes: Axes, mosaic: Mosaic, figure: Figure) -> None:
    """Draw the whole area at the left of its panel, legend and caption at the right."""
    from matplotlib.patches import Rectangle

    axes.set_axis_off()
    axes.set_title("The whole area: two tiles", loc="left", fontweight="bold")
    left, right, bottom, top = mosaic.extent
    box = axes.get_position()
    share = (right - left) / (top - bottom) * box.height * figure.get_figheight()
    area = figure.add_axes((box.x0, box.y0, share / figure.get_figwidth(), box.height))
    _show(area, mosaic.after, mosaic, (left, bottom, right, top))
    _outline_new(area, mosaic, 1.8)
    for name, (west, south, east, north) in mosaic.tiles.items():
        area.add_patch(Rectangle((west, south), east - west, north - south, fc="none", ec=PAPER))
        is_upper = north == top
        area.text(
            east - 120 if is_upper else west + 120,
            north - 130 if is_upper else south + 130,
            name,
            color=PAPER,
            ha="right" if is_upper else "left",
            va="top" if is_upper else "bottom",
            fontweight="bold",
        )
    area.add_patch(
        Rectangle(
            CROP[:2], CROP[2] - CROP[0], CROP[3] - CROP[1], fc="none", ec=PAPER, ls="--", lw=1.5
        )
    )
    _legend(axes, mosaic, x=share / (box.width * figure.get_figwidth()) + 0.045)


def _legend(axes: Axes, mosaic: Mosaic, *, x: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    found, planted, right, listed = mosaic.score
    entries: list[Any] = [
        Patch(fc=NEW, ec=INK, label=f"listed as new, right ({right})"),
        Patch(fc=WRONG, ec=INK, label=f"listed as new, wrong ({listed - right})"),
        Patch(fc=PERSISTENT, ec=INK, label=f"there on both dates ({len(mosaic.persistent)})"),
        Patch(fc=TRUTH, ec=INK, label=f"planted between the dates ({planted})"),
        Patch(fc=UNSEEN, ec=INK, label="not observed: cloud, snow"),
        Line2D([], [], color=INK, ls="--", lw=1.5, label="the part shown large"),
    ]
    axes.legend(
        handles=entries,
        loc="upper left",
        bbox_to_anchor=(x - 0.02, 1.02),
        frameon=False,
        labelspacing=0.6,
        handlelength=1.4,
        fontsize=20,
    )
    axes.text(
        x,
        0.455,
        f"{found} of {planted} planted ones found\n{right} of {listed} listed ones right",
        transform=axes.transAxes,
        fontsize=23,
        fontweight="bold",
        va="center",
        linespacing=1.5,
    )
    axes.text(
        x,
        0.0,
        "All of it is simulated: the relief, the forest,\n"
        "the clouds, the scenes, the landslides.\n"
        "It shows how lspipe works, not how well\n"
        "it does on real landslides.\n"
        "\n"
        "UTM zone 18 south, pixels of 10 m,\n"
        "true colour (brightened).",
        transform=axes.transAxes,
        fontsize=18.5,
        va="bottom",
        linespacing=1.45,
    )


def _show(
    axes: Axes,
    image: NDArray[Any],
    mosaic: Mosaic,
    frame: tuple[float, float, float, float],
    **options: Any,
) -> Any:
    shown = axes.imshow(image, extent=mosaic.extent, interpolation="nearest", **options)
    axes.set_xlim(frame[0], frame[2])
    axes.set_ylim(frame[1], frame[3])
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(INK)
    return shown


def _outline_new(axes: Axes, mosaic: Mosaic, width: float) -> None:
    _outline(axes, mosaic.right, NEW, width)
    _outline(axes, mosaic.wrong, WRONG, width)


def _outline(
    axes: Axes, table: gpd.GeoDataFrame, colour: str, width: float, *, halo: str = "#000000"
) -> None:
    from matplotlib.patheffects import Normal, Stroke

    for ring in _rings(table):
        (line,) = axes.plot(*ring.xy, color=colour, lw=width, solid_joinstyle="miter")
        line.set_path_effects([Stroke(linewidth=width + 1.8, foreground=halo, alpha=0.7), Normal()])


def _rings(table: gpd.GeoDataFrame) -> Iterator[Any]:
    for shape in table.geometry:
        for part in getattr(shape, "geoms", [shape]):
            yield part.exterior
            yield from part.interiors


def _north_and_scale(axes: Axes, frame: tuple[float, float, float, float]) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=3.5, foreground="#000000b0")]
    left, bottom = frame[0] + 180, frame[1] + 190
    axes.plot((left, left + 1000), (bottom, bottom), color=PAPER, lw=5, path_effects=halo)
    axes.text(
        left + 500, bottom + 60, "1 km", color=PAPER, ha="center", va="bottom", path_effects=halo
    )
    axes.annotate(
        "N",
        xy=(left + 60, frame[3] - 120),
        xytext=(left + 60, frame[3] - 560),
        color=PAPER,
        fontsize=25,
        fontweight="bold",
        ha="center",
        va="bottom",
        path_effects=halo,
        arrowprops={"arrowstyle": "-|>,head_width=0.5,head_length=0.8", "color": PAPER, "lw": 3},
    )


def save(figure: Figure, path: Path) -> int:
    """Write a PNG of 256 colours, a quarter of the size of one of 16 million; return its bytes."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor=PAPER)
    picture = Image.open(buffer).convert("RGB")
    # Flat colours exactly as in the legend, the rest as the picture needs it.
    flat = [round(255 * part) for name in FLAT for part in to_rgb(name)]
    rest = picture.quantize(256 - len(FLAT), method=Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette((flat + rest)[: 3 * 256])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
    return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--archive", type=Path, default=Path("runs/demo-archive"))
    parser.add_argument("--out", type=Path, default=Path("docs/demo.png"))
    asked = parser.parse_args()
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        sys.exit("this picture needs matplotlib: pip install matplotlib")
    if not (asked.run / "inventory.parquet").exists():
        sys.exit(f"{asked.run}: no inventory.parquet here; run `make demo` first")
    mpl.use("Agg")
    mosaic = read(asked.run, asked.archive)
    print(asked.out, save(draw(mosaic), asked.out), "bytes", mosaic.score)


if __name__ == "__main__":
    main()
