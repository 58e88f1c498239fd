"""Real pixels as an archive: a COG per band, the STAC item of them, and a workflow that reads them.

Digital numbers are written as they came, so that what a run makes of a pixel can be worked out from
the file that somebody else published.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import shapely
import yaml
from pyproj import Transformer
from shapely.geometry import box, mapping

from tests.scenes import write_cog

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from affine import Affine
    from numpy.typing import NDArray

COLLECTION = "sentinel-2-l2a"


def write_scene(
    folder: Path,
    *,
    tile: str,
    time: str,
    baseline: str,
    bands: Mapping[str, NDArray[Any]],
    corner: Affine,
    epsg: int,
) -> str:
    """Write a scene into the archive `folder`: items/ID.json, scenes/ID/BAND.tif; return the id.

    Args:
        folder: of the archive.
        tile: MGRS name.
        time: when it was acquired, RFC 3339 with Z.
        baseline: processing baseline, which tells the offset of the digital numbers.
        bands: digital numbers (y, x), and scene classes as SCL; a band of half the rows has pixels
            of twice the size.
        corner: transform of the bands of 10 m.
        epsg: of the tile.
    """
    rows, columns = max(layer.shape for layer in bands.values())
    name = f"S2A_{tile}_{time[:10].replace('-', '')}_0_L2A"
    left, top = corner.c, corner.f
    outline = box(left, top - 10 * rows, left + 10 * columns, top)
    to_degrees = Transformer.from_crs(epsg, 4326, always_xy=True).transform
    footprint = shapely.transform(outline, to_degrees, interleaved=False)
    assets = {}
    for band, pixels in bands.items():
        transform = corner * corner.scale(rows // pixels.shape[0])
        path = folder / "scenes" / name / f"{band}.tif"
        write_cog(path, pixels, transform, epsg, nodata=0)
        assets[band] = {
            "href": str(path),
            "proj:shape": list(pixels.shape),
            "proj:transform": list(transform)[:6],
        }
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": COLLECTION,
        "geometry": mapping(footprint),
        "bbox": list(footprint.bounds),
        "properties": {
            "datetime": time,
            "platform": "sentinel-2a",
            "proj:epsg": epsg,
            "grid:code": f"MGRS-{tile}",
            "s2:processing_baseline": baseline,
        },
        "assets": assets,
        "links": [],
    }
    path = folder / "items" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(item), encoding="utf-8")
    return name


def write_workflow(
    path: Path,
    archive: Path,
    *,
    tile: str,
    dates: Mapping[str, Mapping[str, str]],
    model: str,
    cluster: Mapping[str, str],
    **sections: Any,
) -> Path:
    """Write a workflow that runs a whole tile of an archive into `run` beside it.

    Args:
        path: of the workflow, named after the file.
        archive: folder of `write_scene`.
        tile: MGRS name.
        dates: section of the workflow.
        model: file of the model item in the archive, or the name of a shipped one.
        cluster: section of the workflow.
        sections: others, replacing or adding to the usual ones.
    """
    item = model if model.startswith("shipped:") else str(archive / model)
    content = {
        "name": path.stem,
        "aoi": {"tiles": [tile]},
        "dates": dates,
        "search": {"catalog": str(archive / "items"), "collection": COLLECTION},
        "model": {"item": item},
        "output": {"path": "run", "write": ["geoparquet"]},
        "cluster": cluster,
        "execution": {"block": 290, "retries": 0},
        **sections,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path
