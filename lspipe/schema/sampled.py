"""A random part of a list, and what a person decided about it -> what that says of the whole list.

See also: `evaluate/sample.py`, which draws it.

Source: the interval of a share, Wilson 1927, recommended for small counts by Brown, Cai and
DasGupta 2001.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_Z = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Sample:
    """A sample of the new landslides of a list, and what was decided about it."""

    drawn: int
    of: int
    """Landslides in the list when it was drawn."""
    seed: int
    true: int = 0
    false: int = 0
    unsure: int = 0
    gone: int = 0
    """Drawn rows that the list does not have any more."""

    @property
    def left(self) -> int:
        """Rows of the sample without a decision."""
        return self.drawn - self.true - self.false - self.unsure - self.gone

    @property
    def precision(self) -> float | None:
        """Share of landslides among those that were decided true or false."""
        decided = self.true + self.false
        return self.true / decided if decided else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the precision of the whole list (Wilson); None of nothing decided."""
        return wilson(self.true, self.true + self.false)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "drawn": self.drawn, "of": self.of, "seed": self.seed, "true": self.true,
            "false": self.false, "unsure": self.unsure, "gone": self.gone, "left": self.left,
            "precision": self.precision, "interval": self.interval,
        }  # fmt: skip


def wilson(count: int, of: int) -> tuple[float, float] | None:
    """Return the 95 % interval of a share by Wilson's score; None of nothing.

    Args:
        count: how many have the property.
        of: how many there are.

    Examples:
        >>> low, high = wilson(14, 15)
        >>> round(low, 3), round(high, 3)
        (0.702, 0.988)
    """
    if of == 0:
        return None
    share, z2 = count / of, _Z * _Z / of
    middle = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(share * (1 - share) * z2 + z2 * z2 / 4) / (1 + z2)
    # At no and at all, rounding would leave an end a hair beyond 0 or 1.
    return max(0.0, middle - half), min(1.0, middle + half)
