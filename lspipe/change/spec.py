"""When a pixel, and then an object, counts as new; the section `change:` of a workflow."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from lspipe.spec import Bounds, Probability, Spec

Method = Literal["hysteresis", "subtract"]
Registering = Literal["auto", "none"]
Listing = Literal["all", "new"]

OF_A_RUN = frozenset({"register", "min_area_m2", "list"})
"""Keys that decide nothing about a pixel of two given maps."""


@dataclass(frozen=True, kw_only=True)
class ChangeSpec(Spec):
    """When a pixel, and then an object, counts as new.

    Every rule has its mirror, so that swapping the dates turns `new` into `vanished`.
    """

    method: Method = "hysteresis"
    """`subtract` is the paper's binary difference: no `before_below`, no `tolerance_px`."""
    threshold: Probability | None = None
    """A pixel is landslide where its probability is above this; None = the model item's."""
    before_below: Probability = 0.3
    """A pixel can only start a new object where the date before was at or below this.
    Values above `threshold` mean the same as `threshold`."""
    tolerance_px: Annotated[int, Bounds(ge=0, noun="a whole number of pixels")] = 1
    """A new object must reach farther than this from everything seen before, pixels: the
    mis-registration of two dates must not look like a landslide."""
    min_gain: Probability | None = None
    """Every pixel of a new object must have gained at least this much probability."""
    register: Registering = "auto"
    """`auto` measures how far the two dates of a tile lie apart; beyond 0.3 pixels the map of the
    later one is moved, beyond 2 the tile is not compared. `none` compares the maps as they
    are."""
    min_area_m2: Annotated[float, Bounds(ge=0, noun="square metres")] = 900.0
    """Smallest object listed, square metres, counted after joining over blocks and tiles."""
    list: Listing = "all"
    """`new` computes the date before only where it can matter to a new object: about half the work.
    `new`, `grown` and what may be either under a cloud are listed as ever; `vanished` and
    `persistent` are not looked for."""

    @property
    def lists_only_new(self) -> bool:
        """Whether the date before is computed only where it can matter to a new object."""
        return self.list == "new"

    @property
    def limit(self) -> float:
        """The threshold, or 0.5 (paper 000) where neither the workflow nor a model gives one."""
        return 0.5 if self.threshold is None else self.threshold

    def attrs(self) -> dict[str, Any]:
        """Return the attributes of a change Dataset, which `delineate` reads the rules from.

        `subtract` is written as what it equals: `before_below` = `threshold` and tolerance 0.
        """
        rules = {k: v for k, v in asdict(self).items() if v is not None and k not in OF_A_RUN}
        if self.method == "subtract":
            rules |= {"before_below": self.limit, "tolerance_px": 0}
        return rules
