"""One tile of one overflight to a STAC item, in Planetary Computer's style of Sentinel-2."""

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
    from collections.abc import Mapping
    from datetime import datetime

    from affine import Affine
    from numpy.typing import NDArray

    from lspipe.demo.grid import Cut
    from lspipe.demo.scene import Sky

    Grid = tuple[tuple[int, int], Affine]
    """Shape and transform."""


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


def twin_id(overflight: Pass, cut: Cut) -> str:
    """Name of the item of L1C beside that of L2A."""
    return item_id(overflight, cut).replace("SIMULATED", "SIMULATED_L1C")


def cloud_cover(scl: NDArray[np.uint8]) -> float:
    """Share of cloud in what was seen, per cent."""
    seen = scl[scl != SCL_CLASSES["nodata"]]
    clouds = [SCL_CLASSES[kind] for kind in ("cloud_medium", "cloud_high", "cirrus")]
    return round(100 * float(np.isin(seen, clouds).mean()), 2)


def describe(overflight: Pass, cut: Cut, scl: NDArray[np.uint8]) -> dict[str, Any]:
    """STAC item of one tile of one overflight, as JSON values.

    Args:
        overflight: when, by which satellite, with which processing baseline.
        cut: the tile.
        scl: its scene classes of 20 m, which cloud cover and missing share are counted on.
    """
    name = item_id(overflight, cut)
    fine, coarse = (cut.grid(metres) for metres in (10, 20))
    grids = {band: fine if band in FINE_BANDS else coarse for band in (*BANDS, "SCL")}
    item = _item(name, "sentinel-2-l2a", overflight, cut, grids)
    missing = float((scl == SCL_CLASSES["nodata"]).mean())
    item["properties"] |= {
        "eo:cloud_cover": cloud_cover(scl),
        "s2:nodata_pixel_percentage": round(100 * missing, 2),
    }
    return item


def describe_twin(
    overflight: Pass, cut: Cut, grids: Mapping[str, Grid], *, cloud: float
) -> dict[str, Any]:
    """STAC item of L1C of one tile of one overflight, as JSON values.

    Args:
        overflight: when, by which satellite, with which processing baseline.
        cut: the tile.
        grids: shape and transform of each band.
        cloud: per cent of the tile.
    """
    item = _item(twin_id(overflight, cut), "sentinel-2-l1c", overflight, cut, grids)
    item["properties"] |= {"eo:cloud_cover": cloud, "s2:nodata_pixel_percentage": 0.0}
    return item


def _item(
    name: str, collection: str, overflight: Pass, cut: Cut, grids: Mapping[str, Grid]
) -> dict[str, Any]:
    footprint, time = _footprint(overflight, cut), f"{overflight.time:%Y-%m-%dT%H:%M:%SZ}"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
            "https://stac-extensions.github.io/grid/v1.0.0/schema.json",
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
        ],
        "id": name,
        "collection": collection,
        "geometry": shapely.geometry.mapping(footprint),
        "bbox": list(footprint.bounds),
        "properties": {
            "datetime": time,
            "description": "Simulated by lspipe for its demo; no product of ESA.",
            "platform": overflight.platform,
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "grid:code": f"MGRS-{cut.tile}",
            "proj:epsg": EPSG,
            "s2:mgrs_tile": cut.tile,
            "s2:processing_baseline": overflight.baseline,
            "s2:generation_time": time,
        },
        "links": [],
        "assets": {band: _asset(name, band, *grid) for band, grid in grids.items()},
    }


def _asset(name: str, band: str, shape: tuple[int, int], transform: Affine) -> dict[str, Any]:
    return {
        "href": f"../assets/{name}/{band}.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "gsd": int(transform.a),
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
