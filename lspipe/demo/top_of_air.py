"""A scene of surface reflectance to its twin at the top of the atmosphere: an item of L1C.

L1C has thirteen bands, three of them of 60 m, and no scene classes. The air adds light of its own,
most in the blue, and takes some away: each band is a straight line of the surface's reflectance.
Water vapour takes most of B09 and nearly all of B10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

from lspipe.demo.files import write_cog, write_json
from lspipe.demo.grid import CRS, NORTH, WEST, Cut
from lspipe.demo.items import Pass, describe_twin, twin_id
from lspipe.demo.numbers import to_numbers
from lspipe.demo.scene import FINE_BANDS, Scene
from lspipe.search.grids import tile_grid

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Air:
    """What lies between the ground and the satellite in one band."""

    source: str
    """Band whose surface reflectance is taken; bands of 60 m have none of their own here."""
    path: float
    """Reflectance of the air itself."""
    passed: float
    """Share of the light that passes down and up."""


# Of a clear summer day, rounded by hand so that forest looks as in L1C (B01 0.12, B02 0.10,
# B04 0.05, B10 0.001); illustrative, not measured.
AIR = {
    "B01": Air("B02", 0.100, 0.76),
    "B02": Air("B02", 0.078, 0.81),
    "B03": Air("B03", 0.042, 0.83),
    "B04": Air("B04", 0.024, 0.88),
    "B05": Air("B05", 0.019, 0.89),
    "B06": Air("B06", 0.014, 0.90),
    "B07": Air("B07", 0.011, 0.93),
    "B08": Air("B08", 0.009, 0.91),
    "B8A": Air("B8A", 0.007, 0.96),
    "B09": Air("B8A", 0.002, 0.30),
    "B10": Air("B8A", 0.0006, 0.002),
    "B11": Air("B11", 0.001, 0.95),
    "B12": Air("B12", 0.001, 0.92),
}
"""The bands of L1C in the order of the products."""

COARSE_BANDS = ("B01", "B09", "B10")
COARSE_M = 60
"""Bands of 60 m, and that."""


def write_twin(folder: Path, overflight: Pass, cut: Cut, scene: Scene, *, cloud: float) -> None:
    """Write the COGs and the item of L1C of one tile of one overflight, which its edge spares.

    Args:
        folder: of the archive.
        overflight: when, by which satellite, with which processing baseline.
        cut: the tile.
        scene: surface reflectance of the whole landscape.
        cloud: per cent of the tile, for the item.
    """
    name = twin_id(overflight, cut)
    rng = np.random.default_rng((overflight.date, int(cut.rows.start)))
    grids = {}
    for band, air in AIR.items():
        metres = 10 if band in FINE_BANDS else COARSE_M if band in COARSE_BANDS else 20
        grids[band] = shape, transform = _grid(cut, metres)
        fine = 10 if air.source in FINE_BANDS else 20
        surface = _means(scene.bands[air.source], fine, shape, transform)
        numbers = to_numbers(air.path + air.passed * surface, overflight.baseline, rng)
        path = folder / "assets" / name / f"{band}.tif"
        write_cog(path, numbers, transform, crs=CRS, nodata=0)
    item = describe_twin(overflight, cut, grids, cloud=cloud)
    write_json(folder / "items" / f"{name}.json", item)


def _grid(cut: Cut, metres: int) -> tuple[tuple[int, int], Affine]:
    """Shape and transform of the cut; of 60 m on the lattice of the real tile, around the cut."""
    shape, corner = cut.grid(metres)
    if metres < COARSE_M:
        return shape, corner
    # The cut begins and ends inside of pixels of 60 m.
    (rows, columns), corner = cut.grid(10)
    tile = tile_grid(cut.tile).transform
    left = corner.c - (corner.c - tile.c) % COARSE_M
    top = corner.f + (tile.f - corner.f) % COARSE_M
    down, across = top - corner.f + 10 * rows, corner.c - left + 10 * columns
    shape = math.ceil(down / COARSE_M), math.ceil(across / COARSE_M)
    return shape, Affine(COARSE_M, 0, left, 0, -COARSE_M, top)


def _means(
    band: NDArray[np.float32], metres: int, shape: tuple[int, int], transform: Affine
) -> NDArray[np.float32]:
    """Means of a band of the whole landscape over the pixels of a grid, in which its own nest."""
    each = round(transform.a) // metres
    row, column = round((NORTH - transform.f) / metres), round((transform.c - WEST) / metres)
    # 60 m: the last pixels end beyond the landscape.
    wide = np.pad(band, ((0, each), (0, each)), mode="edge")
    part = wide[row : row + shape[0] * each, column : column + shape[1] * each]
    blocks = part.reshape(shape[0], each, shape[1], each)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)
