"""Several acquisitions -> one: the median of what each pixel shows when it is not masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from lspipe.cube.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def median(scenes: Sequence[Scene]) -> Scene:
    """Take the median of the unmasked values of every pixel, per band.

    Of an even number, the mean of the middle two, rounded half to even. Classes are those of the
    first unmasked acquisition, the day is that of the middle one (the lower of two). Where every
    acquisition is masked, all is that of the first. All acquisitions of a chunk are in memory at
    once: acquisitions x pixels x 2 bytes for each band.

    Args:
        scenes: in order of time.
    """
    quality = [scene.quality for scene in scenes]
    count = len(scenes)

    def over(layers: Sequence[da.Array], kernel: Any, dtype: Any) -> da.Array:
        return da.map_blocks(kernel, *layers, *quality, count=count, dtype=dtype)

    return Scene(
        bands=tuple(
            over(layers, _median_values, np.int16)
            for layers in zip(*(scene.bands for scene in scenes), strict=True)
        ),
        quality=over(quality, _first_clear, np.uint8),
        scl=over([scene.scl for scene in scenes], _first_clear, np.uint8),
        acquired=over([scene.acquired for scene in scenes], _median_days, np.uint16),
    )


def _sorted_clear(
    arrays: tuple[NDArray[Any], ...], count: int
) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Sort the unmasked values of each pixel to the front; return them and their number.

    Args:
        arrays: `count` layers (y, x), then their `count` quality layers.
        count: number of layers.
    """
    clear = np.stack(arrays[count:]) == 0
    values = np.stack(arrays[:count])
    # The largest number of the type is no reflectance and no day, so it sorts behind all.
    values[~clear] = np.iinfo(values.dtype).max
    values.sort(axis=0)
    return values, clear.sum(axis=0)


def _pick(values: NDArray[Any], index: NDArray[np.intp]) -> NDArray[Any]:
    picked: NDArray[Any] = np.take_along_axis(values, index[None], axis=0)[0]
    return picked


def _median_values(*arrays: NDArray[Any], count: int) -> NDArray[np.int16]:
    values, clear = _sorted_clear(arrays, count)
    low = _pick(values, np.maximum(clear - 1, 0) // 2)
    high = _pick(values, clear // 2)
    middle = np.rint((low.astype(np.float32) + high) / 2).astype(np.int16)
    return np.where(clear == 0, arrays[0], middle)


def _median_days(*arrays: NDArray[Any], count: int) -> NDArray[np.uint16]:
    values, clear = _sorted_clear(arrays, count)
    middle = _pick(values, np.maximum(clear - 1, 0) // 2)
    return np.where(clear == 0, arrays[0], middle).astype(np.uint16)


def _first_clear(*arrays: NDArray[Any], count: int) -> NDArray[np.uint8]:
    """Return the value of the first unmasked layer, else that of the first."""
    first = np.argmax(np.stack(arrays[count:]) == 0, axis=0)
    return _pick(np.stack(arrays[:count]), first)
