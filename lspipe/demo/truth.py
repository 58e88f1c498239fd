"""Planted landslides to outlines, and a list of new ones to how many it found and got right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from rasterio.warp import transform_geom

from lspipe.demo.grid import EPSG, NORTH, WEST
from lspipe.demo.landscape import PIXEL_M

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd

    from lspipe.demo.slides import Slide

LEAST_IOU = 0.1
LEAST_INSIDE = 0.5
"""A listed landslide is right if its IoU with a planted one is at least `LEAST_IOU`, or if at
least this share of its area is in it: the rule of `evaluate.metrics` (docs/method.md, Scores)."""


class Score(NamedTuple):
    """How a list compares with the truth."""

    found: int
    """Planted landslides with a match in the list."""
    planted: int
    right: int
    """Listed landslides with a match in the truth."""
    listed: int


def score(inventory: gpd.GeoDataFrame, truth: gpd.GeoDataFrame) -> Score:
    """Count matches between the new landslides of an inventory and the planted ones.

    Args:
        inventory: any CRS; rows whose `status` is not "new" are left out.
        truth: the planted landslides, any CRS.
    """
    new = inventory[inventory["status"] == "new"] if "status" in inventory else inventory
    # Any equal-area projection would do: only ratios of areas are used.
    listed = new.geometry.to_crs("EPSG:6933").make_valid().to_numpy()
    planted = truth.geometry.to_crs("EPSG:6933").make_valid().to_numpy()
    common = shapely.area(shapely.intersection(listed[:, None], planted[None, :]))
    size, true_size = shapely.area(listed)[:, None], shapely.area(planted)[None, :]
    iou = common / (size + true_size - common)
    match = (iou >= LEAST_IOU) | (common >= LEAST_INSIDE * size)
    return Score(
        found=int(np.count_nonzero(match.any(axis=0))),
        planted=len(planted),
        right=int(np.count_nonzero(match.any(axis=1))),
        listed=len(listed),
    )


def outlines(slides: Sequence[Slide]) -> dict[str, Any]:
    """Outline landslides along pixel edges, as a GeoJSON feature collection (RFC 7946)."""
    features = []
    for number, slide in enumerate(slides, start=1):
        corner = Affine.translation(
            WEST + slide.window[1].start * PIXEL_M, NORTH - slide.window[0].start * PIXEL_M
        )
        shapes = rasterio.features.shapes(
            slide.pixels.astype(np.uint8),
            mask=slide.pixels,
            connectivity=8,
            transform=corner * Affine.scale(PIXEL_M, -PIXEL_M),
        )
        outline, _ = max(shapes, key=lambda found: shapely.geometry.shape(found[0]).area)
        area = float(shapely.geometry.shape(outline).area)
        features.append(
            {
                "type": "Feature",
                "geometry": transform_geom(f"EPSG:{EPSG}", "EPSG:4326", outline, precision=7),
                "properties": {"id": number, "area_m2": area, "simulated": True},
            }
        )
    return {"type": "FeatureCollection", "features": features}
