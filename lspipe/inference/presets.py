"""Settings of a workflow, its preset and a model item -> one `Setting`.

`InferenceSpec` is what a person may write, `Setting` what `inference.run_block` obeys: nothing is
left to decide in it. `trace` also returns the source of each value, and `compare_presets`
what each preset would make of the same workflow.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from lspipe.inference import windows
from lspipe.inference.settings import AUTO_BATCH_SIZE, PRESETS, InferenceSpec, Setting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lspipe.models.item import ModelItem

AGREEMENT: Mapping[str, tuple[float, ...] | None] = {
    "paper": (1.0, 1.0),
    "balanced": (0.981, 0.792),
    "fast": (0.980, 0.743),
    "preview": (0.952, 0.357),
}
"""F1 of a preset's mask (> 0.5) to that of overlap 0.9 with D4 maximum: the lowest of two scenes on
which the network is sure, then of two hard ones. None = not measured.
Source: benchmarks/overlap_error.py, the demo model in windows of 64 px."""

AGREEMENT_SOURCE = (
    "F1 to the mask of paper (overlap 0.9, D4): lowest of scenes that are easy, and hard, for the "
    "demo model, 2026-11"
)
"""What `AGREEMENT` is, in words for a person who reads the numbers."""

AGREEMENT_REFERENCE: Mapping[str, Any] = {"overlap": 0.9, "tta": "d4"}
"""What was `paper` where agreement was measured; another model item may define it otherwise."""

# What paper 000 did, where neither the workflow, the preset nor the model item gives a value.
_PAPER = {
    "overlap": 0.9,
    "tta": "d4",
    "tta_merge": "max",
    "tta_order": "average-then-max",
    "blend": "uniform",
}


def resolve(spec: InferenceSpec, item_defaults: Mapping[str, Any]) -> Setting:
    """Decide every setting: the spec beats its preset, the preset the model item, that the paper.

    One thing a preset never does: where the model item has `tta: none`, it turns no views on. Such
    channels may have directions (radar, slope aspect), which a turned window would contradict. Only
    `tta: d4` in the workflow itself does that.

    Args:
        spec: what the workflow sets.
        item_defaults: what the model item sets (`ModelItem.inference_defaults()`): window, stride
            or overlap, tta, tta_merge, tta_order, blend; None or absent where it has no value.

    Raises:
        ValueError: no source gives a window, or the settings do not go together.
    """
    return trace(spec, item_defaults)[0]


def trace(spec: InferenceSpec, item_defaults: Mapping[str, Any]) -> tuple[Setting, dict[str, str]]:
    """Decide every setting as `resolve` does, and return the source of each.

    Returns:
        The setting; and per setting "workflow", "preset NAME", "model item" or "paper default"
        ("auto" for a batch size that was not set).

    Raises:
        ValueError: no source gives a window, or the settings do not go together.
    """
    voices = _voices(spec, item_defaults)
    who, window = _first(voices, "window")
    if window is None:
        raise ValueError("neither the workflow nor the model item names a window: set one, pixels")
    sources = {"window": who}
    sources["stride"], stride = _stride(voices, window, item_defaults.get("window"))
    chosen: dict[str, Any] = {}
    for name in ("tta", "tta_merge", "tta_order", "blend"):
        sources[name], chosen[name] = _first(voices, name)
    is_auto = spec.batch_size == "auto"
    sources["batch_size"] = "auto" if is_auto else "workflow"
    setting = Setting(
        window=window,
        stride=stride,
        **chosen,
        batch_size=AUTO_BATCH_SIZE if spec.batch_size == "auto" else spec.batch_size,
        screen=spec.screen,
        spread=spec.spread,
    )
    return setting, sources


def trace_model(spec: InferenceSpec, model: ModelItem) -> tuple[Setting, dict[str, str]]:
    """Decide every setting of a model as `trace` does: of an ensemble, one for all its items.

    Raises:
        ValueError: as `trace`, or the items of an ensemble ask for different settings.
    """
    first, *others = model.networks
    setting, sources = trace(spec, first.inference_defaults())
    if setting.spread and setting.tta == "none" and not others:
        raise ValueError(
            "found spread true with one view (tta none) of one model: expected several; give tta "
            "d4, or several models"
        )
    for item in others:
        own = asdict(trace(spec, item.inference_defaults())[0])
        differ = [name for name, value in asdict(setting).items() if own[name] != value]
        if differ:
            found = ", ".join(
                f"{name} {getattr(setting, name)} of {first.id} and {own[name]} of {item.id}"
                for name in differ
            )
            raise ValueError(
                f"found {found}: expected the same of all items of an ensemble; give "
                f"{', '.join(differ)}, or take items that agree"
            )
    return setting, sources


def _voices(spec: InferenceSpec, item_defaults: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the sources of settings, the strongest first."""
    name = spec.preset or "paper"
    preset = PRESETS[name]
    if item_defaults.get("tta") == "none":
        preset = {key: value for key, value in preset.items() if key != "tta"}
    return {
        "workflow": {key: getattr(spec, key) for key in InferenceSpec.__dataclass_fields__},
        f"preset {name}": preset,
        "model item": item_defaults,
        "paper default": _PAPER,
    }


def _first(voices: Mapping[str, Mapping[str, Any]], name: str) -> tuple[str, Any]:
    """Return the first source that has a setting, and its value; ("", None) if none has."""
    found = ((who, voice[name]) for who, voice in voices.items() if voice.get(name) is not None)
    return next(found, ("", None))


def _stride(
    voices: Mapping[str, Mapping[str, Any]], window: int, item_window: int | None
) -> tuple[str, int]:
    """Return the first source of a stride or an overlap, and the stride of the chosen window."""
    asked = voices["workflow"]["stride"]
    if asked is not None:
        return "workflow", int(asked)
    for who, voice in voices.items():
        if voice.get("overlap") is not None:
            return who, windows.stride_of(window, voice["overlap"])
        if voice.get("stride") is not None:
            # The item's stride belongs to the item's window: its overlap is what is kept.
            overlap = 1 - voice["stride"] / (item_window or window)
            return who, windows.stride_of(window, overlap)
    raise AssertionError("the paper's overlap is the last that is asked")


AS_ASKED = "as asked"
"""Stands for the name of a preset where the workflow's keys make another setting."""

_ONE_BY_ONE = ("overlap", "stride", "tta", "tta_merge", "tta_order", "blend", "screen")


def is_measured_reference(paper: Setting) -> bool:
    """Return whether `AGREEMENT` was measured against this `paper` setting."""
    stride = windows.stride_of(paper.window, AGREEMENT_REFERENCE["overlap"])
    return (paper.stride, paper.tta) == (stride, AGREEMENT_REFERENCE["tta"])


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A preset, applied to a workflow."""

    name: str
    setting: Setting
    is_used: bool
    """Whether this is what the workflow asks for."""


def compare_presets(spec: InferenceSpec, item_defaults: Mapping[str, Any]) -> list[Choice]:
    """Return what each preset would make of a workflow, and which one it asks for.

    Of what the workflow sets one by one, a preset's row keeps the window and the batch size. Where
    the rest makes another setting than the workflow's own preset, a last row is called "as asked".

    Raises:
        ValueError: as `resolve`.
    """
    asked, own = resolve(spec, item_defaults), spec.preset or "paper"
    without = dict.fromkeys(_ONE_BY_ONE)
    rows = []
    for name in PRESETS:
        # mypy cannot see that the keys are those of fields that may be None.
        plain: Any = {**without, "preset": name}
        setting = resolve(replace(spec, **plain), item_defaults)
        rows.append(Choice(name=name, setting=setting, is_used=name == own and setting == asked))
    if not any(row.is_used for row in rows):
        rows.append(Choice(name=AS_ASKED, setting=asked, is_used=True))
    return rows
