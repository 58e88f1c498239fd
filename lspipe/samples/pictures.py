"""Folders of images with masks: `images/` and `masks/`, PNG or GeoTIFF.

An image and its mask have the same name, except for a first word ("image_12.png", "mask_12.png").
The type of an image decides what its numbers are:

    uint8            a colour picture: 0..255 is 0..1. For a recipe that divides by the largest
                     value of a window, it was scaled when it was made; for `vega3` it is a picture
                     of a map service. It is no reflectance, so other recipes refuse it.
    uint16, int16    reflectance x 1e4 without an offset, bands only
    float32          reflectance 0..1, and slope, DEM, ... in the units of `recipes.UNITS`

In files of reflectance, bands are found by their descriptions ("B02", "slope"), in any order and
among other bands. NaN, and pixels that the file declares as no data, are no data.

Source: paper 004, section 2.2 (colour images of a map service); docs/method.md, Channels of the
papers (names, not positions).
"""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import SamplesError
from lspipe.models.recipes import UNITS, recipe_of
from lspipe.samples import Samples, mask_of, paired
from lspipe.samples.units import check_scaling, in_units_of, reflectance
from lspipe.schema import REFLECTANCE_SCALE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from rasterio import DatasetReader

    from lspipe.models.recipes import Recipe

SUFFIXES = (".png", ".tif", ".tiff")

COLOUR_RECIPES = ("vega3",)
"""Recipes whose paper used colour pictures instead of reflectance."""

COLOURS = ("B04", "B03", "B02")
"""Bands of a colour picture without descriptions: red, green, blue."""

INTEGERS, FLOATS = ("uint16", "int16"), ("float32", "float64")
"""Types of reflectance x 1e4, and of reflectance."""

BRIGHTEST = 2.0
"""Largest plausible median of a patch: snow and clouds have a reflectance near 1."""

PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
"""Last chunk of a whole PNG: length 0, its name, its checksum (PNG specification, 11.2.5 IEND)."""

_FIRST_WORD = re.compile(r"^(image|img|mask|label)[_-]?(?=.)", re.IGNORECASE)


def folder(path: str | Path, recipe: str = "l4s-rgb") -> Samples:
    """Find the images of a folder; nothing is read yet.

    Args:
        path: holds `images/` and `masks/`.
        recipe: its channels and units are those of the result.

    Raises:
        SamplesError: no such folders, images without masks or the reverse, two files of one name;
            a recipe whose scaling no patch can have; when read: an 8-bit picture for a recipe of
            reflectances or with another number of bands, bands that are not described as the
            channels, numbers of another type or scale, a mask of other values, a file that cannot
            be read or was cut off.
        UsageError: no such recipe.
    """
    root, wanted = Path(path), recipe_of(recipe)
    check_scaling(wanted, f"{root}: images with masks")
    images, masks = (_named(root / name) for name in ("images", "masks"))

    def read(name: str) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        image = _image(images[name], wanted)
        mask = _mask(masks[name])
        if image.shape[1:] != mask.shape:
            raise SamplesError(
                f"{images[name]}: {image.shape[1]} x {image.shape[2]} px, its mask "
                f"{mask.shape[0]} x {mask.shape[1]}"
            )
        return image, mask

    return Samples(str(root), wanted, paired(images, masks, str(root)), read)


def _named(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise SamplesError(f"{folder}: no such folder: expected PNG or GeoTIFF files in it")
    named: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            name = _FIRST_WORD.sub("", path.stem)
            if name in named:
                raise SamplesError(f"{path}: {named[name].name} has the name {name!r} already")
            named[name] = path
    return named


def _image(path: Path, wanted: Recipe) -> NDArray[np.float32]:
    """Read an image in model units, float32 (channel, y, x), NaN = no data."""
    with _opened(path) as file:
        if file.dtypes[0] == "uint8":
            return _colours(file, path, wanted)
        return in_units_of(wanted, _measured(file, path, wanted), path)


def _mask(path: Path) -> NDArray[np.uint8]:
    with _opened(path) as file:
        bands = _opaque(file, path)
    # A mask may be stored as a grey picture of three equal bands.
    if len(bands) == 3 and (bands == bands[0]).all():
        bands = bands[:1]
    return mask_of(_counted(bands, path, 1)[0], path)


@contextmanager
def _opened(path: Path) -> Iterator[DatasetReader]:
    """Open a file with GDAL, and check that it is complete."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                if file.driver == "PNG":
                    _check_end(path)
                yield file
    except RasterioError as error:
        raise SamplesError(f"{path}: not a readable picture ({error})") from error


# --- colour pictures ----------------------------------------------------------------------------


def _colours(file: DatasetReader, path: Path, wanted: Recipe) -> NDArray[np.float32]:
    """Return an 8-bit picture in model units; its bands are red, green and blue, or described."""
    is_scaled = wanted.scaling.kind == "window-max"
    if not is_scaled and wanted.base not in COLOUR_RECIPES:
        raise SamplesError(
            f"{path}: an 8-bit picture holds no reflectance, which recipe {wanted.name} needs: "
            f"expected a GeoTIFF of {' or '.join(INTEGERS)} (reflectance x 1e4) or {FLOATS[0]} "
            f"(reflectance) with bands described as {' '.join(wanted.channels)}"
        )
    places = _places(file, wanted)
    bands = _opaque(file, path)
    if places is None:
        bands = _counted(bands, path, len(COLOURS))
        places = [COLOURS.index(channel) for channel in wanted.channels]
    bands = bands[places]
    colours: NDArray[np.float32] = np.divide(bands, 255, dtype=np.float32)
    return colours if is_scaled else in_units_of(wanted, colours, path)


def _opaque(file: DatasetReader, path: Path) -> NDArray[Any]:
    """Return the bands of a picture without its alpha band, which must be fully opaque."""
    from rasterio.enums import ColorInterp

    bands: NDArray[Any] = file.read()
    if file.colorinterp[-1] == ColorInterp.alpha:
        *_, opacity = bands
        bands = bands[:-1]
        if (opacity != np.iinfo(opacity.dtype).max).any():
            raise SamplesError(f"{path}: transparent pixels: expected a picture without")
    return bands


def _counted(bands: NDArray[Any], path: Path, count: int) -> NDArray[Any]:
    if len(bands) != count:
        raise SamplesError(f"{path}: bands: found {len(bands)}, expected {count}")
    return bands


# --- reflectances -------------------------------------------------------------------------------


def _measured(file: DatasetReader, path: Path, wanted: Recipe) -> NDArray[np.float32]:
    """Return the channels of a recipe in its units, float32 (channel, y, x), NaN = no data."""
    places = _places(file, wanted)
    if places is None:
        found = ", ".join(name or "(nothing)" for name in file.descriptions)
        raise SamplesError(
            f"{path}: bands described as {found}: recipe {wanted.name} needs each of "
            f"{', '.join(wanted.channels)} once, in any order; write them with rasterio, opened as "
            f"'r+': file.descriptions = ({wanted.channels[0]!r}, ...)"
        )
    is_integer = _is_integer(file, path, wanted)
    _check_stated_scale(file, path, places, REFLECTANCE_SCALE if is_integer else 1.0)
    stored = file.read([place + 1 for place in places], masked=True)
    # Before the cast: the no-data value may be outside of float32.
    values = np.where(np.ma.getmaskarray(stored), np.nan, stored.data).astype(np.float32)
    pixels = reflectance(values) if is_integer else values
    _check_values(pixels, path, wanted)
    return pixels


def _places(file: DatasetReader, wanted: Recipe) -> list[int] | None:
    """Return places, from 0, of the bands described as the channels; None unless each is once."""
    names = list(file.descriptions)
    if any(names.count(channel) != 1 for channel in wanted.channels):
        return None
    return [names.index(channel) for channel in wanted.channels]


def _is_integer(file: DatasetReader, path: Path, wanted: Recipe) -> bool:
    """Return whether the numbers are reflectance x 1e4, not the units themselves."""
    dtype = file.dtypes[0]
    if dtype not in (*INTEGERS, *FLOATS):
        raise SamplesError(
            f"{path}: {dtype}: expected {' or '.join(INTEGERS)} (reflectance x 1e4) or "
            f"{FLOATS[0]} (reflectance)"
        )
    others = [f"{name} ({UNITS[name]})" for name in wanted.channels if name in UNITS]
    if dtype in INTEGERS and others:
        raise SamplesError(
            f"{path}: {dtype}, which is read as reflectance x 1e4: expected {FLOATS[0]}, as recipe "
            f"{wanted.name} has {', '.join(others)} too"
        )
    return dtype in INTEGERS


def _check_stated_scale(
    file: DatasetReader, path: Path, places: list[int], expected: float
) -> None:
    """Refuse a scale or an offset of the file that would make other reflectances of its numbers."""
    for place in places:
        stated = file.scales[place], file.offsets[place]
        if stated not in ((1.0, 0.0), (expected, 0.0)):
            raise SamplesError(
                f"{path}: {file.descriptions[place]} states scale {stated[0]:g} and offset "
                f"{stated[1]:g}: expected none, or {expected:g} and 0; apply them first"
            )


def _check_values(pixels: NDArray[np.float32], path: Path, wanted: Recipe) -> None:
    """Refuse numbers that are no reflectance, and infinite ones."""
    if np.isinf(pixels).any():
        raise SamplesError(f"{path}: infinite values: expected NaN where there is no data")
    for name, band in zip(wanted.channels, pixels, strict=True):
        values = band[~np.isnan(band)]
        if name not in UNITS and values.size and np.median(values) > BRIGHTEST:
            raise SamplesError(
                f"{path}: {name} is about {np.median(values):g}: expected reflectance, 0..1; "
                f"digital numbers (reflectance x 1e4) are stored as {' or '.join(INTEGERS)}"
            )


def _check_end(path: Path) -> None:
    """Refuse a PNG that was cut off: GDAL fills what it lacks with zeros and reports nothing."""
    if not path.read_bytes().endswith(PNG_END):
        raise SamplesError(
            f"{path}: does not end as a PNG does, in its IEND chunk: it was cut off, for instance "
            "in a copy or a download; fetch it again"
        )
