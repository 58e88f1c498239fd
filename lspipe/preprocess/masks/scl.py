"""Scene classes of Sen2Cor, which come with every L2A product -> quality bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lspipe.schema import SCL_CLASSES, Quality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lspipe.preprocess.masks.spec import MaskSpec

_BIT_OF_CLASS = {
    "nodata": Quality.NODATA,
    "shadow": Quality.SHADOW,
    "cloud_medium": Quality.CLOUD,
    "cloud_high": Quality.CLOUD,
    "cirrus": Quality.CLOUD,
    "snow": Quality.SNOW,
}


@dataclass(frozen=True)
class SceneClasses:
    """The classes of a product as a source of masks; see `sources.MaskSource`."""

    classes: tuple[str, ...]
    """Names of the classes that are masked."""
    name: ClassVar[str] = "scl"
    bands: ClassVar[tuple[str, ...]] = ("SCL",)
    levels: ClassVar[tuple[str, ...]] = ("L2A",)
    pixel_m: ClassVar[int] = 10
    window: ClassVar[int | None] = None
    margin: ClassVar[int] = 0

    def facts(self) -> Mapping[str, Any]:
        """Return nothing: the items and `cube.mask.scl`, which are recorded, decide it."""
        return {}

    def bits(self, pixels: NDArray[np.float32], level: str) -> NDArray[np.uint8]:
        """Return the quality bits of scene classes (1, y, x)."""
        del level
        return quality_of(pixels[0].astype(np.uint8), self.classes)


def source(spec: MaskSpec, name: str) -> SceneClasses:
    """Return the source for the classes that a workflow masks."""
    del name
    return SceneClasses(spec.scl)


def quality_of(scl: NDArray[Any], classes: Sequence[str]) -> NDArray[np.uint8]:
    """Turn scene classes into quality bits.

    Args:
        scl: unsigned integers 0..11 (uint8 or uint16), any shape.
        classes: names of the classes that are masked, see `schema.SCL_CLASSES`.

    Returns:
        uint8 bits of `schema.Quality`, 0 = clear. A value that is no scene class is `OTHER`.

    Raises:
        ValueError: a name is no scene class.
    """
    bits = np.zeros(256, np.uint8)
    bits[len(SCL_CLASSES) :] = Quality.OTHER
    for name in classes:
        if name not in SCL_CLASSES:
            raise ValueError(f"found {name!r}, expected names among {', '.join(SCL_CLASSES)}")
        bits[SCL_CLASSES[name]] = _BIT_OF_CLASS.get(name, Quality.OTHER)
    found: NDArray[np.uint8] = bits[np.minimum(scl, 255)]
    return found
