"""What a workflow, its preset and a model item say about inference -> one `Setting`.

`InferenceSpec` is what a person may write, `Setting` what `inference.run_block` obeys: nothing is
left to decide in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from lspipe import windows
from lspipe.models.item import Blend, Tta, TtaMerge, TtaOrder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Preset = Literal["paper", "balanced", "fast", "preview"]

# Overlap fractions, so that they fit any window; `paper` is what the model item says.
# Cost and agreement with `paper`: PERFORMANCE, "What overlap and TTA buy".
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "balanced": {"overlap": 0.7, "tta": "d4", "blend": "uniform"},
    "fast": {"overlap": 0.5, "tta": "d4", "blend": "hann"},
    "preview": {"overlap": 0.5, "tta": "none", "blend": "uniform"},
}

# What paper 000 did, where neither the workflow, the preset nor the model item says.
_PAPER = {
    "overlap": 0.9,
    "tta": "d4",
    "tta_merge": "max",
    "tta_order": "average-then-max",
    "blend": "uniform",
}

# The default of `lspipe.detect`; not probed, so that the same file gives the same bits anywhere.
AUTO_BATCH_SIZE = 8


@dataclass(frozen=True, kw_only=True)
class InferenceSpec:
    """How the network is laid over a tile. What is None, the preset or the model item decides."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "use_attribute_docstrings": True,
    }

    preset: Preset | None = None
    """`paper` (as the model's own paper), `balanced`, `fast` or `preview`: cost against detail."""
    overlap: float | None = None
    """Share of a window that the next one covers again, 0 <= overlap < 1; or give `stride`."""
    window: int | None = None
    """Edge of a window, pixels."""
    stride: int | None = None
    """Step between windows, pixels; or give `overlap`."""
    tta: Tta | None = None
    """`d4`: the network sees each window in its eight symmetries. `none`: once."""
    tta_merge: TtaMerge | None = None
    """How the eight views become one: `max` (the paper) or `mean`."""
    tta_order: TtaOrder | None = None
    """`average-then-max`: overlaps are averaged per view, then views merged; or the other way."""
    blend: Blend | None = None
    """Weight of a window's pixels in the overlap average: `uniform` (the paper) or `hann`."""
    batch_size: int | Literal["auto"] = "auto"
    """Windows in one call of the network."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    runtime: Literal["auto", "eager"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        if self.overlap is not None and self.stride is not None:
            raise ValueError(
                f"found overlap {self.overlap} and stride {self.stride}: expected one of them"
            )
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r}: expected one of {', '.join(PRESETS)}")
        if self.overlap is not None:
            windows.stride_of(1, self.overlap)
        window = self.window if self.window is not None else self.stride or 1
        windows.check_lattice(window, 1 if self.stride is None else self.stride)
        _check_batch_size(AUTO_BATCH_SIZE if self.batch_size == "auto" else self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The resolved settings of `run_block`; nothing is left to decide.

    Raises:
        ValueError: a lattice with gaps, an unknown choice, a batch size below 1.
    """

    window: int = 224
    """Edge of a window, pixels."""
    stride: int = 22
    """Step between windows, pixels, 1..window."""
    tta: Tta = "d4"
    tta_merge: TtaMerge = "max"
    tta_order: TtaOrder = "average-then-max"
    blend: Blend = "uniform"
    batch_size: int = AUTO_BATCH_SIZE

    def __post_init__(self) -> None:
        windows.check_lattice(self.window, self.stride)
        _check_batch_size(self.batch_size)
        choices = {"tta": Tta, "tta_merge": TtaMerge, "tta_order": TtaOrder, "blend": Blend}
        for name, known in choices.items():
            if getattr(self, name) not in get_args(known):
                expected = " or ".join(map(repr, get_args(known)))
                raise ValueError(f"{name} {getattr(self, name)!r}: expected {expected}")


def resolve(spec: InferenceSpec, item_defaults: Mapping[str, Any]) -> Setting:
    """Decide every setting: the spec beats its preset, the preset the model item, that the paper.

    Args:
        spec: what the workflow says.
        item_defaults: what the model item says (`ModelItem.inference_defaults()`): window, stride
            or overlap, tta, tta_merge, tta_order, blend; None or absent where it is silent.

    Raises:
        ValueError: nobody names a window, or the settings do not go together.
    """
    sources = (
        {name: getattr(spec, name) for name in InferenceSpec.__dataclass_fields__},
        PRESETS[spec.preset or "paper"],
        item_defaults,
        _PAPER,
    )

    def first(name: str) -> Any:
        return next((s[name] for s in sources if s.get(name) is not None), None)

    window = first("window")
    if window is None:
        raise ValueError("neither the workflow nor the model item names a window: set one, pixels")
    return Setting(
        window=window,
        stride=_stride(sources, window, item_defaults.get("window")),
        tta=first("tta"),
        tta_merge=first("tta_merge"),
        tta_order=first("tta_order"),
        blend=first("blend"),
        batch_size=AUTO_BATCH_SIZE if spec.batch_size == "auto" else spec.batch_size,
    )


def _stride(sources: Sequence[Mapping[str, Any]], window: int, item_window: int | None) -> int:
    """Stride or overlap of the first source that gives one, for the window that was chosen."""
    spec, *others = sources
    if spec["stride"] is not None:
        return int(spec["stride"])
    for source in (spec, *others):
        if source.get("overlap") is not None:
            return windows.stride_of(window, source["overlap"])
        if source.get("stride") is not None:
            # The item's stride belongs to the item's window: its overlap is what is kept.
            return windows.stride_of(window, 1 - source["stride"] / (item_window or window))
    raise AssertionError("the paper's overlap is the last source")


def _check_batch_size(batch_size: int) -> None:
    if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 1:
        raise ValueError(f"batch_size {batch_size!r}: expected a whole number, 1 or more")
