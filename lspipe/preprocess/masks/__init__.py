"""Masks of clouds and the like: bands in, bits of `schema.Quality` out.

    sources   the contract, the table of names, and a name to a source
    spec      `cube.mask` of a workflow
    rim       the rim around clouds and their shadows
    scl       scene classes of Sen2Cor, which come with the product
    csmask    the networks of ukis-csmask, for L1C and L2A
    own       a function or an object of the user's own

A source is one file here and one line of `SOURCES`. The source of a model item is
`inference/masking.py`, as networks are opened there.

Does not cover: cutting a tile into windows for a source (`cube/masking.py`).
"""

from lspipe.preprocess.masks.rim import dilate, spread
from lspipe.preprocess.masks.scl import quality_of
from lspipe.preprocess.masks.sources import SOURCES, MaskSource, mask_bands, sources
from lspipe.preprocess.masks.spec import MaskSpec

__all__ = [
    "SOURCES", "MaskSource", "MaskSpec", "dilate", "mask_bands", "quality_of", "sources", "spread",
]  # fmt: skip
