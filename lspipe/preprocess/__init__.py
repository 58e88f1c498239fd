"""Digital numbers of Sentinel-2 -> reflectance, and scene classes -> quality bits.

    reflectance.py   which offset an item needs, and the conversion
    masks/           sources of masks of clouds and the like, and the rim

Does not cover: reading pixels (`loaders/`), putting dates together (`cube/`).
See also: `catalogs/` for the facts of an item.
"""

from lspipe.preprocess.masks import MaskSpec, dilate, quality_of
from lspipe.preprocess.reflectance import (
    NO_TAGS,
    Radiometry,
    radiometry,
    radiometry_from_pixels,
    rests_on_baseline,
    to_reflectance,
)

__all__ = [
    "NO_TAGS",
    "MaskSpec",
    "Radiometry",
    "dilate",
    "quality_of",
    "radiometry",
    "radiometry_from_pixels",
    "rests_on_baseline",
    "to_reflectance",
]
