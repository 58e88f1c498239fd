"""Acquisitions -> the share of the area that each one masks, read before a run is planned."""

from __future__ import annotations

from functools import partial, reduce
from typing import TYPE_CHECKING

import dask
import dask.array as da
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from lspipe.catalogs import band_assets
from lspipe.cube import scene
from lspipe.errors import AreaError
from lspipe.preprocess.masks import MaskSpec
from lspipe.preprocess.masks.sources import NONE
from lspipe.schema import grown
from lspipe.search.areas import PackedMask, bounding_window

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pystac
    from numpy.typing import NDArray

    from lspipe.cube.spec import CubeSpec
    from lspipe.search.acquisitions import Acquisition

_SCL_FACTOR = 2  # scene classes have pixels of 20 m, the grid has 10 m
CHUNK = 1830  # pixels; a third of a tile of 20 m

_COUNTS = np.empty((0, 0), np.int64)


def masked_shares(
    acquisitions: Sequence[Acquisition],
    geobox: GeoBox,
    spec: CubeSpec,
    *,
    area_mask: NDArray[np.bool_],
) -> list[float]:
    """Return, per acquisition, the share of the area that is masked or has no data, 0..1.

    The count is made on the 20 m pixels of the scene classes that touch the area, with the dilation
    rounded up to whole pixels of 20 m. It serves to rank acquisitions, and may differ from the
    share in the cube by one pixel along each edge. Another source of masks is not asked for a
    ranking, which would read all bands of all acquisitions: the scene classes rank them too, and
    where a scene has none, what has data counts by the cloud cover that its item tells.

    Raises:
        AreaError: no pixel of the tile is inside the area.
        UsageError: the mask needs scene classes that an item lacks.
        LoadError: scene classes could not be read.
    """
    if not area_mask.any():
        raise AreaError("found no pixel of the tile inside the area, expected one; check the area")
    reach = -(-spec.mask.dilate_px // _SCL_FACTOR)
    coarse, inside = _coarse(geobox, area_mask)
    window = grown(bounding_window(inside), reach, inside.shape)
    grid, inside = coarse[window], inside[window]
    pieces, classes = _in_pieces(inside), _ranking_classes(spec.mask)
    counts = []
    for acquisition in acquisitions:
        layers = [_coarse_quality(item, grid, spec, classes) for item in acquisition.items]
        quality = scene.dilated(reduce(_mosaic, layers), reach)
        each = {"chunks": tuple((1,) * count for count in quality.numblocks), "dtype": np.int64}
        # A dilation joins a piece that is smaller than its reach with the one before.
        area = pieces.rechunk(quality.chunks)
        counts.append(da.map_blocks(_masked, quality, area, meta=_COUNTS, **each).sum())
    total = np.count_nonzero(inside)
    shares = [int(count) / total for count in dask.compute(*counts)]
    return [
        share + (1 - share) * (_told_cloud(one) if classes else 0.0)
        for share, one in zip(shares, acquisitions, strict=True)
    ]


def _ranking_classes(mask: MaskSpec) -> tuple[str, ...]:
    """Return the scene classes that count as masked; none where the workflow masks nothing."""
    if mask.names in (("scl",), (NONE,)):
        return mask.masked_classes
    return mask.scl or MaskSpec().scl


def _told_cloud(acquisition: Acquisition) -> float:
    """Return the cloud of scenes without classes, by `eo:cloud_cover`: 0..1, 0 where not told."""
    told = [
        item.properties.get("eo:cloud_cover")
        for item in acquisition.items
        if "SCL" not in band_assets(item)
    ]
    numbers = [float(one) for one in told if isinstance(one, int | float)]
    return max(0.0, min(1.0, sum(numbers) / len(numbers) / 100)) if numbers else 0.0


def _coarse_quality(
    item: pystac.Item, grid: GeoBox, spec: CubeSpec, classes: tuple[str, ...]
) -> da.Array:
    """Return the quality bits of one item, from its scene classes, or from its first band."""
    if spec.mask.needs_classes:
        scene.require(item, ("SCL",))
    keys = band_assets(item)
    band = "SCL" if "SCL" in keys else next(iter(keys))
    layer = scene.load_bands(item, (band,), grid, spec=spec, chunk=CHUNK)[0]
    bits = partial(_bits, classes=classes if band == "SCL" else None)
    return layer.map_blocks(bits, dtype=np.uint8, meta=np.empty((0, 0), np.uint8))


def _bits(numbers: NDArray[np.uint16], classes: tuple[str, ...] | None) -> NDArray[np.uint8]:
    """Return the quality bits of scene classes, or of a band, which has none."""
    bits = scene.number_bits(numbers)
    return bits if classes is None else bits | scene.class_bits(numbers, classes)


def _masked(quality: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the pixels of a block that are masked and in the area: (1, 1)."""
    return np.array([[np.count_nonzero((quality != 0) & inside)]])


def _in_pieces(inside: NDArray[np.bool_]) -> da.Array:
    """Return a mask as a lazy array that is small to send to where the pixels are read."""
    packed = dask.delayed(PackedMask.of(inside))
    rows, columns = (
        [slice(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK)]
        for length in inside.shape
    )
    pieces = [
        [
            da.from_delayed(
                packed[row, column],
                shape=(row.stop - row.start, column.stop - column.start),
                dtype=bool,
            )
            for column in columns
        ]
        for row in rows
    ]
    return da.block(pieces)


def _mosaic(first: da.Array, second: da.Array) -> da.Array:
    return da.where(scene.first_seen(first, second), second, first)


def _coarse(geobox: GeoBox, mask: NDArray[np.bool_]) -> tuple[GeoBox, NDArray[np.bool_]]:
    """Return the grid of the scene classes, and the area on it (True where any pixel is inside)."""
    step = _SCL_FACTOR
    rows, columns = (-(-length // step) for length in mask.shape)
    coarse = np.zeros((rows, columns), bool)
    for row in range(step):
        for column in range(step):
            part = mask[row::step, column::step]
            coarse[: part.shape[0], : part.shape[1]] |= part
    return GeoBox((rows, columns), geobox.affine * Affine.scale(step), geobox.crs), coarse
