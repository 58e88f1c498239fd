"""When a pixel, and then an object, counts as new; the section `change:` of a workflow."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

Method = Literal["hysteresis", "subtract"]


@dataclass(frozen=True, kw_only=True)
class ChangeSpec:
    """When a pixel, and then an object, counts as new.

    Every rule has its mirror, so that swapping the dates turns `new` into `vanished`.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "use_attribute_docstrings": True,
    }

    method: Method = "hysteresis"
    """`subtract` is the paper's binary difference: no `before_below`, no `tolerance_px`."""
    threshold: float | None = None
    """A pixel is landslide where its probability is above this, 0..1; None = the model item's."""
    before_below: float = 0.3
    """A pixel can only start a new object where the date before was at or below this, 0..1.
    Values above `threshold` mean the same as `threshold`."""
    tolerance_px: int = 1
    """A new object must reach farther than this from everything seen before, pixels: the
    mis-registration of two dates must not look like a landslide."""
    min_gain: float | None = None
    """Every pixel of a new object must have gained at least this much probability, 0..1."""
    min_area_m2: float = 900.0
    """Smallest object listed, square metres, counted after joining over blocks and tiles."""

    def __post_init__(self) -> None:
        for name in ("threshold", "before_below", "min_gain"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} {value}: expected a probability between 0 and 1")
        if self.tolerance_px < 0:
            raise ValueError(f"tolerance_px {self.tolerance_px}: expected 0 or more pixels")
        if not 0 <= self.min_area_m2 < math.inf:  # NaN is in no range
            raise ValueError(f"min_area_m2 {self.min_area_m2}: expected 0 or more square metres")
        if self.method not in {"hysteresis", "subtract"}:
            raise ValueError(f"method {self.method!r}: expected 'hysteresis' or 'subtract'")

    @property
    def limit(self) -> float:
        """The threshold, or 0.5 (paper 000) where neither the workflow nor a model gives one."""
        return 0.5 if self.threshold is None else self.threshold

    def attrs(self) -> dict[str, Any]:
        """Return the attributes of a change Dataset, which `delineate` reads the rules from.

        `subtract` is written as what it equals: `before_below` = `threshold` and tolerance 0.
        """
        rules = {k: v for k, v in asdict(self).items() if v is not None and k != "min_area_m2"}
        if self.method == "subtract":
            rules |= {"before_below": self.limit, "tolerance_px": 0}
        return rules
