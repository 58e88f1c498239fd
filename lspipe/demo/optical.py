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
    # Shares of the extent: away from the middle, half of it stays in sight.
    half = _cloud(largest.window, largest.pixels, 0.95, 9.0)
    whole = _cloud(hidden.window, hidden.pixels, 0.5, 7 + np.hypot(*hidden.pixels.shape) / 2)
    return replace(overflight.sky, clouds_over=(half, whole))


def _cloud(
    window: Part, pixels: NDArray[np.bool_], share: float, radius: float
) -> tuple[float, float, float]:
    """A round cloud over a landslide: row, column and radius, pixels.

    Args:
        window: rows and columns of the landscape that the landslide lies in.
        pixels: of it there.
        share: of its extent along both axes where the middle of the cloud is, 0..1.
        radius: of the cloud.
    """
    row, column = (
        part.start + float(np.quantile(places, share))
        for part, places in zip(window, np.nonzero(pixels), strict=True)
    )
    return row, column, float(radius)


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
