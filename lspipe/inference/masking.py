"""A model item whose classes are clouds and the like -> a source of masks.

The names of its classes say what each is (`BITS`). With several outputs a pixel has the class of
the highest; with one, it is the last class where it is above the item's threshold. The network runs
on one thread of the processor, window by window, so that a window has the same bits wherever it is
computed; no views are averaged, as the borders of clouds are fuzzy anyway.

Opened by name from `preprocess/masks/sources.py`, which stands below this room.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from lspipe.errors import InferenceError, ModelError
from lspipe.inference.inputs import to_model_units
from lspipe.inference.runtimes import use_threads
from lspipe.inference.temperature import tempered
from lspipe.inference.windows import stride_of
from lspipe.models import read_item
from lspipe.models.item import digest
from lspipe.models.recipes import check_item
from lspipe.models.weights import build_network
from lspipe.schema import Quality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import nn

    from lspipe.models import ModelItem
    from lspipe.preprocess.masks import MaskSpec

BITS = {
    **dict.fromkeys(("background", "clear", "land", "valid", "water"), Quality(0)),
    **dict.fromkeys(("cirrus", "cloud", "clouds", "haze", "thick cloud", "thin cloud"),
                    Quality.CLOUD),
    **dict.fromkeys(("cloud shadow", "cloud shadows", "shadow", "shadows"), Quality.SHADOW),
    **dict.fromkeys(("ice", "snow", "snow and ice"), Quality.SNOW),
    "other": Quality.OTHER,
}  # fmt: skip
"""Names of classes in a model item, and their quality bits."""

_OVERLAP = 0.2
"""Share of a window that the next one covers, where the item is silent: a tenth on each side is
left to the neighbour, which sees more around it."""

_THREADS = 1


@dataclass(frozen=True)
class ItemMask:
    """The network of a model item as a source of masks; see `preprocess.masks.MaskSource`."""

    name: str
    """Id of the item."""
    reference: str
    """What finds the item on any machine."""
    item_sha256: str
    sha256: str
    bands: tuple[str, ...]
    window: int
    margin: int
    bits_of: tuple[int, ...]
    """Quality bits of each class."""
    levels: ClassVar[tuple[str, ...]] = ("L1C", "L2A")
    pixel_m: ClassVar[int] = 10

    def facts(self) -> Mapping[str, Any]:
        """Return the hashes of the item and of its weights."""
        return {"item_sha256": self.item_sha256, "sha256": self.sha256}

    def bits(self, pixels: NDArray[np.float32], level: str) -> NDArray[np.uint8]:
        """Return the class of each pixel of a window, as quality bits.

        Raises:
            ModelError: the item has changed since the plan.
            InferenceError: the network returned another shape.
        """
        del level
        item, network = _loaded(self.reference, self.item_sha256)
        missing = np.isnan(pixels)
        observed: NDArray[np.bool_] = np.asarray(~missing.any(axis=0))
        units = to_model_units(pixels, item.scaling, observed=observed)
        fill = np.array(item.fill, np.float32).reshape(-1, 1, 1)
        earlier = use_threads(_THREADS)
        try:
            with torch.inference_mode():
                scores = network(torch.from_numpy(np.where(missing, fill, units))[None])
        finally:
            use_threads(earlier)
        expected = (1, self._outputs, self.window, self.window)
        if tuple(scores.shape) != expected:
            raise InferenceError(
                f"source of masks {self.name}: the network returned shape {tuple(scores.shape)}, "
                f"expected {expected}, one output for each class of its item"
            )
        if self._outputs == 1:
            scores = tempered(scores, item.temperature)
        return self._classified(scores[0].numpy(), item.threshold)

    @property
    def _outputs(self) -> int:
        return 1 if len(self.bits_of) <= 2 else len(self.bits_of)

    def _classified(self, scores: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
        if len(scores) == 1:
            return np.where(scores[0] > threshold, np.uint8(self.bits_of[-1]), np.uint8(0))
        bits: NDArray[np.uint8] = np.array(self.bits_of, np.uint8)[scores.argmax(axis=0)]
        return bits


def source(spec: MaskSpec, name: str) -> ItemMask:
    """Return the source of a model item; its weights are not read.

    Raises:
        ModelError: the item cannot be read, has a class that no mask has, or wants what a mask
            cannot give it.
    """
    del spec
    item = read_item(name)
    check_item(item)
    where = f"cube.mask.source: {item.path}"
    others = [band for band in item.bands if band not in item.channels_from("scenes")]
    if others or item.is_pair:
        raise ModelError(f"{where} wants {', '.join(others or item.bands)}: expected bands alone")
    if item.scaling.kind == "tile-minmax":
        raise ModelError(f"{where} is scaled by whole tiles, which no mask can be")
    stride = stride_of(item.window, _OVERLAP if item.overlap is None else item.overlap)
    return ItemMask(
        name=item.id,
        reference=item.reference,
        item_sha256=item.item_sha256,
        sha256=digest(item),
        bands=item.bands,
        window=item.window,
        margin=(item.window - stride) // 2,
        bits_of=_bits(item, where),
    )


def _bits(item: ModelItem, where: str) -> tuple[int, ...]:
    """Return the quality bits of the classes of an item, by their names."""
    names = [" ".join(name.lower().replace("_", " ").split()) for name in item.classes]
    unknown = [name for name in names if name not in BITS]
    if unknown or not names:
        raise ModelError(
            f"{where}: its classes are {', '.join(names) or 'not named'}, expected names among "
            f"{', '.join(BITS)} (classification:classes of its output)"
        )
    return tuple(int(BITS[name]) for name in names)


_networks: dict[tuple[str, str], tuple[ModelItem, nn.Module]] = {}
_loading = threading.Lock()


def _loaded(reference: str, item_sha256: str) -> tuple[ModelItem, nn.Module]:
    """Return an item and its network, from the cache of this process if they are there."""
    with _loading:
        if (reference, item_sha256) not in _networks:
            item = read_item(reference)
            if item.item_sha256 != item_sha256:
                raise ModelError(
                    f"{item.path}: the item has changed since the run was planned; restore it, or "
                    "plan a new run"
                )
            _networks[reference, item_sha256] = item, build_network(item)
        return _networks[reference, item_sha256]
