"""The demo: a simulated archive to run the main job on, and the landslides that are in it.

    landscape    a seed to a valley with land cover on two dates
    slides       landslides down its slopes
    grid         where the landscape lies, and its two tiles
    scene        a landscape, a date and a sky to reflectance and scene classes
    items        a tile of an overflight to a STAC item
    numbers      reflectance to digital numbers
    optical      overflights of Sentinel-2 to COGs and items
    top_of_air   a scene of surface reflectance to its twin of L1C
    backscatter  a landscape, a date and a look direction to gamma0 of VV
    radar        acquisitions of Sentinel-1 to COGs and items
    heights      the relief to a DEM
    truth        planted landslides to outlines
    files        pixels to a COG, plain values to JSON
    archive      all of it to a folder

See also: `benchmarks/demo_model.py`, which trains the model that the demo uses.
"""

from lspipe.demo.archive import WORKFLOWS, workflow_text, write_archive

__all__ = ["WORKFLOWS", "workflow_text", "write_archive"]
