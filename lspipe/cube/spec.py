"""How the items of a date become one cube: the section `cube:` of a workflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from lspipe.cube.loaders import LOADERS
from lspipe.preprocess import MaskSpec
from lspipe.spec import Spec, plugin


@dataclass(frozen=True, kw_only=True)
class CubeSpec(Spec):
    """How the items of a date become one cube."""

    loader: Annotated[str, plugin(LOADERS, "function")] = "odc"
    """`odc` or `stackstac` (the same pixels), or "package.module:function"."""
    composite: Literal["best", "latest", "median", "each"] = "best"
    """`best`: the acquisition with the fewest masked pixels over the area; `latest`: the last one;
    `median`: of every unmasked pixel, per band; `each`: every acquisition is a date of its own."""
    mask: MaskSpec = field(default_factory=MaskSpec)
    """Which pixels count as not observed."""
    on_read_error: Literal["fail", "nodata"] = "fail"
    """`nodata`: a chunk that cannot be read becomes no data, sets a quality bit and counts."""
    resampling: Literal["bilinear", "nearest"] = "bilinear"
    """How bands of 20 m and 60 m reach 10 m; scene classes are always nearest."""
