"""The scenes of two dates -> one cube of channels that name their date.

A model whose channels name a date (`before:B04`, `after:B04`) sees both dates at once, and gives
one map per pair. That map belongs to the date after. On the date before such a model finds nothing
by definition, so of that date only what was observed is asked.

    channel      is read from
    before:B04   the scenes of the date before
    after:B04    those of the date after
    B04          the same: the date at hand is the one after

Does not cover: one date (`opening.py`), which models are pair models (`models.ModelItem.is_pair`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lspipe.cube.kernels import in_order
from lspipe.cube.opening import NO_LAYERS, open_cube
from lspipe.schema import AFTER, BEFORE, CUBE_NODATA, Quality, bands_on, is_pair, split_channel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from odc.geo.geobox import GeoBox

    from lspipe.cube.choice import Step
    from lspipe.cube.kernels import Layers, Unread

OTHER_QUALITY = "other_quality"
"""Variable of a cube of two dates: quality bits of the date before; `quality` is that of the date
after."""


def is_baseline(channels: Iterable[str], role: str) -> bool:
    """Return whether a date is only what a pair is compared with: no network runs on it."""
    return role == BEFORE and is_pair(channels)


def open_dates(
    step: Step,
    steps: Sequence[Step],
    geobox: GeoBox,
    *,
    channels: Sequence[str],
    bands: tuple[str, ...],
    layers: Mapping[str, Layers] | Unread = NO_LAYERS,
    left_out: Layers | None = None,
    **how: Any,
) -> xr.Dataset:
    """Open the cube of what a model sees at a time step, on a tile's grid.

    Args:
        step: whose cube is opened.
        steps: all steps of the tile; a pair model sees the one before, too.
        geobox: the tile's grid, 10 m.
        channels: those of the model, in its order, with their dates.
        bands: to load of the step itself: at least those of `bands_on`.
        layers: channels that belong to no date, as in `open_cube`; a date that is only what a pair
            is compared with needs none.
        left_out: as in `open_cube`.
        how: as in `open_cube`: `radiometry`, `spec`, `chunks`, `place`.

    Returns:
        As `open_cube`. For a pair model at the date after, `reflectance` has the model's channels
        by their names, then `bands`; and there is `other_quality`, uint8 (y, x), of the date
        before. Without a scene before, that date has no data anywhere.

    Raises:
        UsageError: as `open_cube`.
    """
    opened = open_cube(
        step,
        geobox,
        bands=bands,
        required=bands_on(channels, step.role),
        layers=NO_LAYERS if is_baseline(channels, step.role) else layers,
        left_out=left_out,
        **how,
    )
    if not is_pair(channels) or step.role == BEFORE:
        return opened
    names = bands_on(channels, BEFORE)
    earlier = next((each for each in steps if each.role == BEFORE), None)
    if earlier is None or not names:
        return _joined(opened, _nothing(opened, names), channels)
    return _joined(opened, open_cube(earlier, geobox, bands=names, **how), channels)


def unmasked(cube: xr.Dataset) -> xr.DataArray:
    """Return where no date of a cube is masked, bool (y, x): what a network's map is of."""
    # What is left out for its slope was seen.
    clear: xr.DataArray = (cube["quality"] & ~np.uint8(Quality.OUTSIDE)) == 0
    return clear & (cube[OTHER_QUALITY] == 0) if OTHER_QUALITY in cube else clear


def _joined(after: xr.Dataset, before: xr.Dataset, channels: Sequence[str]) -> xr.Dataset:
    """Put the channels of both dates in front of the bands of the date after."""
    shown = after["band"].values.tolist()
    names = [*channels, *(band for band in shown if band not in channels)]
    # A layer may name its date itself.
    read = [(date or AFTER, name) for date, name in map(split_channel, shown)]
    read += [(BEFORE, band) for band in before["band"].values.tolist()]
    order = [read.index((date or AFTER, name)) for date, name in map(split_channel, names)]
    return xr.Dataset(
        {
            "reflectance": (
                ("band", "y", "x"),
                in_order([each["reflectance"].data for each in (after, before)], order),
            ),
            OTHER_QUALITY: (("y", "x"), before["quality"].data),
            **{name: after[name].variable for name in after.data_vars if name != "reflectance"},
        },
        coords={"band": names, **{n: c for n, c in after.coords.items() if n != "band"}},
    )


def _nothing(like: xr.Dataset, bands: Sequence[str]) -> xr.Dataset:
    """Return a date that was not observed anywhere, on the pixels, and chunks, of another."""
    quality = like["quality"].data
    layer = np.full_like(quality, CUBE_NODATA, dtype=np.int16)
    layers = np.broadcast_to(layer, (len(bands), *layer.shape))
    # Where no band of that date is asked for, it hides nothing.
    bits = np.full_like(quality, Quality.NODATA if bands else 0)
    return xr.Dataset(
        {"reflectance": (("band", "y", "x"), layers), "quality": (("y", "x"), bits)},
        coords={"band": list(bands)},
    )
