"""Images in model units -> what their values are like: the statistics that a model item carries.

They describe what a network was trained on, so that other pixels can be compared with it. They
decide no pixel: a model is the same model without them.

See also: `slips.py` (which mistake two statistics reveal), `lspipe.inference.familiarity` (a run's
pixels compared with those of training).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.models.section import REQUIRED, Section, is_finite, nearest, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

PERCENTILES = {"p01": 1, "p50": 50, "p99": 99}
"""Fields, and the percentiles that they are.

A cloud does not move the median. Hardly any sound pixel lies outside of the 1st and 99th, and the
single saturated pixel that makes a minimum or maximum does not move them."""

PER_CHANNEL = ("mean", "std", *PERCENTILES)

MOST_KEPT = 2**20
"""Pixels that percentiles are taken of, 4 bytes per channel each; of more, a fair sample is drawn.
The 1st percentile is then uncertain by about 0.01 of a percentage point."""

DIGITS = 6
"""Significant digits that are kept: float32 has seven."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What observed pixels are like, channel by channel, in model units.

    Every tuple has one value per channel, in the order of the network.

    Raises:
        ValueError: no pixels, other numbers of values, values that are not finite, a standard
            deviation below 0, or percentiles that are not in order.
    """

    pixels: int
    """How many pixels were counted."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Standard deviation, of the whole: divided by the number of pixels."""
    p01: tuple[float, ...]
    """1st percentile: below it lies one pixel of a hundred."""
    p50: tuple[float, ...]
    """Median."""
    p99: tuple[float, ...]
    """99th percentile."""

    def __post_init__(self) -> None:
        if self.pixels < 1:
            raise ValueError(f"pixels: found {self.pixels}: expected at least 1")
        if not self.channels:
            raise ValueError("mean: found no channel: expected at least one")
        for name in PER_CHANNEL:
            if not _are_finite(values := getattr(self, name), self.channels):
                raise ValueError(
                    f"{name}: found {short(list(values))}: expected {self.channels} finite numbers"
                )
        if min(self.std) < 0:
            raise ValueError(f"std: found {min(self.std):g}: expected 0 or more")
        for channel, ordered in enumerate(zip(self.p01, self.p50, self.p99, strict=True), start=1):
            if list(ordered) != sorted(ordered):
                raise ValueError(
                    f"channel {channel}: found p01, p50 and p99 of {ordered}: expected them to grow"
                )

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return len(self.mean)

    @classmethod
    def of(cls, images: Iterable[NDArray[Any]]) -> Statistics:
        """Count images, one after the other, in memory that does not grow with their number.

        A pixel counts where every channel has data. Mean and standard deviation are of all pixels;
        percentiles of all, or of `MOST_KEPT` drawn at random, the same ones every time.

        Args:
            images: (N, C, y, x) float, model units, NaN = no data; or any images (C, y, x) in turn,
                which may differ in height and width.

        Raises:
            ValueError: nothing was observed, images of other channels, or infinite values.
        """
        counted = _Counted()
        for image in images:
            counted.add(np.asarray(image))
        return counted.statistics()

    def as_json(self) -> dict[str, Any]:
        """Return plain values: what `from_json` reads."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, section: Section, channels: int) -> Statistics:
        """Read statistics from the object of a model item.

        Args:
            section: the object.
            channels: how many channels the network has.

        Raises:
            ModelError: a key is missing, unknown or of other values; names the file and the key.
        """
        known = ("pixels", *PER_CHANNEL)
        for key in section.values:
            if key not in known:
                raise section.error(key, f"unknown key{nearest(key, known)}")
        values: dict[str, Any] = {
            "pixels": section.get("pixels", int, "a number of pixels", REQUIRED)
        }
        expected = f"{channels} finite numbers, one per channel"
        for key in PER_CHANNEL:
            found = section.get(key, list, expected, REQUIRED)
            if not _are_finite(found, channels):
                raise section.error(key, f"found {short(found)}: expected {expected}")
            values[key] = tuple(map(float, found))
        try:
            return cls(**values)
        except ValueError as error:
            raise section.error("", str(error)) from error


def _are_finite(values: Sequence[Any], count: int) -> bool:
    return len(values) == count and all(map(is_finite, values))


class _Counted:
    """Sums over the pixels so far, and a fair sample of them."""

    def __init__(self) -> None:
        self.pixels = 0
        # Distances from the first pixel are summed: of a high plateau, sums of squares of the
        # values themselves would keep too few digits.
        self.origin: Any = None
        self.total: Any = 0.0
        self.squares: Any = 0.0
        self.kept: list[NDArray[np.float32]] = []
        self.share = 1.0
        self.random = np.random.default_rng(0)

    def add(self, image: NDArray[Any]) -> None:
        """Count an image (C, y, x)."""
        if image.ndim != 3:
            raise ValueError(f"an image of shape {image.shape}: expected (channel, y, x)")
        if self.pixels and len(image) != len(self.origin):
            raise ValueError(
                f"an image of {len(image)} channels after others of {len(self.origin)}"
            )
        values = image.reshape(len(image), -1).T
        values = values[~np.isnan(values).any(axis=1)]
        if not np.isfinite(values).all():
            raise ValueError("an image with infinite values: expected NaN where there is no data")
        if not len(values):
            return
        if not self.pixels:
            self.origin = values[0].astype(np.float64)
        away = values - self.origin
        self.pixels += len(values)
        self.total = self.total + away.sum(axis=0)
        self.squares = self.squares + (away**2).sum(axis=0)
        self._keep(values.astype(np.float32))

    def _keep(self, values: NDArray[np.float32]) -> None:
        """Draw from more pixels (n, C); where too many are kept, every second one goes, by lot."""
        # By lot, not by step: a step that divides the width of an image would draw one column.
        drawn = values if self.share == 1 else values[self.random.random(len(values)) < self.share]
        self.kept.append(drawn)
        while sum(map(len, self.kept)) > MOST_KEPT:
            self.share /= 2
            self.kept = [some[self.random.random(len(some)) < 0.5] for some in self.kept]

    def statistics(self) -> Statistics:
        """Return what was counted."""
        if not self.pixels:
            raise ValueError("found no pixel with data in every channel: expected at least one")
        sample, mean = np.concatenate(self.kept), self.total / self.pixels
        variance = np.maximum(self.squares / self.pixels - mean**2, 0)
        found = {"mean": self.origin + mean, "std": np.sqrt(variance)}
        # One channel after the other, for memory.
        for name, rank in PERCENTILES.items():
            found[name] = np.array([np.percentile(channel, rank) for channel in sample.T])
        rounded: dict[str, Any] = {
            name: tuple(float(f"{value:.{DIGITS}g}") for value in values)
            for name, values in found.items()
        }
        return Statistics(pixels=self.pixels, **rounded)
