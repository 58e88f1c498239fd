"""Area, dates and catalogue -> tiles with their acquisitions.

    areas.py         box, file or tile names -> geometry, and its pixels on a grid
    dates.py         ranges of days, and those an event stands for
    find.py          what matches: the same for servers and for files
    server.py        STAC APIs: paging, retries, tokens
    item_files.py    items in JSON, NDJSON, stac-geoparquet
    acquisitions.py  items -> tiles with each acquisition once; `items.json`
    grids.py         the pixel grid of a tile

Does not cover: which acquisition is used (`cube.py`); reading pixels (`loaders/`).
"""

from lspipe.search.acquisitions import Acquisition, Tile, deduplicate, freeze, thaw
from lspipe.search.areas import (
    Area,
    AreaSpec,
    PackedMask,
    area_on_grid,
    bounding_window,
    footprint,
    read_area,
)
from lspipe.search.dates import DateRange, DatesSpec
from lspipe.search.find import find_items, find_tiles, missing_items
from lspipe.search.grids import grid_of, tile_grid
from lspipe.search.spec import SearchSpec

__all__ = [
    "Acquisition",
    "Area",
    "AreaSpec",
    "DateRange",
    "DatesSpec",
    "PackedMask",
    "SearchSpec",
    "Tile",
    "area_on_grid",
    "bounding_window",
    "deduplicate",
    "find_items",
    "find_tiles",
    "footprint",
    "freeze",
    "grid_of",
    "missing_items",
    "read_area",
    "thaw",
    "tile_grid",
]
