"""One acquisition of a tile -> reflectance and quality bits: load, offset, mosaic, mask.

Covers: the reflectance of each item by its own radiometry, complementary halves of one acquisition,
the cloud mask and its dilation. Does not cover: putting acquisitions together (`composite.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date
from functools import partial, reduce
from types import MappingProxyType
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np

from lspipe import catalogs, preprocess
from lspipe.catalogs import band_assets
from lspipe.cube import loaders
from lspipe.cube.kernels import in_one_piece, in_place_of, is_lazy, of_blocks, strips
from lspipe.cube.masking import masked_by
from lspipe.errors import UsageError
from lspipe.preprocess.masks import mask_bands
from lspipe.schema import CUBE_NODATA, Quality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pystac
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.cube.kernels import Layers
    from lspipe.cube.masking import Place
    from lspipe.cube.spec import CubeSpec
    from lspipe.preprocess import Radiometry
    from lspipe.preprocess.masks import MaskSource
    from lspipe.search.acquisitions import Acquisition

Chunks = tuple[tuple[int, ...], tuple[int, ...]]

NODATA = np.uint8(Quality.NODATA)
HIDING = np.uint8(Quality.CLOUD | Quality.SHADOW)
"""What masks can disagree about: each source has clouds and shadows, and few have snow."""

_BITS = np.empty((0, 0), np.uint8)
"""What dask is to know of a layer (y, x), instead of trying."""

_FAILED = np.uint8(Quality.NODATA | Quality.READ_ERROR)


@dataclass(frozen=True)
class Scene:
    """Arrays of one item, one acquisition or one composite; if lazy, of equal spatial chunks."""

    bands: Layers
    """int16 (band, y, x), all bands in a chunk, reflectance x 1e4, -32768 = no data."""
    quality: Layers
    """uint8 (y, x), bits of `schema.Quality`."""
    scl: Layers
    """uint8 (y, x), scene classes, 0 = none."""
    acquired: Layers
    """uint16 (y, x), days since 1970-01-01 UTC, 0 = none."""
    disputed: Layers | None = None
    """uint8 (y, x), 1 = one mask calls it cloud or shadow and another does not; None = one mask."""


@dataclass(frozen=True, kw_only=True)
class SceneOpener:
    """Opens acquisitions on one grid, with the settings that all of them share."""

    geobox: GeoBox
    bands: tuple[str, ...]
    required: tuple[str, ...]
    radiometry: Mapping[tuple[str, str], Radiometry]
    spec: CubeSpec
    chunks: Chunks | None
    """None = read now, in one piece."""
    place: Place
    masks: tuple[MaskSource, ...]
    """The sources of masks besides the scene classes, which come with each item."""
    room: int = 0
    """How many channels are to follow the bands, in the same array if they are read now."""

    @property
    def read(self) -> tuple[str, ...]:
        """Bands that are read: those of the cube, and then those that only masks need."""
        return tuple(dict.fromkeys((*self.bands, *mask_bands(self.masks))))

    def open(self, acquisition: Acquisition) -> Scene:
        """Open one acquisition, its clouds dilated over item and chunk borders.

        Raises:
            UsageError: an item lacks a band, or the scene classes that the mask needs.
            LoadError: a read failed; of lazy arrays when they are computed.
        """
        days = (acquisition.time.astimezone(UTC).date() - date(1970, 1, 1)).days
        # In the order of `search`: where two parts overlap, the newest processing counts.
        scene = reduce(_mosaic, (self._open_item(item, days) for item in acquisition.items))
        if self.masks:
            scene = self._masked(scene, _level(acquisition.items[0]))
        quality = dilated(scene.quality, self.spec.mask.dilate_px)
        if self.chunks is not None:
            quality = quality.rechunk(self.chunks)
        return replace(scene, bands=self._of_the_cube(scene.bands), quality=quality)

    def _of_the_cube(self, bands: Layers) -> Layers:
        """Leave out the bands that only masks need."""
        return bands if len(self.read) == len(self.bands) else bands[: len(self.bands)]

    def _masked(self, scene: Scene, level: str) -> Scene:
        """Add what the sources mask, and where they disagree."""
        found = [
            masked_by(one, scene.bands[self._places(one)], level=level, place=self.place)
            for one in self.masks
        ]
        # Where a band has no data nothing can be said, whatever a source made of the gap.
        found = [np.where(scene.quality & NODATA, np.uint8(0), bits) for bits in found]
        every = [scene.quality, *found] if self.spec.mask.needs_classes else found
        return replace(
            scene,
            quality=reduce(np.bitwise_or, [scene.quality, *found]),
            disputed=_disputed(every) if len(every) > 1 else None,
        )

    def _places(self, source: MaskSource) -> list[int]:
        return [self.read.index(band) for band in source.bands]

    def _open_item(self, item: pystac.Item, days: int) -> Scene:
        require(item, (*self.read, "SCL") if self.spec.mask.needs_classes else self.read)
        has_classes = "SCL" in band_assets(item)
        names = (*self.read, *(("SCL",) if has_classes else ()))
        rows, columns = self.geobox.shape
        loaded = load_bands(
            item,
            names,
            self.geobox,
            spec=self.spec,
            chunk=self.chunks or ((rows,), (columns,)),
            # Classes are not to be mixed.
            resampling=dict.fromkeys(self.read, self.spec.resampling),
        )
        if self.chunks is None:
            loaded = in_one_piece(loaded)
        keys = band_assets(item)
        decided = tuple(self.radiometry[item.id, keys[band]] for band in self.read)
        required = {*self.required, *mask_bands(self.masks)}
        needed = [place for place, band in enumerate(self.read) if band in required]
        # The scene classes lie behind the bands; without them there is none.
        at = len(self.read) if has_classes else None
        bits = partial(_quality, needed=needed, classes=at, masked=self.spec.mask.masked_classes)
        quality = of_blocks(bits, loaded, dtype=np.uint8, drop_axis=0, meta=_BITS)
        scl = of_blocks(partial(_scl, classes=at), loaded, dtype=np.uint8, drop_axis=0, meta=_BITS)
        return Scene(
            # Last: what is at hand is overwritten.
            bands=self._reflectance(loaded, decided),
            quality=quality,
            scl=scl,
            acquired=of_blocks(partial(_days, days=days), quality, dtype=np.uint16),
        )

    def _reflectance(self, loaded: Layers, decided: tuple[Radiometry, ...]) -> Layers:
        """Return the reflectance of raw numbers; of those at hand, in their memory."""
        if self.chunks is None:
            channels = in_place_of(loaded, len(decided), self.room)
            return _reflectance(channels.view(np.uint16), decided=decided, out=channels)
        return of_blocks(
            partial(_reflectance, decided=decided),
            loaded,
            dtype=np.int16,
            chunks=((len(decided),), *self.chunks),
            meta=np.empty((0, 0, 0), np.int16),
        )


def load_bands(
    item: pystac.Item,
    bands: tuple[str, ...],
    geobox: GeoBox,
    *,
    spec: CubeSpec,
    chunk: loaders.Chunk,
    resampling: Mapping[str, str] = MappingProxyType({}),
) -> da.Array:
    """Load bands of an item as raw digital numbers, uint16 (band, y, x), by the spec's loader.

    `resampling` is by band; nearest for those that it lacks.
    """
    keys = band_assets(item)
    opened = loaders.loader(spec.loader)(
        item,
        {band: keys[band] for band in bands},
        geobox,
        chunk=chunk,
        resampling=resampling,
        on_read_error=spec.on_read_error,
    )
    return opened.data


def require(item: pystac.Item, bands: tuple[str, ...]) -> None:
    """Refuse an item that lacks a band.

    Raises:
        UsageError: names the item and what it lacks.
    """
    keys = band_assets(item)
    lacking = [band for band in bands if band not in keys]
    if "SCL" in lacking:
        raise UsageError(
            f"{item.id} has no scene classes (SCL), which cube.mask.scl needs; set "
            "cube.mask.source to csmask, which masks L1C too, or to none, or search an L2A "
            "collection"
        )
    if lacking:
        raise UsageError(
            f"{item.id} has no asset for {', '.join(lacking)}: it has {', '.join(keys)}; "
            "choose another model, source of masks or collection"
        )


def check_masks(item: pystac.Item, masks: Sequence[MaskSource]) -> None:
    """Refuse an item that a source of masks cannot mask.

    Raises:
        UsageError: names the item, the source, and the bands or the level that do not fit.
    """
    for source in masks:
        if source.bands == ("SCL",):
            continue
        keys = band_assets(item)
        lacking = [band for band in source.bands if band not in keys]
        if lacking:
            raise UsageError(
                f"cube.mask.source {source.name} needs {', '.join(lacking)}, which {item.id} does "
                f"not have (it has {', '.join(sorted(keys))}); choose another source or collection"
            )
        level = _level(item)
        if level not in source.levels:
            raise UsageError(
                f"cube.mask.source {source.name} is made for {', '.join(source.levels)}, "
                f"{item.id} is {level}; choose another source or collection"
            )


def _level(item: pystac.Item) -> str:
    """Return the level of a scene; one that says none and has scene classes is L2A.

    Raises:
        UsageError: it is not known.
    """
    level = catalogs.level(item) or ("L2A" if "SCL" in band_assets(item) else None)
    if level is None:
        raise UsageError(
            f"{item.id} does not say whether it is L1C or L2A, which cube.mask.source needs; "
            "expected processing:level in the item"
        )
    return level


def _disputed(found: Sequence[Layers]) -> Layers:
    """Return 1 where one mask sees a cloud or a shadow, and another neither."""
    hidden = [(bits & HIDING) != 0 for bits in found]
    is_some = reduce(np.logical_or, hidden)
    disputed: Layers = (is_some & ~reduce(np.logical_and, hidden)).astype(np.uint8)
    return disputed


def dilated(quality: Layers, px: int) -> Layers:
    """Dilate clouds across chunk borders, before and apart from the halo of inference."""
    if px == 0:
        return quality
    if not is_lazy(quality):
        return preprocess.dilate(quality, px)
    return da.map_overlap(
        preprocess.dilate, quality, depth=px, boundary="none", px=px, dtype=np.uint8
    )


def first_seen(first: Layers, second: Layers) -> Layers:
    """Return True where the first quality layer has no data and the second does."""
    return (first & NODATA != 0) & (second & NODATA == 0)


def number_bits(dn: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return the quality bits of raw numbers: 0 is no data, and so is a failed read."""
    if dn.min(initial=1) and dn.max(initial=0) < loaders.READ_FAILED:
        return np.zeros(dn.shape, np.uint8)  # as of most: a tenth of the time
    bits = np.where(dn == 0, NODATA, np.uint8(0))
    bits[dn == loaders.READ_FAILED] = _FAILED
    return bits


def class_bits(scl: NDArray[np.uint16], classes: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return the quality bits of scene classes; a failed read is no data.

    Args:
        scl: uint16 as loaded.
        classes: names of the masked classes.
    """
    failed = scl == loaders.READ_FAILED
    bits = preprocess.quality_of(np.where(failed, 0, scl), classes)
    bits[failed] = _FAILED
    return bits


def _mosaic(first: Scene, second: Scene) -> Scene:
    """Put the second scene where the first has no data and the second does."""
    gap = first_seen(first.quality, second.quality)
    return Scene(
        bands=np.where(gap, second.bands, first.bands),
        quality=np.where(gap, second.quality, first.quality),
        scl=np.where(gap, second.scl, first.scl),
        acquired=np.where(gap, second.acquired, first.acquired),
    )


def _quality(
    numbers: NDArray[np.uint16],
    *,
    needed: Sequence[int],
    classes: int | None,
    masked: tuple[str, ...],
) -> NDArray[np.uint8]:
    """Return the quality bits of a block: of the bands that must have data, and of its classes."""
    found = np.empty(numbers.shape[1:], np.uint8)
    for rows in strips(len(found)):
        strip = numbers[:, rows]
        found[rows] = class_bits(_classes(strip, classes), masked)
        for place in needed:
            found[rows] |= number_bits(strip[place])
    return found


def _classes(numbers: NDArray[np.uint16], place: int | None) -> NDArray[np.uint16]:
    """Return the layer of scene classes; 0, none, where the item has no such layer."""
    return np.zeros(numbers.shape[1:], np.uint16) if place is None else numbers[place]


def _reflectance(
    numbers: NDArray[np.uint16],
    *,
    decided: Sequence[Radiometry],
    out: NDArray[np.int16] | None = None,
) -> NDArray[np.int16]:
    """Return int16 (band, y, x), each band by its own radiometry; `out` may be their memory."""
    found = np.empty((len(decided), *numbers.shape[1:]), np.int16) if out is None else out
    # What follows the bands is no band.
    for layer, band, radiometry in zip(found, numbers, decided, strict=False):
        for rows in strips(len(band)):
            dn = band[rows]
            is_failed = dn == loaders.READ_FAILED
            preprocess.to_reflectance(dn, radiometry, out=layer[rows])
            layer[rows][is_failed] = CUBE_NODATA
    return found


def _scl(numbers: NDArray[np.uint16], *, classes: int | None) -> NDArray[np.uint8]:
    layer = _classes(numbers, classes)
    found = np.empty(layer.shape, np.uint8)
    for rows in strips(len(found)):
        scl = layer[rows]
        found[rows] = np.where(scl == loaders.READ_FAILED, 0, scl)
    return found


def _days(quality: NDArray[np.uint8], *, days: int) -> NDArray[np.uint16]:
    found = np.full(quality.shape, days, np.uint16)
    for rows in strips(len(found)):
        found[rows][(quality[rows] & NODATA) != 0] = 0
    return found
