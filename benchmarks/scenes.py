"""Scenes and networks that several benchmarks share; it measures nothing itself.

Covers: simulated valleys that the demo model never saw, with their truth; real scenes, without one.

The demo model knows nothing of real scenes, and answers next to 0 nearly everywhere. There its
logits are raised until 3 % of the scene passes 0.5: a network that is unsure of a hard scene, which
is where overlap and the screen have most to lose. What it marks there means nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import xarray as xr
from demo_model import (
    HELD_OUT_SEEDS,
    SCALING,
    SHAPE,
    WINDOW,
    masked,
    random_sky,
    reflectance,
    scars,
)

from lspipe.demo.landscape import Cover, simulate
from lspipe.demo.scene import see
from lspipe.inference.detect import detect
from lspipe.inference.runtimes import load

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from numpy.typing import NDArray

PAPER = {"window": WINDOW, "stride": 6, "tta": "d4"}
"""The setting of paper 000 for the demo model's window: 90 % overlap, D4, maximum."""

COARSE = {"window": WINDOW, "stride": 31, "tta": "none"}
"""A quick look: 51 % overlap, no TTA."""

EDGE = 512
"""Longest edge of a scene, pixels: 8 windows, so that most pixels are far from its rim."""

_CENTRE = 2
"""Which of the ten valleys of `clustered`: it has quiet neighbours on three sides."""

HARD_SHARE = 0.03
"""Share of a hard scene that passes 0.5; 4.5 % of the pixels of Landslide4Sense are landslides."""

DATA = Path(
    os.environ.get("LSPIPE_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
"""Folder of the real scenes: as for the tests, `$LSPIPE_TEST_DATA` or ../shared/data."""

_INN = "s2_l2a_pair_inn_2021/inference-img.tif"
_UKIS = "s2_cloudmask_ukis/sentinel2.npz"

BATCH_SIZE = 32
"""The demo model is too small for 8 windows to keep a processor busy."""


@dataclass(frozen=True)
class Scene:
    """Pixels, what was not observed of them, and the landslides where they are known."""

    name: str
    pixels: NDArray[np.float32]
    """(band, y, x) model units, bands of the demo model."""
    mask: NDArray[np.bool_]
    """(y, x) True = not observed."""
    truth: NDArray[np.bool_] | None = None
    """(y, x) True = planted scar; None = nobody knows."""
    raised: float = 0.0
    """What is added to the logits of the demo model."""

    def network(self, batch: torch.Tensor) -> torch.Tensor:
        """Probabilities (N, 1, w, w) of the demo model, its logits raised."""
        return self.lifted(_demo_network()(batch)[:, None])

    def lifted(self, probability: torch.Tensor) -> torch.Tensor:
        """Probabilities of the demo model, its logits raised: sigmoid(logit(p) + b)."""
        # Without the logit of 0 or 1.
        lifted = probability * float(np.exp(self.raised))
        return lifted / (lifted + (1 - probability))

    def probability(
        self, network: Callable[[torch.Tensor], torch.Tensor] | None = None, **setting: Any
    ) -> NDArray[np.float32]:
        """Return `lspipe.detect` of the scene, (y, x), NaN where masked; of its own network."""
        cube = xr.DataArray(self.pixels, dims=("band", "y", "x"))
        hidden = xr.DataArray(self.mask, dims=("y", "x"))
        setting = {"batch_size": BATCH_SIZE, "device": "cpu", **setting}
        return detect(cube, network or self.network, mask=hidden, **setting).to_numpy()


@cache
def _demo_network() -> Callable[[torch.Tensor], torch.Tensor]:
    return load("shipped:demo", None, device="cpu", precision="fp32")


def simulated(
    seed: int,
    *,
    edge: int = EDGE,
    new: int = 14,
    old: int = 8,
    is_wooded: bool = False,
    date: int = 1,
) -> Scene:
    """The middle of a simulated valley after the event, or before it.

    Args:
        seed: of the valley; those of the training are 100 to 117.
        edge: longest edge, pixels.
        new: landslides of the event.
        old: landslides that were there before.
        is_wooded: nothing but forest under a clear sky, landslides apart.
        date: 0 = before, 1 = after; under another sky.
    """
    landscape = simulate(SHAPE, seed=seed, new=new, old=old)
    sky = random_sky(np.random.default_rng((seed, date)))
    if is_wooded:
        forest = np.full(SHAPE, Cover.FOREST, np.uint8)
        landscape = replace(landscape, covers=(forest, forest))
        sky = replace(sky, cloud_share=0.0)
    scene = see(landscape, date, sky, seed=seed * 10 + date)
    middle = tuple(
        slice(first := max(0, (length - edge) // 2), first + min(length, edge)) for length in SHAPE
    )
    return Scene(
        f"simulated {seed}",
        in_model_units(reflectance(scene)[:, *middle]),
        masked(scene)[middle],
        truth=scars(landscape, date)[middle],
    )


def inn(month: str, *, edge: int = EDGE) -> Scene:
    """Fields along the Inn, L2A of 17 June or 25 September 2021; a hard scene.

    The file lacks the two SWIR bands: the mean of red and near infrared, and red, stand in.
    """
    with rasterio.open(DATA / _INN) as file:
        both = file.read().astype(np.float32) * 1e-4
    red, green, blue, nir = both[:4] if month == "June" else both[4:]
    pixels = np.stack([blue, green, red, nir, (red + nir) / 2, red])
    return _hard(f"Inn, {month}", pixels, np.zeros(red.shape, bool), edge)


def ukis(*, edge: int = EDGE) -> Scene:
    """A cloudy scene of UKIS, top of the atmosphere, all six bands; a hard scene.

    Only what the file's mask calls clear land (3) counts as observed.
    """
    with np.load(DATA / _UKIS, allow_pickle=False) as file:
        pixels, classes = file["img"].transpose(2, 0, 1), file["msk"][..., 0]
    return _hard("UKIS", pixels, classes != 3, edge)


def _hard(name: str, pixels: NDArray[np.float32], mask: NDArray[np.bool_], edge: int) -> Scene:
    """A scene of which the network is unsure."""
    scene = Scene(name, in_model_units(pixels[:, :edge, :edge]), mask[:edge, :edge])
    found = scene.probability(**COARSE)
    last = float(np.quantile(found[~np.isnan(found)], 1 - HARD_SHARE))
    return replace(scene, raised=float(np.log1p(-last) - np.log(last)))


def clustered(
    new: int, *, is_wooded: bool, seed: int = 300, edge: int = EDGE, date: int = 1
) -> Scene:
    """Ten simulated valleys side by side, 2 x 5, with all landslides in one of them.

    Args:
        new: how many landslides to plant; 60 cover 2 % of their valley, 400 are all that fit, 6 %.
        is_wooded: the other nine are nothing but forest; else they have fields, roads, a river,
            rocks and clouds, as the first.
        seed: of the first valley; the next ones follow.
        edge: of a valley, pixels.
        date: 0 = before the landslides, 1 = after.
    """
    parts = [
        simulated(seed + i, edge=edge, new=new, old=0, date=date)
        if i == _CENTRE
        else simulated(seed + i, edge=edge, new=0, old=0, is_wooded=is_wooded, date=date)
        for i in range(10)
    ]

    def joined(layers: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate([np.concatenate(layers[:5], -1), np.concatenate(layers[5:], -1)], -2)

    return Scene(
        f"{new} landslides in a tenth, {'forest' if is_wooded else 'valleys'} around",
        joined([part.pixels for part in parts]),
        joined([part.mask for part in parts]),
        truth=joined([part.truth for part in parts if part.truth is not None]),
    )


def in_model_units(pixels: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Reflectance (band, y, x) as the demo model was trained on it."""
    scaled = np.clip(pixels * SCALING.scale[0] + SCALING.offset[0], *SCALING.clip)
    return np.ascontiguousarray(scaled, np.float32)


def names(*, is_quick: bool = False) -> list[str]:
    """Scenes that this machine has: the real ones only where their files are."""
    valleys = [f"simulated {seed}" for seed in HELD_OUT_SEEDS[:2]]
    if is_quick:
        return valleys[:1]
    real = {"Inn, June": _INN, "Inn, September": _INN, "UKIS": _UKIS}
    for name, file in real.items():
        if not (DATA / file).is_file():
            print(f"left out: {name}: no {DATA / file}; set LSPIPE_TEST_DATA to the data's folder")
    return valleys + [name for name, file in real.items() if (DATA / file).is_file()]


def scene_called(name: str, *, is_quick: bool = False) -> Scene:
    """Make one of `names`; a small one to see whether a benchmark works."""
    edge = 2 * WINDOW if is_quick else EDGE
    kind, _, rest = name.partition(", ")
    if kind == "Inn":
        return inn(rest, edge=edge)
    return ukis(edge=edge) if kind == "UKIS" else simulated(int(name.split()[1]), edge=edge)
