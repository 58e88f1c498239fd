"""The pixels of a block to batches of windows in the units of a network.

On a CPU the pixels keep their dtype (mostly int16) and their place in memory; only the windows of
one batch become float32. A GPU gets the block once, as int16, and keeps it in model units, so that
a batch is cut by one kernel. Statistics are those of one window or of the whole tile, on observed
pixels only, never those of a block: a pixel must not depend on how the tile is cut into blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lspipe.inference import cut_and_add
from lspipe.schema import CUBE_NODATA, steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from lspipe.inference.cut_and_add import CutAndAdd
    from lspipe.inference.runtimes import Runtime
    from lspipe.models.item import Scaling

WINDOW_KINDS = ("window-minmax", "window-minmax-all", "window-max")
"""Kinds that look at the pixels of each window, and so must know which were observed."""

_STRIP = 256
"""Rows that become model units at a time, where a whole block does: temporaries stay small."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The layers that the batches of a block are cut from, on the device of the network."""

    pixels: torch.Tensor
    """(band, y, x): int16 or a float; float32 in model units if `is_ready`."""
    observed: torch.Tensor | None
    """bool (1, y, x); None where the scaling does not need it."""
    hidden: torch.Tensor | None
    """bool (1, y, x), pixels that get the fill value in every band; None = none."""
    has_gaps: bool
    """Whether any channel of any pixel has no data; checking every batch would cost 1 %."""
    window: int
    scaling: Scaling
    fill: torch.Tensor
    """float32 (band or 1, 1, 1), model units."""
    tile_range: torch.Tensor | None
    """float32 (band, 2), see `scale`."""
    steps: torch.Tensor
    """float32 (band or 1, 1, 1), physical value of one step of int16 pixels."""
    method: CutAndAdd
    """How windows are cut."""
    is_ready: bool = False
    """Whether the pixels are in model units already."""

    @classmethod
    def of(
        cls,
        pixels: NDArray[Any],
        *,
        observed: NDArray[np.bool_],
        hidden: NDArray[np.bool_] | None,
        has_gaps: bool,
        window: int,
        runtime: Runtime,
        scaling: Scaling,
        tile_range: ArrayLike | None,
    ) -> Inputs:
        """Put a block on the device of the network; on the CPU nothing is copied.

        Args:
            pixels: (band, y, x), int16 (code = value / step, -32768 = no data) or a float (NaN).
            observed: bool (y, x).
            hidden: bool (y, x), True = the network gets the fill value here; None = nowhere.
            has_gaps: whether any band of any pixel has no data.
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
        inputs = cls(
            pixels=_tensor(pixels, place),
            observed=_tensor(observed[None], place) if scaling.kind in WINDOW_KINDS else None,
            hidden=None if hidden is None else _tensor(hidden[None], place),
            has_gaps=has_gaps,
            window=window,
            scaling=scaling,
            fill=_tensor(fill, place).reshape(-1, 1, 1),
            tile_range=None if known is None else _tensor(known, place),
            steps=_tensor(steps_of(runtime.bands), place).reshape(-1, 1, 1),
            method=cut_and_add.OF_DEVICE[place.type],
        )
        return inputs if inputs.method is cut_and_add.BY_SLICES else inputs._settled()

    def cut(self, corners: torch.Tensor, view: int) -> torch.Tensor:
        """Cut windows out and turn them into model units.

        Args:
            corners: int64 (N, 2), row and column in `pixels` of each window's first pixel.
            view: element of D4 that the windows are turned by.

        Returns:
            float32 (N, C, w, w), new memory: a network may work in place.
        """
        windows = self._cut(self.pixels, corners, view)
        if self.is_ready:
            return windows
        observed, hidden = (
            None if layer is None else self._cut(layer, corners, view)
            for layer in (self.observed, self.hidden)
        )
        return self._model_units(windows, observed, hidden)

    def _cut(self, image: torch.Tensor, corners: torch.Tensor, view: int) -> torch.Tensor:
        return self.method.cut(image, corners, self.window, view)

    def _model_units(
        self, raw: torch.Tensor, observed: torch.Tensor | None, hidden: torch.Tensor | None
    ) -> torch.Tensor:
        """Pixels (N, C, y, x) in model units, fill where a channel has no data."""
        missing = _missing(raw) if self.has_gaps else None
        if hidden is not None:
            missing = hidden if missing is None else missing | hidden
        scaled = _scaled(
            raw, self.scaling, observed=observed, tile_range=self.tile_range, steps=self.steps
        )
        return scaled if missing is None else torch.where(missing, self.fill, scaled)

    def _settled(self) -> Inputs:
        """Lay the block out for cutting by index, and scale it unless each window has its scale."""
        if self.scaling.kind in WINDOW_KINDS:
            return replace(self, pixels=cut_and_add.channels_last(self.pixels))
        bands, height, width = self.pixels.shape
        # The channels of a pixel side by side, as in `cut_and_add.channels_last`.
        ready = self.fill.new_empty((height, width, bands)).permute(2, 0, 1)
        for first in range(0, height, _STRIP):
            rows = slice(first, first + _STRIP)
            hidden = None if self.hidden is None else self.hidden[None, :, rows]
            ready[:, rows] = self._model_units(self.pixels[None, :, rows], None, hidden)[0]
        return replace(self, pixels=ready, hidden=None, is_ready=True)


def page_locked(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels in memory that a GPU copies by itself; the same array where none computes.

    For whoever has the pixels of a block before its turn comes: the copy to the GPU then is several
    times as fast, and nothing waits for it.

    Example:
        >>> pixels = np.zeros((4, 8, 8), np.int16)
        >>> page_locked(pixels) is pixels or torch.cuda.is_initialized()
        True
    """
    # Not where a GPU is merely there: a worker that only reads is to leave it alone.
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return pixels
    try:
        locked: NDArray[Any] = _tensor(pixels, torch.device("cpu")).pin_memory().numpy()
    except RuntimeError:  # the system locks no more memory; the copy is slower
        return pixels
    return locked


def to_model_units(
    pixels: NDArray[Any],
    scaling: Scaling,
    *,
    observed: NDArray[np.bool_],
    hidden: NDArray[np.bool_] | None = None,
    tile_range: ArrayLike | None = None,
    bands: Sequence[str] | None = None,
) -> NDArray[np.float32]:
    """Turn one window into model units, as a run does, but with NaN instead of the fill value.

    Args:
        pixels: (band, y, x), int16 (code = value / step, -32768 = no data) or a float (NaN).
        scaling: of the model item.
        observed: bool (y, x), at least one True for the kinds "window-...".
        hidden: bool (y, x), True = the network gets the fill value here; None = nowhere.
        tile_range: (band, 2), see `scale`.
        bands: channels, for the steps of int16 (`schema.CHANNELS`); None = reflectance.

    Returns:
        float32 (band, y, x).

    Raises:
        ValueError: the scaling needs `tile_range`, which is None.
    """
    here = torch.device("cpu")
    raw = _tensor(pixels, here)[None]
    missing = _missing(raw)
    if hidden is not None:
        missing = missing | _tensor(hidden, here)
    known = None if tile_range is None else torch.tensor(np.asarray(tile_range, np.float32))
    seen = _tensor(observed, here)[None, None]
    steps = _tensor(steps_of(bands), here).reshape(-1, 1, 1)
    scaled = _scaled(raw, scaling, observed=seen, tile_range=known, steps=steps)
    units: NDArray[np.float32] = torch.where(missing, torch.nan, scaled)[0].numpy()
    return units


def model_units(
    pixels: NDArray[Any],
    scaling: Scaling,
    *,
    observed: NDArray[np.bool_] | None = None,
    tile_range: ArrayLike | None = None,
    bands: Sequence[str] | None = None,
) -> NDArray[np.float32]:
    """Turn pixels into the units of a network, for statistics and not for prediction.

    Args:
        pixels: (N, C, y, x), int16 (code = value / step) or a float. No data is not replaced by the
            fill value here: the caller leaves such pixels out.
        scaling: of the model item.
        observed: bool (N, 1, y, x), see `scale`.
        tile_range: (C, 2), see `scale`.
        bands: channels, for their steps (`schema.CHANNELS`); None = reflectance.

    Returns:
        float32 (N, C, y, x), model units.
    """
    here = torch.device("cpu")
    scaled: NDArray[np.float32] = _scaled(
        _tensor(pixels, here),
        scaling,
        observed=None if observed is None else _tensor(observed, here),
        tile_range=None if tile_range is None else torch.tensor(tile_range, dtype=torch.float32),
        steps=_tensor(steps_of(bands), here).reshape(-1, 1, 1),
    ).numpy()
    return scaled


def _scaled(
    raw: torch.Tensor,
    scaling: Scaling,
    *,
    observed: torch.Tensor | None,
    tile_range: torch.Tensor | None,
    steps: torch.Tensor,
) -> torch.Tensor:
    """Return pixels (N, C, y, x), int16 or a float, in model units; no data is undefined."""
    values = raw.to(torch.float32)
    if raw.dtype == torch.int16:
        values *= steps
    return scale(values, scaling, observed=observed, tile_range=tile_range)


def _missing(pixels: Any) -> Any:
    """Return True where a channel of an array or a tensor has no data."""
    # Only NaN is not equal to itself.
    is_reflectance = pixels.dtype in (np.int16, torch.int16)
    return pixels == CUBE_NODATA if is_reflectance else pixels != pixels  # noqa: PLR0124


def scale(
    values: torch.Tensor,
    scaling: Scaling,
    *,
    observed: torch.Tensor | None = None,
    tile_range: torch.Tensor | None = None,
) -> torch.Tensor:
    """Turn a batch of windows into model units.

    Pixels that were not observed are scaled like the others but count in no statistic, so masked
    pixels may end outside 0..1. The min-max kinds turn a window (or tile) of a single value into
    0; a window whose maximum is not positive is divided by 1.

    Args:
        values: float32 (N, C, w, w), reflectance; any number where a channel has no data.
        scaling: of the model item.
        observed: bool (N, 1, w, w), at least one True per window; for the kinds "window-...".
        tile_range: float32 (C, 2), lowest and highest observed reflectance of the tile, per band;
            for "tile-minmax".

    Returns:
        float32 (N, C, w, w), model units.

    Raises:
        ValueError: the kind needs `observed` or `tile_range`, which is None.

    Source: docs/numerics.md, Scaling.
    """
    if scaling.kind == "identity":
        return values
    if scaling.kind == "affine":
        scaled = values * _per_band(scaling.scale, values) + _per_band(scaling.offset, values)
        return scaled if scaling.clip is None else scaled.clamp(*scaling.clip)
    if scaling.kind == "tile-minmax":
        if tile_range is None:
            raise ValueError("scaling 'tile-minmax' needs tile_range, the range of the whole tile")
        low, high = tile_range.reshape(-1, 2, 1, 1).unbind(1)
        return _stretch(values, low, high)
    if observed is None:
        raise ValueError(
            f"scaling {scaling.kind!r} needs `observed`, the pixels that were observed"
        )
    if scaling.scale:
        values = values * _per_band(scaling.scale, values)
    # Per band, or over all bands of the window.
    axes = (2, 3) if scaling.kind == "window-minmax" else (1, 2, 3)
    high = torch.where(observed, values, -torch.inf).amax(axes, keepdim=True)
    if scaling.kind == "window-max":
        return values / torch.where(high > 0, high, 1)
    low = torch.where(observed, values, torch.inf).amin(axes, keepdim=True)
    return _stretch(values, low, high)


def _per_band(numbers: tuple[float, ...], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(numbers, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)


def _stretch(values: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    extent = high - low
    return (values - low) / torch.where(extent > 0, extent, 1)


def _tensor(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return the array as a tensor on the device; on a CPU it shares memory where torch can.

    torch warns about read-only arrays, which dask makes, and refuses negative strides.
    """
    if not array.flags.writeable or min(array.strides, default=0) < 0:
        array = array.copy()
    tensor = torch.from_numpy(array)
    # From page-locked memory a GPU copies by itself; the block outlives the copy.
    return tensor.to(device, non_blocking=device.type == "cuda" and tensor.is_pinned())
