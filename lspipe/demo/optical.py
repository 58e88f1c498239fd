"""A landscape to the scenes of Sentinel-2 that the archive holds: three of L2A, and a twin of L1C.

See also: `scene` (what is seen), `items` (how it is described), `top_of_air` (L1C).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from lspipe.demo.files import write_cog, write_json
from lspipe.demo.grid import ANCHORS, CRS, TILES, Cut
from lspipe.demo.items import Pass, beyond_edge, cloud_cover, describe, item_id
from lspipe.demo.landscape import PIXEL_M
from lspipe.demo.numbers import to_numbers
from lspipe.demo.scene import BANDS, FINE_BANDS, Scene, Sky, see
from lspipe.demo.top_of_air import write_twin
from lspipe.schema import SCL_CLASSES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.demo.landscape import Landscape
    from lspipe.demo.slides import Slide
    from lspipe.schema import Part

PASSES = (
    Pass(
        time=datetime.fromisoformat("2021-02-04T14:37:31+00:00"),
        date=0,
        platform="Sentinel-2A",
        baseline="02.14",
        sky=Sky(cloud_share=0.012),
        edge=("18GYT", 70, 210),
    ),
    Pass(
        time=datetime.fromisoformat("2022-02-09T14:37:39+00:00"),
        date=1,
        platform="Sentinel-2A",
        baseline="04.00",
        sky=Sky(sun_azimuth=56.5, sun_elevation=49, cloud_share=0.015, shift_px=(0.2, -0.15)),
    ),
    Pass(
        time=datetime.fromisoformat("2022-02-14T14:37:35+00:00"),
        date=1,
        platform="Sentinel-2B",
        baseline="04.00",
        sky=Sky(sun_azimuth=55.5, sun_elevation=47.5, cloud_share=0.35, haze=1.8),
    ),
)

CLOUD_PX = 9.0
"""Radius of the clouds that are put over landslides, pixels."""

TWIN = (PASSES[1], TILES[1])
"""What the archive has as L1C too: the clear overflight after, in the southern tile."""


def write_scenes(folder: Path, landscape: Landscape, *, seed: int) -> None:
    """Write COGs and items of every overflight and tile.

    Args:
        folder: gets `items/ID.json` and `assets/ID/BAND.tif`.
        landscape: what lies on the ground.
        seed: of clouds, growth and sensor noise.
    """
    for number, overflight in enumerate(PASSES):
        sky = _with_clouds(landscape, overflight)
        scene = see(landscape, overflight.date, sky, seed=seed + 1000 * (number + 1))
        for cut in TILES:
            rng = np.random.default_rng((seed, number, int(cut.rows.start)))
            _write_item(folder, overflight, cut, scene, rng)


def _with_clouds(landscape: Landscape, overflight: Pass) -> Sky:
    """Hide, on the dates after, one new landslide by half and the last one whole."""
    if not overflight.date:
        return overflight.sky
    *seen, hidden = landscape.new
    largest = max(seen[len(ANCHORS) :], key=lambda slide: int(slide.pixels.sum()))
    clouds = (_beside(largest), *_along(hidden))
    return replace(overflight.sky, clouds_over=clouds)


def _beside(slide: Slide) -> tuple[float, float, float]:
    """A cloud (row, column, radius) at the lower end of a landslide: half of it stays in sight."""
    rows, columns = _places(slide)
    return float(np.quantile(rows, 0.95)), float(np.quantile(columns, 0.95)), CLOUD_PX


def _along(slide: Slide) -> tuple[tuple[float, float, float], ...]:
    """Clouds side by side along a landslide, so that all of it is hidden and little besides."""
    places = _places(slide)
    longer = places[int(np.argmax(np.ptp(places, axis=1)))]
    ordered, count = places[:, np.argsort(longer, kind="stable")], int(np.ptp(longer) / CLOUD_PX)
    pieces = np.array_split(ordered, count + 1, axis=1)
    return tuple((float(row), float(column), CLOUD_PX) for row, column in map(_middle, pieces))


def _places(slide: Slide) -> NDArray[np.int64]:
    """Rows and columns of the landscape that a landslide covers, (2, n)."""
    corner = np.array([[part.start] for part in slide.window])
    return np.asarray(np.stack(np.nonzero(slide.pixels)) + corner)


def _middle(places: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(places.mean(axis=1))


def _write_item(
    folder: Path, overflight: Pass, cut: Cut, scene: Scene, rng: np.random.Generator
) -> None:
    """Write the COGs of one tile of one overflight, then its item."""
    name = item_id(overflight, cut)
    assets = folder / "assets" / name
    for band in BANDS:
        metres = 10 if band in FINE_BANDS else 20
        numbers = to_numbers(scene.bands[band][_window(cut, metres)], overflight.baseline, rng)
        numbers[beyond_edge(overflight, cut, metres)] = 0
        write_cog(assets / f"{band}.tif", numbers, cut.grid(metres)[1], crs=CRS, nodata=0)
    scl = scene.scl[_window(cut, 20)].copy()
    scl[beyond_edge(overflight, cut, 20)] = SCL_CLASSES["nodata"]
    write_cog(assets / "SCL.tif", scl, cut.grid(20)[1], crs=CRS, nodata=0)
    write_json(folder / "items" / f"{name}.json", describe(overflight, cut, scl))
    if (overflight, cut) == TWIN:
        write_twin(folder, overflight, cut, scene, cloud=cloud_cover(scl))


def _window(cut: Cut, metres: int) -> Part:
    step = metres // int(PIXEL_M)
    rows, columns = cut.rows, cut.columns
    return (
        slice(rows.start // step, rows.stop // step),
        slice(columns.start // step, columns.stop // step),
    )
