"""Planted landslides -> their outlines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from rasterio.warp import transform_geom

from lspipe.demo.grid import EPSG, NORTH, WEST
from lspipe.demo.landscape import PIXEL_M

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lspipe.demo.slides import Slide


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
