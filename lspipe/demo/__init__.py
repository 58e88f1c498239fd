"""The demo: a simulated archive to run the main job on, and the landslides that are in it.

    landscape   a seed to a valley with land cover on two dates
    slides      landslides down its slopes
    scene       a landscape, a date and a sky to reflectance and scene classes
    grid        where the landscape lies, and its two tiles
    items       a tile of an overflight to a STAC item
    truth       planted landslides to outlines
    archive     all of it to a folder

See also: `benchmarks/demo_model.py`, which trains the model that the demo uses.
"""

from lspipe.demo.archive import workflow_text, write_archive

__all__ = ["workflow_text", "write_archive"]
