"""What a workflow may set about inference, and what a run is done with; imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from lspipe.inference import windows
from lspipe.models.item import Blend, Tta, TtaMerge, TtaOrder
from lspipe.spec import Bounds, Count, Pixels, Spec, check

if TYPE_CHECKING:
    from collections.abc import Mapping

NUMERICS = 1
"""Raised whenever a change of lspipe changes pixels, so that no run directory mixes both."""

Preset = Literal["paper", "balanced", "fast", "preview"]

# Overlap fractions, so that they fit any window; `paper` is what the model item sets.
# Cost and agreement with `paper`: docs/performance.md, What overlap and TTA buy.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "balanced": {"overlap": 0.7, "tta": "d4", "blend": "uniform"},
    "fast": {"overlap": 0.5, "tta": "d4", "blend": "hann"},
    "preview": {"overlap": 0.5, "tta": "none", "blend": "uniform"},
}

AUTO_BATCH_SIZE = 4
"""Windows in one call of a network on a CPU: among the fastest for every runtime, and pads little
(benchmarks/batch_size.py). Not probed, so that one file gives the same bits anywhere."""

TOO_LITTLE = "too little to compute for a comparison of runtimes to pay"
"""Why `runtime: auto` takes plain PyTorch, which needs no preparing."""

Screen = Annotated[float, Bounds(ge=0, lt=0.5, noun="a probability")]
"""0.5 and more would screen out landslides themselves."""

FIRST_PASS_OVERLAP = 0.51
"""Overlap of a screen's first pass: stride 110 of 224 px, a little more than half
(benchmarks/screen.py)."""


@dataclass(frozen=True, kw_only=True)
class InferenceSpec(Spec):
    """How the network is laid over a tile. What is None, the preset or the model item decides."""

    preset: Preset | None = None
    """`paper` (as the model's own paper), `balanced`, `fast` or `preview`: cost against detail."""
    overlap: Annotated[float, Bounds(ge=0, lt=1, noun="a share")] | None = None
    """Share of a window that the next one covers again; or give `stride`."""
    window: Pixels | None = None
    """Edge of a window, pixels."""
    stride: Pixels | None = None
    """Step between windows, pixels; or give `overlap`."""
    tta: Tta | None = None
    """`d4`: the network sees each window in its eight symmetries. `none`: once."""
    tta_merge: TtaMerge | None = None
    """How the eight views become one: `max` (the paper) or `mean`."""
    tta_order: TtaOrder | None = None
    """`average-then-max`: overlaps are averaged per view, then views merged; or the other way."""
    blend: Blend | None = None
    """Weight of a window's pixels in the overlap average: `uniform` (the paper) or `hann`."""
    screen: Screen | None = None
    """A coarse first pass decides where the full setting runs: only near pixels above this
    probability; the others keep the first pass's answer. 0.05 is safe, None runs everywhere."""
    spread: bool = False
    """Whether to store how far the probabilities of the views, and of the models of an ensemble,
    lie apart, pixel by pixel (standard deviation), and their mean in each object."""
    batch_size: Count | Literal["auto"] = "auto"
    """Windows in one call of the network."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`fp32`, or `bf16`: twice as fast where the processor has it, within 0.01."""
    runtime: Literal["auto", "eager", "compiled", "openvino", "cudagraph"] = "auto"
    """What executes the network: `eager` (plain torch), `compiled` (torch.compile), `openvino`
    (CPU), `cudagraph` (GPU). `auto`: on a CPU, the quickest of the first three, measured before a
    run of some minutes or more; else `eager`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes the GPU if there is one."""
    unfamiliar: Literal["refuse", "warn", "ignore"] = "refuse"
    """Scenes unlike the training data, where the model item describes those: `refuse` a
    tile and date with half of a channel's pixels outside of it (or the mean 3 standard deviations
    away), before it is computed, and warn from a tenth (or 2) on; `warn` only; or `ignore`. Never
    changes a pixel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overlap is not None and self.stride is not None:
            raise ValueError(
                f"found overlap {self.overlap} and stride {self.stride}: expected one of them"
            )
        window = self.window if self.window is not None else self.stride or 1
        windows.check_lattice(window, 1 if self.stride is None else self.stride)


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
    batch_size: Count = AUTO_BATCH_SIZE
    screen: Screen | None = None
    """Probability of the first pass above which the full setting runs; None = everywhere."""
    spread: bool = False
    """Whether it is told how far the views lie apart."""

    def __post_init__(self) -> None:
        check(self)
        windows.check_lattice(self.window, self.stride)
        if self.spread and self.screen is not None:
            raise ValueError(
                f"found spread true and screen {self.screen:g}, which answers some pixels by a "
                "coarser pass: expected one of them"
            )
        if self.spread and self.tta == "d4" and self.tta_order == "max-then-average":
            raise ValueError(
                "found spread true and tta_order max-then-average, which merges views before there "
                "is a map of each: expected average-then-max"
            )

    def facts(self) -> dict[str, Any]:
        """Return all of it as plain values, for a fingerprint.

        Keys of later versions count only where they are not the default.
        """
        return {name: value for name, value in asdict(self).items() if name != "spread" or value}

    @property
    def first_pass(self) -> Setting:
        """The coarse pass of a screen: the same setting at about half overlap.

        It keeps the views: some objects are seen in a turned window only, and no threshold brings
        them back (benchmarks/screen.py).
        """
        stride = windows.stride_of(self.window, FIRST_PASS_OVERLAP)
        return replace(self, stride=max(self.stride, stride), blend="uniform", screen=None)

    @property
    def reach(self) -> int:
        """Pixels around a hot pixel of the first pass that are answered in full: window / 4.

        The least that flipped no pixel of any scene tried (benchmarks/screen.py).
        """
        return 0 if self.screen is None else self.window // 4

    @property
    def halo(self) -> int:
        """Pixels around the core of a block that decide it."""
        return self.window - 1 + self.reach
