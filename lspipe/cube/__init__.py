"""Items of a tile -> lazy cube: load, reflectance, mask, composite.

    spec.py        CubeSpec, the section `cube:` of a workflow
    choice.py      which acquisitions make up a date, decided once per tile
    masked.py      how much of the area each acquisition masks, read before a run is planned
    offsets.py     the offset of an item that its metadata cannot decide, from its pixels
    recorded.py    steps and radiometry as an earlier plan decided them
    opening.py     the lazy cube of a time step
    step_cube.py   the same of a tile, whole or a part, as it travels to workers
    scene.py       one acquisition: its items by their own radiometry, the mask and its dilation
    composite.py   several acquisitions as one
    loaders/       one item to raw numbers on a tile's grid
    terrain_spec.py  TerrainSpec, the section `terrain:`
    dem.py         the section `terrain:` -> files of heights
    height_file.py one raster of heights: its header, its pixels in metres
    canvas.py      rasters of heights, their pixels side by side
    heights.py     pixels of a canvas -> heights at the pixels of a tile
    surface.py     heights -> slope and curvature
    terrain.py     the terrain of a tile as channels
    radar_spec.py  RadarSpec, the section `radar:`
    radar_file.py  one raster of backscatter: its header, its pixels in linear power
    sentinel1.py   the section `radar:` -> items, and which passes a tile is read from
    radar.py       the backscatter of a tile as channels
    evidence.py    pixels of a block -> true colour and NDVI

Does not cover: which items there are (`search`), what an item's metadata states about its offset
(`preprocess`).
"""
