"""What lspipe knows about a model: a STAC Item with the MLM extension, as one frozen noun.

    lspipe.models.mlm   reads the JSON of an item into a `ModelItem`
    lspipe.models.pack  writes a trained module as an item and its weights

The item, not the code, defines which bands in which order, which window, which scaling and which
threshold a network was made with, so that a network never gets input it was not made for.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from lspipe.schema import CHANNELS, is_pair, source_of, split_channel
from lspipe.spec import Items, Named, Spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lspipe.models.statistics import Statistics
    from lspipe.schema import Source

ScalingKind = Literal[
    "identity", "affine", "tile-minmax", "window-minmax", "window-minmax-all", "window-max"
]
Tta = Literal["d4", "none"]
TtaMerge = Literal["max", "mean"]
TtaOrder = Literal["average-then-max", "max-then-average"]
Blend = Literal["uniform", "hann"]

SHIPPED = {
    "bare-change": "bare-change.json",
    "bare-ground": "bare-ground.json",
    "demo": "demo.json",
    "l4s-rgb": "l4s-rgb.json",
}
"""Models that come with lspipe ("shipped:NAME"), and their files in `models/shipped/`."""

SHIPPED_FOLDER = Path(__file__).parent / "shipped"

SHIPPED_PREFIX = "shipped:"

AUTO = "auto"
"""What a workflow that names no model asks for."""

_SHIPPED_NAMES = tuple(f"{SHIPPED_PREFIX}{name}" for name in SHIPPED)

_Item = Annotated[str, Named(_SHIPPED_NAMES, "the path of a model item")]


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How physical values become the units of the network, on observed pixels only.

    `identity` and `affine` act on reflectance, degrees, ... (an int16 cube times its steps,
    `schema.CHANNELS`) and on floats as they are:

    - `identity`: x
    - `affine`: x * scale + offset per band, then `clip` to (low, high), in model units
    - `tile-minmax`: (x - min) / (max - min) per band, min and max of the whole tile
    - `window-minmax`: the same with the min and max of each window, per band
    - `window-minmax-all`: one min and one max over all bands of the window
    - `window-max`: x * scale per band (1 if none is given), then divided by the maximum over all
      bands of the window

    Source: papers 000 (fixed or tile-level) and 002 (per patch); docs/method.md, Scaling.

    Raises:
        ValueError: an unknown kind, or numbers that do not fit the kind.
    """

    kind: ScalingKind = "identity"
    scale: tuple[float, ...] = ()
    """One factor per band; for `affine`, and for `window-max` if wanted."""
    offset: tuple[float, ...] = ()
    """One summand per band, model units; only for `affine`."""
    clip: tuple[float, float] | None = None
    """Lowest and highest value after the affine step, model units; only for `affine`."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(ScalingKind):
            raise ValueError(f"kind {self.kind!r}: expected one of {_listed(ScalingKind)}")
        if self.kind != "affine" and (self.offset or self.clip):
            raise ValueError(f"offset and clip go with kind 'affine', not {self.kind!r}")
        if self.kind not in ("affine", "window-max") and self.scale:
            raise ValueError(f"scale goes with 'affine' and 'window-max', not {self.kind!r}")
        if self.kind == "affine" and (not self.scale or len(self.scale) != len(self.offset)):
            raise ValueError(
                f"{len(self.scale)} scales and {len(self.offset)} offsets: expected one of each "
                "per band"
            )
        if not all(math.isfinite(x) for x in (*self.scale, *self.offset, *(self.clip or ()))):
            raise ValueError("scale, offset and clip must be finite numbers")
        if 0 in self.scale:
            raise ValueError("a scale of 0 would hide a band from the network")
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip {self.clip}: expected (low, high) with low < high")


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Spec):
    """Which model a workflow uses."""

    item: Annotated[str, Named((AUTO, *_SHIPPED_NAMES), "the path of a model item")] = AUTO
    """Path of a model item (STAC Item JSON with the MLM extension), or "shipped:NAME"; "auto" is
    shipped:bare-change for two dates and shipped:bare-ground for one, or what the run directory
    was begun with."""
    items: Annotated[tuple[_Item, ...], Items(least=2, unique=True)] | None = None
    """In place of `item`: an ensemble of items with the same channels and windows, each as `item`
    but `auto`. The map is the mean of their probabilities, for the time of all of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.items is not None and AUTO in self.items:
            raise ValueError(
                f"items: found {AUTO}, expected the model items of the ensemble by name"
            )
        if self.items is not None and self.item != AUTO:
            raise ValueError(
                f"found item {self.item} and items {', '.join(self.items)}: expected one of them"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The items: of an ensemble, or the only one."""
        return (self.item,) if self.items is None else self.items

    @property
    def is_auto(self) -> bool:
        """Whether no model is named."""
        return self.names == (AUTO,)


@dataclass(frozen=True, kw_only=True)
class ModelItem:
    """One model and everything that must be known to use it as it was trained.

    None in `overlap`, `tta`, `tta_merge`, `tta_order` and `blend` means that the item is silent.
    """

    id: str
    path: Path
    """File of the item, absolute."""
    reference: str
    """What `from_file` takes on any machine: "shipped:NAME", or the absolute path."""
    bands: tuple[str, ...]
    """Channels in the order of the network, canonical names ("B02", "B8A")."""
    window: int
    """Edge of the square window of the network, pixels."""
    scaling: Scaling
    fill: tuple[float, ...]
    """What the network sees where a channel has no data, model units, one per channel."""
    architecture: str
    """A name of `lspipe.models.ARCHITECTURES`, or "package.module:callable"."""
    item_sha256: str
    """sha256 (hex) of the item's JSON in canonical form: sorted keys, no spaces, and without its
    statistics, its training and the asset "scorecard", which decide no pixel."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the architecture besides the number of channels."""
    weights: Path | None = None
    """Safetensors file, absolute; None for a model that is a formula."""
    sha256: str | None = None
    """What the sha256 (hex) of the weights must be."""
    threshold: float = 0.5
    """Landslide where the probability is above it."""
    threshold_sensitive: float | None = None
    """A lower threshold, above which most landslide pixels are; None = not given."""
    temperature: float | None = None
    """Divides the log-odds of the network's probabilities, so that they mean what they say; None =
    they stay as they are."""
    classes: tuple[str, ...] = ()
    recipe: str = ""
    """Name of a recipe of `lspipe.models.recipes` whose channels `bands` are; empty = of none."""
    overlap: float | None = None
    """Share of a window that the next one covers again, 0..1."""
    tta: Tta | None = None
    tta_merge: TtaMerge | None = None
    tta_order: TtaOrder | None = None
    blend: Blend | None = None
    version: str = ""
    """Version of the model of this id, where it has had several; empty = not given."""
    description: str = ""
    """What the model is, and what it was trained on."""
    not_for: str = ""
    """What the model must not be used for."""
    scorecard: Path | None = None
    """What was measured of it (a scorecard), absolute; None where the item names none."""
    statistics: Statistics | None = None
    """Statistics of the pixels it was trained on, model units; None = not given."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """How it was trained, plain JSON values, to be read by people; empty = not given."""
    members: tuple[ModelItem, ...] = ()
    """Of an ensemble (`models.ensemble`) its items, two or more; empty = one network."""

    @property
    def title(self) -> str:
        """Its id, with the version where it has one."""
        return f"{self.id}, version {self.version}" if self.version else self.id

    @property
    def networks(self) -> tuple[ModelItem, ...]:
        """The items whose probabilities are averaged: the members of an ensemble, or this one."""
        return self.members or (self,)

    @property
    def scaling_kinds(self) -> frozenset[ScalingKind]:
        """The kinds of scaling of all its networks."""
        return frozenset(item.scaling.kind for item in self.networks)

    @property
    def is_pair(self) -> bool:
        """Whether it sees two dates at once: a channel names its date ("before:B04")."""
        return is_pair(self.bands)

    def channels_from(self, source: Source) -> tuple[str, ...]:
        """Return the channels that are read from a source, with their dates, in order."""
        return tuple(band for band in self.bands if source_of(band) == source)

    def inference_defaults(self) -> dict[str, Any]:
        """What the model itself asks of the inference; None where the item is silent.

        An item that says nothing of `tta`, and sees a channel that has a direction, asks for none.
        """
        known = (CHANNELS.get(split_channel(band)[1]) for band in self.bands)
        has_direction = any(channel is not None and channel.is_directional for channel in known)
        return {
            "window": self.window,
            "overlap": self.overlap,
            "tta": self.tta or ("none" if has_direction else None),
            "tta_merge": self.tta_merge,
            "tta_order": self.tta_order,
            "blend": self.blend,
        }

    def facts(self) -> dict[str, Any]:
        """Everything of the item that decides a pixel, as plain JSON values, for a fingerprint.

        The weights' sha256 alone would not notice an item whose scaling was edited.
        """
        if self.members:
            return {"bands": list(self.bands), "items": [item.facts() for item in self.members]}
        return {
            "architecture": self.architecture,
            "arguments": dict(self.arguments),
            "bands": list(self.bands),
            "scaling": asdict(self.scaling),
            "fill": list(self.fill),
            "sha256": digest(self),
            # Only where there is one, so that other fingerprints stay what they were.
            **({} if self.temperature is None else {"temperature": self.temperature}),
        }


def digest(item: ModelItem) -> str:
    """The sha256 (hex) that names a model: of its weights, or of its item if it has none."""
    return item.sha256 or item.item_sha256


def _listed(choices: Any) -> str:
    return ", ".join(map(str, get_args(choices)))
