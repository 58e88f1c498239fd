"""The demo: a simulated archive to run the main job on, and the score of what the run found.

    landscape   a seed to a valley with land cover on two dates
    slides      landslides down its slopes
    scene       a landscape, a date and a sky to reflectance and scene classes
    grid        where the landscape lies, and its two tiles
    items       a tile of an overflight to a STAC item
    truth       planted landslides to outlines; found, planted, right, listed
    archive     all of it to a folder

See also: `benchmarks/demo_model.py`, which trains the model that the demo uses.
"""

from lspipe.demo.archive import workflow_text, write_archive
from lspipe.demo.truth import Score, score

__all__ = ["Score", "score", "workflow_text", "write_archive"]
