"""Area, dates and catalogue -> tiles with their acquisitions.

    areas.py         box, file or tile names -> geometry, and its pixels on a grid
    area_files.py    polygons in a file, or why they are no area
    dates.py         ranges of days, and those an event stands for
    spec.py          the sections `aoi:` and `search:`
    places.py        a catalogue's name -> a URL or a path
    find.py          what matches: the same for servers and for files
    conditions.py    conditions on properties, and what cannot be compared
    server.py        STAC APIs: retries, tokens
    paging.py        all pages of a search, empty ones too
    refusals.py      a server's own words
    item_files.py    items in JSON, NDJSON, stac-geoparquet
    addresses.py     where the assets of such items are
    acquisitions.py  items -> tiles with each acquisition once; `items.json`
    grids.py         the pixel grid of a tile

Does not cover: which acquisition is used (`cube.py`); reading pixels (`loaders/`).
"""
