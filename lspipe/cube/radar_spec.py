"""Where backscatter of Sentinel-1 comes from: the section `radar:` of a workflow."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from lspipe.search.dates import DateRange
from lspipe.spec import Bounds, Named, Spec

COLLECTIONS = ("sentinel-1-rtc",)
"""Collections of terrain-corrected Sentinel-1 in the known catalogues; an editor completes them."""

Collection = Annotated[str, Named(COLLECTIONS, "another collection, or a path to items")]

_COLLECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_UNCORRECTED = re.compile(r"(?:^|[^a-z])(grd|slc|ocn|raw)(?:[^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class RadarSpec(Spec):
    """VV of Sentinel-1 before and after: channels of models, evidence where optics is blind."""

    collection: Collection | None = None
    """`sentinel-1-rtc` or another collection of the catalogue of `search:`, or a path to items (a
    name with a dot or a slash), relative to the workflow file; null = the run reads no radar."""
    orbit: Literal["auto", "ascending", "descending"] = "auto"
    """Passes to take: `auto` = both, the one with the most acquisitions on both sides first, which
    is the one that a model sees; else only those of this direction."""
    before: DateRange | None = None
    """Days of the side before; null = those of `dates:`."""
    after: DateRange | None = None
    """Days of the side after; null = those of `dates:`."""
    change_db: Annotated[float, Bounds(gt=0, le=30, noun="decibels")] = 3.0
    """Where optics was blind, a pixel counts as changed beyond this many decibels from the median
    change of its tile; 3 = twice or half of the power."""
    flat_deg: Annotated[float, Bounds(ge=0, lt=90, noun="degrees")] = 5.0
    """There, ground that is known to be less steep counts for nothing; needs `terrain:`."""
    dense_share: Annotated[float, Bounds(gt=0, lt=1, noun="a share")] = 0.2
    """Cells of 500 m of which more than this share changed are listed in `radar_cells`."""

    def __post_init__(self) -> None:
        """Refuse keys without a collection, products that cannot be compared, and shared days."""
        super().__post_init__()
        for field in fields(self):
            if self.collection is None and getattr(self, field.name) != field.default:
                raise ValueError(f"found {field.name} without collection, expected both")
        if self.is_collection and (named := _UNCORRECTED.search(self.collection or "")):
            raise ValueError(
                f"found collection {self.collection!r}: {named[1].upper()} has no terrain "
                "correction, expected RTC (gamma0), such as sentinel-1-rtc of planetary-computer"
            )
        one, other = self.before, self.after
        if one and other and one.start <= other.end and other.start <= one.end:
            raise ValueError(
                f"found before ({one}) overlapping after ({other}), expected ranges without a "
                "common day"
            )

    @property
    def is_collection(self) -> bool:
        """Whether `collection` names one of the catalogue, and no path."""
        return self.collection is not None and _COLLECTION.fullmatch(self.collection) is not None
