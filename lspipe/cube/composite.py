"""Several acquisitions -> one: for each pixel the median of its unmasked values."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.cube.kernels import of_blocks, strips
from lspipe.cube.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lspipe.cube.kernels import Layers


def median(scenes: Sequence[Scene]) -> Scene:
    """Take the median of the unmasked values of every pixel, per band.

    For an even number of values, the mean of the middle two, rounded half to even. Scene classes
    come from the first unmasked acquisition, the day is the lower median. Where every acquisition
    is masked, the first one is taken. All acquisitions of a chunk are in memory at once: of each,
    pixels x `bytes_of_acquisition`, and beside them two copies of one.

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


def bytes_of_acquisition(bands: int) -> int:
    """Return what an acquisition holds per pixel: bands, quality, scene classes and the day.

    >>> bytes_of_acquisition(10)
    24
    """
    return 2 * bands + 1 + 1 + 2


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
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Sort the clear values of each pixel to the front; return them and their number."""
    # The largest number of the type is no value of any layer, so it sorts behind all.
    values = np.where(clear, layers, np.iinfo(layers.dtype).max)
    _sort(values)
    return values, clear.sum(axis=0, dtype=np.int32)


def _sort(layers: NDArray[Any]) -> None:
    """Sort along the first axis, in place, by whole layers: NumPy sorts pixel by pixel.

    Odd-even transposition (Habermann 1972, Parallel Neighbor Sort): as many rounds as layers.
    """
    for turn in range(len(layers)):
        for upper, lower in zip(layers[turn % 2 :: 2], layers[turn % 2 + 1 :: 2], strict=False):
            least = np.minimum(upper, lower)
            np.maximum(upper, lower, out=lower)
            upper[:] = least


def _pick(layers: NDArray[Any], index: NDArray[Any]) -> NDArray[Any]:
    """Return of each pixel the value of the layer with its number."""
    picked: NDArray[Any] = layers[0].copy()
    for number, layer in enumerate(layers[1:], start=1):
        np.copyto(picked, layer, where=index == number)
    return picked


def _by_strips(
    kernel: Callable[[NDArray[Any], NDArray[np.bool_]], NDArray[Any]],
    layers: Sequence[NDArray[Any]],
    quality: Sequence[NDArray[np.uint8]],
) -> NDArray[Any]:
    """Apply a function of (layers, clear), both (time, rows, x), to each strip of (y, x) layers."""
    found = np.empty_like(layers[0])
    for rows in strips(len(found)):
        clear = np.stack([bits[rows] for bits in quality]) == 0
        found[rows] = kernel(np.stack([layer[rows] for layer in layers]), clear)
    return found


def _median_values(*arrays: NDArray[Any], count: int) -> NDArray[np.int16]:
    """Return the medians (band, y, x) of `count` arrays of bands, by as many of quality (y, x)."""
    scenes, quality = arrays[:count], arrays[count:]
    found = np.empty(scenes[0].shape, np.int16)
    for band, layer in enumerate(found):
        layer[:] = _by_strips(_median, [scene[band] for scene in scenes], quality)
    return found


def _median(layers: NDArray[Any], clear: NDArray[np.bool_]) -> NDArray[np.int16]:
    values, seen = _sorted_clear(layers, clear)
    low = _pick(values, np.maximum(seen - 1, 0) // 2)
    high = _pick(values, seen // 2)
    middle = np.rint((low.astype(np.float32) + high) / 2).astype(np.int16)
    found: NDArray[np.int16] = np.where(seen == 0, layers[0], middle)
    return found


def _median_days(*arrays: NDArray[Any], count: int) -> NDArray[np.uint16]:
    return _by_strips(_median_day, arrays[:count], arrays[count:])


def _median_day(layers: NDArray[Any], clear: NDArray[np.bool_]) -> NDArray[Any]:
    return np.where(clear.any(axis=0), lower_median(layers, clear), layers[0])


def _first_clear(*arrays: NDArray[Any], count: int) -> NDArray[np.uint8]:
    """Return the value of the first unmasked layer, else that of the first."""
    return _by_strips(
        lambda layers, clear: _pick(layers, np.argmax(clear, axis=0)),
        arrays[:count],
        arrays[count:],
    )
