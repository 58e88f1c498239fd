"""Where the simulated valley lies: one landscape, and the parts of two MGRS tiles cut from it."""

from __future__ import annotations

from dataclasses import dataclass

from affine import Affine

from lspipe.demo.landscape import PIXEL_M

EPSG = 32718
CRS = f"EPSG:{EPSG}"
WEST, NORTH = 709960.0, 5201000.0
"""Upper-left corner of the landscape, UTM metres; on the grids of both real tiles."""

SHAPE = (1180, 720)
"""Rows and columns of the landscape, pixels of 10 m."""


@dataclass(frozen=True)
class Cut:
    """The part of an MGRS tile that the archive holds."""

    tile: str
    rows: slice
    """Of the landscape, pixels of 10 m; even, so that 20 m pixels nest."""
    columns: slice

    def grid(self, metres: int) -> tuple[tuple[int, int], Affine]:
        """Shape and transform of the cut at a pixel size."""
        shape = (
            int((self.rows.stop - self.rows.start) * PIXEL_M) // metres,
            int((self.columns.stop - self.columns.start) * PIXEL_M) // metres,
        )
        corner = (WEST + self.columns.start * PIXEL_M, NORTH - self.rows.start * PIXEL_M)
        return shape, Affine(metres, 0, corner[0], 0, -metres, corner[1])


TILES = (
    Cut("18GYT", slice(0, 640), slice(0, 700)),
    Cut("18GYS", slice(540, 1180), slice(20, 720)),
)

# Rows of landslides that the tiles' overlap is there for: one across the end of 18GYT (row 640),
# one that both tiles see whole.
ANCHORS = ((604, 676), (552, 628))
