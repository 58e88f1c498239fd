"""The contract of a source of cloud masks, the table of names, and a name -> a source.

A source is small and can be sent to a worker: what it needs, such as a network, it loads there at
its first call, once per process. It never sees a whole tile, and how a tile is cut into blocks has
no effect on what it sees:

- with a `window` (a network), it gets windows of that edge on one lattice of the tile, and a pixel
  is answered by the window whose centre is nearest, with `margin` pixels or more around it;
- without, it gets any part, and a pixel may depend on `margin` pixels around it, no further.

tests/unit/test_masks.py runs the same tests over every name in the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from lspipe.spec.plugins import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from lspipe.preprocess.masks.spec import MaskSpec

SOURCES = {
    "scl": "lspipe.preprocess.masks.scl:source",
    "csmask": "lspipe.preprocess.masks.csmask:source",
}
"""Sources by name, and the functions (spec, name) -> `MaskSource` that make them."""

NONE = "none"
"""The name that stands for no mask: only what has no data is not observed."""

_OWN = "lspipe.preprocess.masks.own:source"
# By name: a model is opened in `inference`, which stands above this room.
_ITEM = "lspipe.inference.masking:source"


class MaskSource(Protocol):
    """Bands in, quality bits out."""

    @property
    def name(self) -> str:
        """What it is called in messages and in `run.json`."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands that it reads, in order; ("SCL",) for the scene classes."""

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels that it is made for: "L1C", "L2A"."""

    @property
    def pixel_m(self) -> int:
        """Edge of the pixels that it gets, metres: a multiple of 10; the mean of those of 10 m."""

    @property
    def window(self) -> int | None:
        """Edge of the square windows that it gets, its own pixels; None = any part."""

    @property
    def margin(self) -> int:
        """Pixels around a pixel that it should see, its own pixels."""

    def facts(self) -> Mapping[str, Any]:
        """Return all that decides its answers besides its name, plain JSON, for the fingerprint."""

    def bits(self, pixels: NDArray[np.float32], level: str) -> NDArray[np.uint8]:
        """Mark what cannot be seen.

        Args:
            pixels: (band, y, x), reflectance, NaN = no data; of "SCL" the number of the class.
            level: "L1C" or "L2A", of the scene.

        Returns:
            (y, x), bits of `schema.Quality`: 0 = clear, CLOUD, SHADOW, SNOW, OTHER. Bits of pixels
            without data are ignored.
        """


def sources(spec: MaskSpec) -> tuple[MaskSource, ...]:
    """Return the sources that a workflow names, in order; none for `none`.

    Raises:
        UsageError: a source is not there, or is none.
        MissingExtra: it needs a package that is not installed.
    """
    return tuple(_source(spec, name) for name in spec.names if name != NONE)


def mask_bands(found: Iterable[MaskSource]) -> tuple[str, ...]:
    """Return the bands of reflectance that sources read, each once."""
    return tuple(dict.fromkeys(band for one in found for band in one.bands if band != "SCL"))


def _source(spec: MaskSpec, name: str) -> MaskSource:
    maker = SOURCES.get(name, _OWN if ":" in name and not _is_item(name) else _ITEM)
    made: MaskSource = resolve(maker, {}, kind="source of masks")(spec, name)
    return made


def _is_item(name: str) -> bool:
    return name.endswith(".json") or name.startswith("shipped:")
