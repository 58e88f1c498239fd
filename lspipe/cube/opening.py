"""One time step of a tile -> its cube, lazy or at hand."""

from __future__ import annotations

from datetime import UTC
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from odc.geo.xr import xr_coords

from lspipe.cube.composite import median
from lspipe.cube.kernels import followed_by
from lspipe.cube.masking import Place
from lspipe.cube.scene import SceneOpener
from lspipe.preprocess.masks import sources
from lspipe.schema import Quality, check_cube

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from odc.geo.geobox import GeoBox

    from lspipe.cube.choice import Step
    from lspipe.cube.kernels import Layers, Unread
    from lspipe.cube.scene import Chunks, Scene
    from lspipe.cube.spec import CubeSpec
    from lspipe.preprocess import Radiometry


NO_LAYERS: Mapping[str, Layers] = MappingProxyType({})


def open_cube(
    step: Step,
    geobox: GeoBox,
    *,
    bands: tuple[str, ...],
    radiometry: Mapping[tuple[str, str], Radiometry],
    spec: CubeSpec,
    chunks: Chunks | None,
    required: tuple[str, ...] | None = None,
    place: Place | None = None,
    layers: Mapping[str, Layers] | Unread = NO_LAYERS,
    left_out: Layers | None = None,
) -> xr.Dataset:
    """Open the cube of one time step on a tile's grid.

    Args:
        step: of `choose`.
        geobox: the tile's grid, 10 m.
        bands: canonical names ("B04"), in the order of the cube.
        radiometry: per (item id, asset key); every offset is decided.
        spec: loader, mask, resampling; `composite` is used by `choose` only.
        chunks: chunk sizes along y and along x, pixels; None = all is read now.
        required: a pixel without data in one of these bands is not observed; the other bands are
            only shown. None = all.
        place: of the grid in its tile, as the windows of a mask are counted from the tile's corner;
            None = the grid is the whole tile.
        layers: channels of the tile that belong to no date, such as of `terrain.layers`: int16
            codes (y, x) in the chunks of the cube; bands that follow the others. Of a cube that is
            read now they may be read into their place, too.
        left_out: bool (y, x) likewise, True = nothing is to be run there; None = nowhere.

    Returns:
        Dask-backed, or NumPy if it is read now: `reflectance` int16 (band, y, x), value = code x
        step of the channel, -32768 = no data, masked pixels keep their values, all bands in one
        chunk; `quality` uint8 (y, x), bits of `schema.Quality`, `OUTSIDE` where it is left out;
        `scl` uint8 (y, x), 0 = none; `acquired` uint16 (y, x), days since 1970-01-01 UTC, 0 = none;
        with several masks `disputed` uint8 (y, x), 1 = they disagree.
        Coordinates band, y, x (pixel centres), time (scalar, UTC) and spatial_ref.

    Raises:
        UsageError: an item lacks a band, or the scene classes that the mask needs.
        MissingExtra: a source of masks needs a package that is not installed.
        LoadError: a read failed; of a lazy cube when it is computed.
    """
    rows, columns = geobox.shape
    opener = SceneOpener(
        geobox=geobox,
        bands=bands,
        required=bands if required is None else required,
        radiometry=radiometry,
        spec=spec,
        chunks=chunks,
        masks=tuple(one for one in sources(spec.mask) if one.bands != ("SCL",)),
        place=place or Place((0, 0), (int(rows), int(columns))),
        room=len(layers),
    )
    opened = _as_one([opener.open(acquisition) for acquisition in step.acquisitions])
    quality = opened.quality
    if left_out is not None:
        quality = quality | np.where(left_out, np.uint8(Quality.OUTSIDE), np.uint8(0))
    time = np.datetime64(step.time.astimezone(UTC).replace(tzinfo=None), "ns")
    disputed = {} if opened.disputed is None else {"disputed": (("y", "x"), opened.disputed)}
    pixels = followed_by(opened.bands, layers) if layers else opened.bands
    cube = xr.Dataset(
        {
            "reflectance": (("band", "y", "x"), pixels),
            "quality": (("y", "x"), quality),
            "scl": (("y", "x"), opened.scl),
            "acquired": (("y", "x"), opened.acquired),
            **disputed,
        },
        coords={"band": [*bands, *layers], "time": time, **xr_coords(geobox)},
    )
    check_cube(cube["reflectance"])
    return cube


def _as_one(scenes: Sequence[Scene]) -> Scene:
    return scenes[0] if len(scenes) == 1 else median(scenes)
