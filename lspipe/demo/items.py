"""One tile of one overflight to a STAC item, in Planetary Computer's style of Sentinel-2 L2A."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from pyproj import Transformer

from lspipe.demo.grid import EPSG
from lspipe.demo.landscape import PIXEL_M
from lspipe.demo.scene import BANDS, FINE_BANDS
from lspipe.schema import SCL_CLASSES

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from lspipe.demo.grid import Cut
    from lspipe.demo.scene import Sky


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One overflight; both tiles are seen at the same moment."""

    time: datetime
    date: int
    """0 before, 1 after the landslides."""
    platform: str
    baseline: str
    sky: Sky
    edge: tuple[str, int, int] | None = None
    """Swath edge: tile without data beyond it, column at the tile's first row, row at column 0."""


def beyond_edge(overflight: Pass, cut: Cut, metres: int) -> NDArray[np.bool_]:
    """Pixels of the cut that the swath does not reach."""
    shape, _ = cut.grid(metres)
    if overflight.edge is None or overflight.edge[0] != cut.tile:
        return np.zeros(shape, bool)
    y, x = np.mgrid[: shape[0], : shape[1]] * (metres / PIXEL_M)
    return np.asarray(x / overflight.edge[1] + y / overflight.edge[2] < 1)


def item_id(overflight: Pass, cut: Cut) -> str:
    """Name of an item and of its folder of assets; unlike that of any real product."""
    return f"S2{overflight.platform[-1]}_SIMULATED_{overflight.time:%Y%m%dT%H%M%S}_T{cut.tile}"


def describe(overflight: Pass, cut: Cut, scl: NDArray[np.uint8]) -> dict[str, Any]:
    """STAC item of one tile of one overflight, as JSON values.

    Args:
        overflight: when, by which satellite, with which processing baseline.
        cut: the tile.
        scl: its scene classes of 20 m, which cloud cover and missing share are counted on.
    """
    name, time = item_id(overflight, cut), f"{overflight.time:%Y-%m-%dT%H:%M:%SZ}"
    footprint = _footprint(overflight, cut)
    seen = scl[scl != SCL_CLASSES["nodata"]]
    clouds = [SCL_CLASSES[kind] for kind in ("cloud_medium", "cloud_high", "cirrus")]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
            "https://stac-extensions.github.io/grid/v1.0.0/schema.json",
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
        ],
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": shapely.geometry.mapping(footprint),
        "bbox": list(footprint.bounds),
        "properties": {
            "datetime": time,
            "description": "Simulated by lspipe for its demo; no product of ESA.",
            "platform": overflight.platform,
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "eo:cloud_cover": round(100 * float(np.isin(seen, clouds).mean()), 2),
            "grid:code": f"MGRS-{cut.tile}",
            "proj:epsg": EPSG,
            "s2:mgrs_tile": cut.tile,
            "s2:processing_baseline": overflight.baseline,
            "s2:generation_time": time,
            "s2:nodata_pixel_percentage": round(100 * (1 - seen.size / scl.size), 2),
        },
        "links": [],
        "assets": {band: _asset(name, band, cut) for band in (*BANDS, "SCL")},
    }


def _asset(name: str, band: str, cut: Cut) -> dict[str, Any]:
    metres = 10 if band in FINE_BANDS else 20
    shape, transform = cut.grid(metres)
    return {
        "href": f"../assets/{name}/{band}.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "gsd": metres,
        "proj:shape": list(shape),
        "proj:transform": list(transform)[:6],
    }


def _footprint(overflight: Pass, cut: Cut) -> shapely.Polygon:
    """Outline of what was seen, longitude and latitude."""
    (rows, columns), transform = cut.grid(10)
    start = [(0, 0)]
    if overflight.edge is not None and overflight.edge[0] == cut.tile:
        start = [(0, overflight.edge[2]), (overflight.edge[1], 0)]
    outline = [*start, (columns, 0), (columns, rows), (0, rows)]
    to_degrees = Transformer.from_crs(EPSG, 4326, always_xy=True)
    corners = [transform * point for point in outline]
    degrees = [to_degrees.transform(*corner) for corner in corners]
    return shapely.geometry.polygon.orient(shapely.Polygon(np.round(degrees, 7)))
