"""One window of a run -> a NetCDF patch in the layout of Sen12Landslides.

    s2/TILE_s2_N.nc, (time, y, x): each date of the run

Bands are codes of reflectance, as in that set. Other channels are codes too, with the attribute
`scale_factor` of CF conventions, so that every reader of NetCDF gets degrees, metres and decibels.
`QUALITY` says what of each date was observed, `MASK` what is landslide, on all dates alike.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe import catalogs
from lspipe.errors import LoadError, MissingExtra, SamplesError
from lspipe.samples.marks import part_of
from lspipe.samples.patch_file import MASK, QUALITY, VARIABLES
from lspipe.schema import (
    BEFORE,
    CHANNELS,
    CUBE_NODATA,
    IGNORED,
    OPTICAL_BANDS,
    channel_of,
    source_of,
    split_channel,
)

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from lspipe.cube.choice import Step
    from lspipe.samples.cut import Cutter, Patch

_DIMS = ("time", "y", "x")

_COMPRESSED = {"zlib": True, "complevel": 4}


def check_installed(path: Path) -> None:
    """Refuse to go on without what writes NetCDF.

    Args:
        path: what is to be written, for the message.

    Raises:
        MissingExtra: h5netcdf is not installed.
    """
    try:
        import h5netcdf  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{path}: NetCDF needs h5netcdf: pip install 'lspipe[train]'") from error


def write(draft: Path, cutter: Cutter, patch: Patch, number: int) -> str:
    """Write a patch, and return its name.

    Args:
        draft: folder to write into.
        cutter: of the run.
        patch: a window.
        number: of the file, from 1.

    Raises:
        SamplesError: a read failed.
    """
    folder = draft / "s2"
    folder.mkdir(exist_ok=True)
    dataset = _dataset(cutter, patch)
    dataset.to_netcdf(
        folder / f"{patch.tile.name}_s2_{number}.nc",
        engine="h5netcdf",
        encoding={str(name): _COMPRESSED for name in dataset.data_vars},
    )
    return f"{patch.tile.name}_{number}"


def _dataset(cutter: Cutter, patch: Patch) -> xr.Dataset:
    import xarray as xr

    steps = _steps(patch)
    dates = [_date(cutter, patch, step) for step in steps]
    variables: dict[str, Any] = {
        VARIABLES[split_channel(name)[1]]: (
            _DIMS, np.stack([pixels[place] for pixels, _ in dates]), _attributes(name),
        )
        for place, name in enumerate(cutter.recipe.channels)
    }  # fmt: skip
    labels = _labels(cutter, patch)
    flags = {"flag_values": [0, 1, IGNORED], "flag_meanings": "none landslide not_said"}
    variables[MASK] = (_DIMS, np.stack([labels] * len(steps)), flags)
    what = {"long_name": "why a pixel was not observed, bits; 0 = observed"}
    variables[QUALITY] = (_DIMS, np.stack([quality for _, quality in dates]), what)
    grid = patch.tile.geobox[part_of(patch.corner, cutter.window)]
    x, y = (grid.coordinates[axis].values for axis in ("x", "y"))
    times = [step.time.astimezone(UTC).replace(tzinfo=None) for step in steps]
    return xr.Dataset(
        variables,
        coords={"time": np.array(times, "datetime64[ns]"), "y": y, "x": x},
        attrs=_about(cutter, patch, steps, labels),
    )


def _steps(patch: Patch) -> tuple[Step, ...]:
    """Return the date before, if the run has one, and that of the patch."""
    earlier = [step for step in patch.tile.steps if step.role == BEFORE][:1]
    return (*earlier, patch.tile.steps[patch.step])


def _date(cutter: Cutter, patch: Patch, step: Step) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Read all channels of a date as codes, and its quality bits."""
    part = part_of(patch.corner, cutter.window)
    try:
        pixels, quality = cutter.run.read(patch.tile, step, cutter.recipe.channels, part)
    except LoadError as error:
        raise SamplesError(f"{cutter.run.path}: {patch.name}: {error}") from error
    if cutter.run.spec.mask.apply == "input":
        # Hidden from the network of the run, so from that of the patches.
        pixels = np.where(quality != 0, np.int16(CUBE_NODATA), pixels)
    return pixels, quality


def _labels(cutter: Cutter, patch: Patch) -> NDArray[np.uint8]:
    part = part_of(patch.corner, cutter.window)
    labels = patch.marks.burn(part)
    if patch.tile.area is not None:
        labels[~patch.tile.area[part]] = IGNORED
    return labels


def _attributes(name: str) -> dict[str, Any]:
    channel = channel_of(name)
    attrs: dict[str, Any] = {"_FillValue": np.int16(CUBE_NODATA), "units": channel.unit}
    if split_channel(name)[1] in OPTICAL_BANDS:
        # As in that set: digital numbers without an offset.
        return attrs | {"units": "1", "long_name": f"reflectance x {1 / channel.step:g}"}
    return attrs | {"scale_factor": CHANNELS[split_channel(name)[1]].step}


def _about(
    cutter: Cutter, patch: Patch, steps: tuple[Step, ...], labels: NDArray[np.uint8]
) -> dict[str, Any]:
    """Return attributes, those of the set by its names."""
    scenes = [scene for step in steps for scene in step.items]
    levels = {catalogs.level(scene) for scene in scenes}
    (level,) = levels if len(levels) == 1 else (None,)
    dates = {"pre_post_dates": str({"pre": 0, "post": 1})} if len(steps) > 1 else {}
    radar = any(source_of(name) == "radar" for name in cutter.recipe.channels)
    return {
        **dates,
        "annotated": str(bool((labels == 1).any())),
        "satellite": "s2",
        "crs": f"EPSG:{patch.tile.geobox.crs.epsg}",
        "level": level or "none",
        "run": cutter.run.name,
        "tile": patch.tile.name,
        "row": patch.corner[0],
        "column": patch.corner[1],
        "scenes": ", ".join(scene.id for scene in scenes),
        **({"radar": patch.tile.radar.passes[0].name} if radar and patch.tile.radar else {}),
    }
