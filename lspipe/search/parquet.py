"""A GeoParquet file -> a table, as geopandas reads it, its CRS looked up once in a process.

geopandas writes a CRS without the codes of the datums that it is made of, and PROJ then searches
its database for each file: 20 ms, five times what the rest of a small table takes.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
from pyproj import CRS

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa


def read_geoparquet(file: Path | BinaryIO) -> gpd.GeoDataFrame:
    """Read a GeoParquet file with all of its columns but that of bounding boxes.

    Args:
        file: written by lspipe or geopandas; any other GeoParquet is left to geopandas.

    Returns:
        The table that `geopandas.read_parquet` returns. Its CRS goes by its code ("EPSG:4326"),
        where it is that of the code in every respect.

    Raises:
        ValueError: not a GeoParquet file.
        OSError: no such file, or it cannot be read.
    """
    with pq.ParquetFile(file) as opened:
        facts = opened.schema_arrow.metadata or {}
        geo = json.loads(facts[b"geo"]) if {b"geo", b"pandas"} <= facts.keys() else {}
        if not _is_plain(geo):
            return gpd.read_parquet(file)
        table = opened.read()
    return _decoded(table, geo, attributes=facts.get(b"PANDAS_ATTRS"))


def _is_plain(geo: dict[str, Any]) -> bool:
    """Return whether metadata are of one column of geometries, as WKB, in a CRS."""
    columns = list(geo.get("columns", {}).values())
    return len(columns) == 1 and columns[0]["encoding"] == "WKB" and bool(columns[0].get("crs"))


def _decoded(table: pa.Table, geo: dict[str, Any], *, attributes: bytes | None) -> gpd.GeoDataFrame:
    name = geo["primary_column"]
    facts = geo["columns"][name]
    boxes = facts.get("covering", {}).get("bbox", {}).get("xmin", [None])[0]
    kept = [column for column in table.column_names if column != boxes]
    outlines = gpd.GeoSeries.from_wkb(np.array(table[name]), crs=_crs(json.dumps(facts["crs"])))
    found = table.select([column for column in kept if column != name]).to_pandas()
    found.insert(kept.index(name), name, outlines.array)
    found.attrs = json.loads(attributes or b"{}")
    return gpd.GeoDataFrame(found, geometry=name)


@lru_cache
def _crs(projjson: str) -> CRS:
    """Return the CRS of a file, by its code: threads then share no search."""
    found = CRS.from_user_input(projjson)
    code = found.to_epsg()
    known = None if code is None else CRS.from_epsg(code)
    return known if known is not None and found.is_exact_same(known) else found
