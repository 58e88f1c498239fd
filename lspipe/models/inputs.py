"""The pixels of a block to batches of windows in the units of a network.

Pixels stay what they are (int16, mostly) and where they are; only the windows of one batch become
float32. Statistics are taken of one window or of the whole tile, on observed pixels only, and never
of a block: a pixel must not change with the way a tile is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lspipe.schema import CUBE_NODATA, REFLECTANCE_SCALE

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from lspipe.models.item import Scaling
    from lspipe.models.runtimes import Runtime

_WINDOW_KINDS = ("window-minmax", "window-minmax-all", "window-max")
"""Kinds that look at the pixels of each window, and so must know which were observed."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What every batch of a block is cut from, on the device of the network."""

    pixels: torch.Tensor
    """(band, y, x), int16 or a float."""
    observed: torch.Tensor | None
    """bool (1, y, x); None where the scaling does not ask."""
    hidden: torch.Tensor | None
    """bool (1, y, x), pixels that get the fill value in every band; None = none."""
    origin: tuple[int, int]
    """Row and column of pixels[:, 0, 0] in the tile."""
    window: int
    scaling: Scaling
    fill: torch.Tensor
    """float32 (band or 1, 1, 1), model units."""
    tile_range: torch.Tensor | None
    """float32 (band, 2), see `scale`."""

    @classmethod
    def of(
        cls,
        pixels: NDArray[Any],
        *,
        observed: NDArray[np.bool_],
        hidden: NDArray[np.bool_] | None,
        origin: tuple[int, int],
        window: int,
        runtime: Runtime,
        scaling: Scaling,
        tile_range: ArrayLike | None,
    ) -> Inputs:
        """Put a block on the device of the network; on the CPU nothing is copied.

        Args:
            pixels: (band, y, x), int16 (reflectance x 1e4, -32768 = no data) or a float (NaN).
            observed: bool (y, x).
            hidden: bool (y, x), True = the network must not see this pixel; None = it sees all.
            origin: row and column of pixels[:, 0, 0] in the tile.
            window: edge of a window, pixels.
            runtime: whose device, bands and fill to use.
            scaling: pixels to model units.
            tile_range: (band, 2), see `scale`.

        Raises:
            ValueError: bands, fill or range that do not fit the pixels.
        """
        bands, place = len(pixels), runtime.device
        fill = np.atleast_1d(np.asarray(runtime.fill, np.float32))
        known = None if tile_range is None else np.asarray(tile_range, np.float32)
        if runtime.bands is not None and len(runtime.bands) != bands:
            raise ValueError(f"found {bands} bands, expected {', '.join(runtime.bands)}")
        if len(fill) not in {1, bands}:
            raise ValueError(f"found {len(fill)} fill values, expected 1 or {bands}, the bands")
        if known is not None and known.shape != (bands, 2):
            raise ValueError(f"tile_range has shape {known.shape}: expected ({bands}, 2)")
        return cls(
            pixels=_tensor(pixels, place),
            observed=_tensor(observed[None], place) if scaling.kind in _WINDOW_KINDS else None,
            hidden=None if hidden is None else _tensor(hidden[None], place),
            origin=origin,
            window=window,
            scaling=scaling,
            fill=_tensor(fill, place).reshape(-1, 1, 1),
            tile_range=None if known is None else _tensor(known, place),
        )

    def cut(self, starts: NDArray[np.int64]) -> torch.Tensor:
        """Cut windows out and turn them into model units.

        Args:
            starts: (N, 2), row and column in the tile of each window's first pixel.

        Returns:
            float32 (N, C, w, w) on the device; fill where a channel has no data.
        """
        corners = (starts - self.origin).tolist()
        raw = self._windows(self.pixels, corners)
        observed = None if self.observed is None else self._windows(self.observed, corners)
        values = raw.to(torch.float32)
        if raw.dtype == torch.int16:
            missing = raw == CUBE_NODATA
            values *= REFLECTANCE_SCALE
        else:
            missing = raw.isnan()
        if self.hidden is not None:
            missing |= self._windows(self.hidden, corners)
        scaled = scale(values, self.scaling, observed=observed, tile_range=self.tile_range)
        return torch.where(missing, self.fill, scaled)

    def _windows(self, image: torch.Tensor, corners: list[list[int]]) -> torch.Tensor:
        """Windows of an image (C, y, x) as a new tensor (N, C, w, w)."""
        size = self.window
        # Copied slice by slice: a third of the time of a gather by index, on a CPU.
        return torch.stack(
            [image[:, row : row + size, column : column + size] for row, column in corners]
        )


def scale(
    values: torch.Tensor,
    scaling: Scaling,
    *,
    observed: torch.Tensor | None = None,
    tile_range: torch.Tensor | None = None,
) -> torch.Tensor:
    """Turn a batch of windows into model units.

    Pixels that were not observed are scaled like the others but count in no statistic, so masked
    ones may leave 0..1. A window (or tile) of one value becomes 0 by the min-max kinds; one whose
    maximum is not positive is divided by 1.

    Args:
        values: float32 (N, C, w, w), reflectance; anything where a channel has no data.
        scaling: what the model item says.
        observed: bool (N, 1, w, w), at least one True per window; for the kinds "window-...".
        tile_range: float32 (C, 2), lowest and highest observed reflectance of the tile, per band;
            for "tile-minmax".

    Returns:
        float32 (N, C, w, w), model units.

    Raises:
        ValueError: the kind needs `observed` or `tile_range` and did not get it.

    Source: SCIENCE 2.1.
    """
    if scaling.kind == "identity":
        return values
    if scaling.kind == "affine":
        factor, summand = (
            torch.tensor(numbers, dtype=values.dtype, device=values.device).reshape(-1, 1, 1)
            for numbers in (scaling.scale, scaling.offset)
        )
        scaled = values * factor + summand
        return scaled if scaling.clip is None else scaled.clamp(*scaling.clip)
    if scaling.kind == "tile-minmax":
        if tile_range is None:
            raise ValueError("scaling 'tile-minmax' needs tile_range, the range of the whole tile")
        low, high = tile_range.reshape(-1, 2, 1, 1).unbind(1)
        return _stretch(values, low, high)
    if observed is None:
        raise ValueError(f"scaling {scaling.kind!r} needs to know which pixels were observed")
    # Per band, or over all bands of the window.
    axes = (2, 3) if scaling.kind == "window-minmax" else (1, 2, 3)
    high = torch.where(observed, values, -torch.inf).amax(axes, keepdim=True)
    if scaling.kind == "window-max":
        return values / torch.where(high > 0, high, 1)
    low = torch.where(observed, values, torch.inf).amin(axes, keepdim=True)
    return _stretch(values, low, high)


def _stretch(values: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    extent = high - low
    return (values - low) / torch.where(extent > 0, extent, 1)


def _tensor(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array as a tensor on the device, sharing its memory on a CPU where torch can.

    torch warns of read-only arrays, which dask hands out, and refuses negative strides.
    """
    if not array.flags.writeable or min(array.strides, default=0) < 0:
        array = array.copy()
    return torch.from_numpy(array).to(device)
