"""A function or an object of the user's own, "package.module:thing" -> a source of masks.

from lspipe.schema import Quality

def bright(pixels, level):                      # float32 (band, y, x), NaN = no data
    return np.where(pixels[0] > 0.3, Quality.CLOUD, 0).astype("uint8")

bright.bands = ("B02",)                         # what it reads; all else is optional
bright.margin = 0                               # pixels around a pixel that decide it
bright.window = None                            # edge of its windows, if it needs one size
bright.pixel_m = 10                             # metres
bright.levels = ("L1C", "L2A")
bright.version = "1"                            # change it when the answers change
"""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import UsageError
from lspipe.schema import CHANNELS, source_of
from lspipe.spec.plugins import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lspipe.preprocess.masks.spec import MaskSpec

_LEVELS = ("L1C", "L2A")


@dataclass(frozen=True)
class Own:
    """A thing of the user's own; it is imported where it is called, and never sent."""

    name: str
    bands: tuple[str, ...]
    levels: tuple[str, ...]
    pixel_m: int
    window: int | None
    margin: int
    version: str

    def facts(self) -> Mapping[str, Any]:
        """Return its shape and its version; without one, the sha256 of its source text."""
        return {
            "bands": list(self.bands),
            "pixel_m": self.pixel_m,
            "window": self.window,
            "margin": self.margin,
            "version": self.version,
        }

    def bits(self, pixels: NDArray[np.float32], level: str) -> NDArray[np.uint8]:
        """Call it, and refuse what is no mask.

        Raises:
            UsageError: another shape, or values that are no quality bits.
        """
        found = np.asarray(resolve(self.name, {}, kind="source of masks")(pixels, level))
        if found.shape != pixels.shape[1:] or found.dtype.kind not in "iu":
            raise UsageError(
                f"source of masks {self.name}: returned {found.dtype} {found.shape}, expected "
                f"uint8 {pixels.shape[1:]}, bits of lspipe.schema.Quality"
            )
        if found.size and (found.min() < 0 or found.max() > 255):
            raise UsageError(
                f"source of masks {self.name}: returned values {found.min()} to {found.max()}, "
                "expected bits of lspipe.schema.Quality, 0 to 255"
            )
        return found.astype(np.uint8)


def source(spec: MaskSpec, name: str) -> Own:
    """Return a source for a "package.module:thing".

    Raises:
        UsageError: there is no such thing, or it does not say what it reads.
        MissingExtra: its module needs a package that is not installed.
    """
    del spec
    thing = resolve(name, {}, kind="source of masks")
    where = f"cube.mask.source: {name}"
    if not callable(thing):
        raise UsageError(f"{where} is a {type(thing).__name__}, expected a function")
    bands = getattr(thing, "bands", None)
    if not isinstance(bands, tuple | list) or not bands or not all(map(_is_band, bands)):
        raise UsageError(
            f'{where}: its attribute bands is {bands!r}, expected names of bands such as ("B02",)'
        )
    window = getattr(thing, "window", None)
    return Own(
        name=name,
        bands=tuple(bands),
        levels=tuple(getattr(thing, "levels", _LEVELS)),
        pixel_m=_number(thing, "pixel_m", 10, where, step=10),
        window=None if window is None else _number(thing, "window", None, where, step=1),
        margin=_number(thing, "margin", 0, where, step=1, least=0),
        version=_version(thing, name),
    )


def _is_band(name: Any) -> bool:
    return isinstance(name, str) and name in CHANNELS and source_of(name) == "scenes"


def _number(
    thing: Any, name: str, default: Any, where: str, *, step: int, least: int | None = None
) -> int:
    value = getattr(thing, name, default)
    low = step if least is None else least
    if not isinstance(value, int) or isinstance(value, bool) or value < low or value % step:
        raise UsageError(
            f"{where}: its attribute {name} is {value!r}, expected a whole number, {low} or more"
            + (f", a multiple of {step}" if step > 1 else "")
        )
    return value


def _version(thing: Any, name: str) -> str:
    """Return the version that a thing says, else the sha256 of the text of its module."""
    said = getattr(thing, "version", None)
    if said is not None:
        return str(said)
    module = inspect.getmodule(thing)
    try:
        text = inspect.getsource(module if module is not None else type(thing))
    except (OSError, TypeError) as error:
        raise UsageError(
            f"cube.mask.source: {name} has no source text to tell its version from; give it an "
            "attribute version, and change that when its answers change"
        ) from error
    return hashlib.sha256(text.encode()).hexdigest()
