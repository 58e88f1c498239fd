"""Folders of pictures with masks: `images/` and `masks/`, PNG or GeoTIFF.

An image and its mask have one name, but for a first word ("image_12.png", "mask_12.png"). Images
are 8-bit pictures that were scaled when they were made: 0..255 stands for 0..1 of a recipe that
divides by the largest value of a window.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import SamplesError
from lspipe.recipes import recipe_of
from lspipe.samples import Samples, mask_of, paired

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (".png", ".tif", ".tiff")

PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
"""Last chunk of a whole PNG: length 0, its name, its checksum (PNG specification, 11.2.5 IEND)."""

_FIRST_WORD = re.compile(r"^(image|img|mask|label)[_-]?(?=.)", re.IGNORECASE)


def folder(path: str | Path, recipe: str = "l4s-rgb") -> Samples:
    """Find the pictures of a folder; nothing is read yet.

    Args:
        path: holds `images/` and `masks/`.
        recipe: names the channels; its scaling is one by the largest value of a window, which such
            pictures have behind them.

    Raises:
        SamplesError: no such folders, images without masks or the reverse, two files of one name;
            another recipe; when read: another number of bands, no 8-bit picture, a mask of other
            values, a file that cannot be read.
        UsageError: no such recipe.
    """
    root, wanted = Path(path), recipe_of(recipe)
    if wanted.scaling.kind != "window-max":
        raise SamplesError(
            f"{root}: 8-bit pictures cannot be in the units of recipe {recipe}, which are not "
            "shares of the largest value of a window"
        )
    images, masks = (_named(root / name) for name in ("images", "masks"))

    def read(name: str) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        image = _bands(images[name], len(wanted.channels))
        mask = mask_of(_bands(masks[name], 1)[0], masks[name])
        if image.shape[1:] != mask.shape:
            raise SamplesError(
                f"{images[name]}: {image.shape[1]} x {image.shape[2]} px, its mask "
                f"{mask.shape[0]} x {mask.shape[1]}"
            )
        if image.dtype != np.uint8:
            raise SamplesError(
                f"{images[name]}: {image.dtype}: expected 8-bit pictures, scaled as recipe {recipe}"
            )
        return np.divide(image, 255, dtype=np.float32), mask

    return Samples(str(root), wanted, paired(images, masks, str(root)), read)


def _named(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise SamplesError(f"{folder}: no such folder: expected PNG or GeoTIFF files in it")
    named: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            name = _FIRST_WORD.sub("", path.stem)
            if name in named:
                raise SamplesError(f"{path}: {named[name].name} stands for {name!r} already")
            named[name] = path
    return named


def _bands(path: Path, count: int) -> NDArray[Any]:
    """The bands of a picture, without one of opacity, which must be opaque."""
    import rasterio
    from rasterio.enums import ColorInterp
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                if file.driver == "PNG":
                    _check_end(path)
                bands: NDArray[Any] = file.read()
                has_opacity = file.colorinterp[-1] == ColorInterp.alpha
    except RasterioError as error:
        raise SamplesError(f"{path}: not a readable picture ({error})") from error
    if has_opacity:
        *_, opacity = bands
        bands = bands[:-1]
        if (opacity != np.iinfo(opacity.dtype).max).any():
            raise SamplesError(f"{path}: transparent pixels: expected a picture without")
    # A mask of one band may be stored as a grey picture of three equal ones.
    if count == 1 and len(bands) == 3 and (bands == bands[0]).all():
        bands = bands[:1]
    if len(bands) != count:
        raise SamplesError(f"{path}: {len(bands)} bands, expected {count}")
    return bands


def _check_end(path: Path) -> None:
    """Refuse a PNG that was cut off: GDAL fills what it lacks with zeros and says nothing."""
    if not path.read_bytes().endswith(PNG_END):
        raise SamplesError(
            f"{path}: does not end as a PNG does, in its IEND chunk: it was cut off, for instance "
            "in a copy or a download; fetch it again"
        )
