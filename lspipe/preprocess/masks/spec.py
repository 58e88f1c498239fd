"""Which pixels count as not observed: `cube.mask` of a workflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from lspipe.preprocess.masks.sources import NONE, SOURCES
from lspipe.spec import Bounds, Items, Named, Spec
from lspipe.spec.rules import PLUGIN

SclClass = Literal[
    "nodata", "saturated", "dark", "shadow", "vegetation", "bare", "water", "unclassified",
    "cloud_medium", "cloud_high", "cirrus", "snow",
]  # fmt: skip

SourceName = Annotated[
    str,
    Named(
        (*SOURCES, NONE),
        '"package.module:thing" or the path of a model item (.json)',
        rf"({PLUGIN})|(^.+\.json$)|(^shipped:.+$)",
    ),
]


@dataclass(frozen=True, kw_only=True)
class MaskSpec(Spec):
    """Which pixels count as not observed."""

    source: SourceName | Annotated[tuple[SourceName, ...], Items(least=1, unique=True)] = "scl"
    """What masks clouds and shadows: `scl` (the scene classes of an L2A product), `csmask` (the
    networks of ukis-csmask, L1C too), `none`, "package.module:thing", or the path of a model item.
    In a list, what any of them masks is masked, and their disagreement is counted."""
    scl: tuple[SclClass, ...] = (
        "nodata", "saturated", "shadow", "cloud_medium", "cloud_high", "cirrus", "snow",
    )  # fmt: skip
    """Scene classes of Sen2Cor that are masked, where `source` has `scl`."""
    # 3: Sen2Cor's shadows end 2 to 6 pixels early (docs/method.md, Masks); wider hides small scars.
    # 100, 1 km: wider than any rim of a cloud.
    dilate_px: Annotated[int, Bounds(ge=0, le=100, noun="a whole number of pixels")] = 3
    """Rim around cloud and cloud shadow that is masked too, pixels of 10 m."""
    apply: Literal["output", "input"] = "output"
    """`output`: the network sees what is under the mask; `input`: it sees the fill value."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if NONE in self.names and len(self.names) > 1:
            raise ValueError(f"source: found {NONE!r} beside others, expected it alone")

    @property
    def names(self) -> tuple[str, ...]:
        """What `source` names, in order."""
        return (self.source,) if isinstance(self.source, str) else tuple(self.source)

    @property
    def needs_classes(self) -> bool:
        """Whether every item must have scene classes."""
        return "scl" in self.names and bool(self.scl)

    @property
    def masked_classes(self) -> tuple[str, ...]:
        """Scene classes that are masked; none where `scl` is no source."""
        return self.scl if "scl" in self.names else ()
