"""Several acquisitions -> one: for each pixel the median of its unmasked values."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.cube.kernels import of_blocks
from lspipe.cube.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lspipe.cube.kernels import Layers


def median(scenes: Sequence[Scene]) -> Scene:
    """Take the median of the unmasked values of every pixel, per band.

    For an even number of values, the mean of the middle two, rounded half to even. Scene classes
    come from the first unmasked acquisition, the day is the lower median. Where every acquisition
    is masked, the first one is taken. All acquisitions of a chunk are in memory at once:
    acquisitions x pixels x 2 bytes for each band.

    Args:
        scenes: in order of time.
    """
    quality = [scene.quality for scene in scenes]
    count = len(scenes)
    disputed = [scene.disputed for scene in scenes if scene.disputed is not None]

    def over(layers: Sequence[Layers], kernel: Any, dtype: Any) -> Layers:
        return of_blocks(partial(kernel, count=count), *layers, *quality, dtype=dtype)

    return Scene(
        bands=over([scene.bands for scene in scenes], _median_values, np.int16),
        quality=over(quality, _first_clear, np.uint8),
        scl=over([scene.scl for scene in scenes], _first_clear, np.uint8),
        acquired=over([scene.acquired for scene in scenes], _median_days, np.uint16),
        disputed=over(disputed, _first_clear, np.uint8) if len(disputed) == count else None,
    )


def lower_median(layers: NDArray[Any], clear: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the lower median of the clear values of each pixel: a value that was there.

    Args:
        layers: integers (time, y, x), below the largest number of their type where clear.
        clear: bool (time, y, x).

    Returns:
        (y, x) of the same dtype; its largest number where no layer is clear.

    Example:
        >>> layers = np.array([[[7, 7]], [[3, 3]], [[5, 5]]], np.uint8)
        >>> clear = np.array([[[True, False]], [[True, False]], [[False, False]]])
        >>> lower_median(layers, clear)
        array([[  3, 255]], dtype=uint8)
    """
    values, count = _sorted_clear(layers, clear)
    return _pick(values, np.maximum(count - 1, 0) // 2)


def _sorted_clear(
    layers: NDArray[Any], clear: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Sort the clear values of each pixel to the front; return them and their number."""
    # The largest number of the type is no value of any layer, so it sorts behind all.
    values = np.where(clear, layers, np.iinfo(layers.dtype).max)
    values.sort(axis=0)
    return values, clear.sum(axis=0)


def _pick(values: NDArray[Any], index: NDArray[np.intp]) -> NDArray[Any]:
    picked: NDArray[Any] = np.take_along_axis(values, index[None], axis=0)[0]
    return picked


def _median_values(*arrays: NDArray[Any], count: int) -> NDArray[np.int16]:
    """Return the medians (band, y, x) of `count` arrays of bands, by as many of quality (y, x)."""
    clear = np.stack(arrays[count:]) == 0
    found = np.empty(arrays[0].shape, np.int16)
    for band, layer in enumerate(found):  # band by band: what is sorted takes memory
        layers = np.stack([one[band] for one in arrays[:count]])
        values, seen = _sorted_clear(layers, clear)
        low = _pick(values, np.maximum(seen - 1, 0) // 2)
        high = _pick(values, seen // 2)
        median = np.rint((low.astype(np.float32) + high) / 2).astype(np.int16)
        layer[:] = np.where(seen == 0, layers[0], median)
    return found


def _median_days(*arrays: NDArray[Any], count: int) -> NDArray[np.uint16]:
    clear = np.stack(arrays[count:]) == 0
    median = lower_median(np.stack(arrays[:count]), clear)
    return np.where(clear.any(axis=0), median, arrays[0])


def _first_clear(*arrays: NDArray[Any], count: int) -> NDArray[np.uint8]:
    """Return the value of the first unmasked layer, else that of the first."""
    first = np.argmax(np.stack(arrays[count:]) == 0, axis=0)
    return _pick(np.stack(arrays[:count]), first)
