"""Does the screen lose landslides, and what does it save?

    python benchmarks/screen.py            five scenes, about 10 minutes on one core
    python benchmarks/screen.py --time     and the saving in seconds, about 20 minutes more
    python benchmarks/screen.py --quick    a small scene: only whether it works

`inference.screen` lets a coarse first pass decide where the full setting runs: pixels within
`reach` of one that the first pass puts above the screen are answered in full, the others keep the
first pass's answer. The first pass lies at 51 % overlap. Whether it must see all eight views of D4
or one will do, and how far the reach must be, was decided by this file: it screens the full maps in
plain NumPy with every combination and counts

    flips      pixels that the full setting puts above 0.5 and the screen leaves out
    missed     the highest probability left out
    windows    share of the full setting's windows that are run
    gain       passes of the full setting over those of both passes

and compares lspipe's own choice, all views and a reach of a quarter of a window, with what
`run_block` does: equal to the last bit.

Targets: no flip at a screen of 0.05; a gain of 4 or more where all landslides lie in a tenth of the
area and cover 2 % of it. The gain is bought by quiet ground, as one stray pixel above the screen
brings in all windows over it and its reach: forest around the tenth is where it is due, valleys
where the demo model raises false alarms are where it is not. Windows are 64 px here and a tenth is
8 windows wide; with windows of 224 px on a Sentinel-2 tile it is 15 wide, and its margins count for
less.

Result, 2026-11-21, five scenes (two simulated, the Inn pair, a cloudy one): with all views and a
reach of a quarter of a window no pixel of the 0.5 mask flips at any screen from 0.01 to 0.2; with
one view up to 30 flip on the first scene alone, with all views and no reach up to 80 at 0.05. Where
all landslides lie in a tenth of the area, cover 2 % of it, and forest is around: gain 5.7 to 5.9 at
0.05. Valleys around, where the demo model raises false alarms: 1.4. On the five scenes the gain is
1.1, 1.2, and 1.0 on the real ones, where some pixel of every window is above the screen: it is for
quiet ground. The saving in seconds (`--time`) was not measured.
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from harness import describe, machine, timed, write_result
from scenes import BATCH_SIZE, COARSE, EDGE, PAPER, Scene, clustered, names, scene_called
from scipy import ndimage

from lspipe.inference import windows
from lspipe.inference.block import run_block
from lspipe.inference.runtimes import from_callable, use_threads
from lspipe.inference.settings import Setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST_PASSES = {"one view": COARSE, "all views": {**COARSE, "tta": "d4"}}
SCREENS = (0.01, 0.02, 0.05, 0.1, 0.2)
DIVISORS = (None, 16, 8, 4, 2)
"""A reach is 0, or the window over one of these."""

OWN = Setting(**PAPER, batch_size=BATCH_SIZE, screen=0.05)
"""The combination that is lspipe's."""


@dataclass(frozen=True)
class Outcome:
    """What one combination does to one scene."""

    windows: float
    gain: float
    flips: int | None = None
    """None where the full map was not made."""
    missed: float | None = None

    def __str__(self) -> str:
        saved = f"{self.windows:.2f} / {self.gain:.1f}"
        return saved if self.flips is None else f"{self.flips} / {self.missed:.2f} / {saved}"


def passes(setting: dict[str, Any]) -> int:
    """Forward passes for each window."""
    return 8 if setting["tta"] == "d4" else 1


def near(first: NDArray[np.float32], screen: float, reach: int) -> NDArray[np.bool_]:
    """True within `reach` pixels (Chebyshev) of a pixel above the screen; NaN is above nothing."""
    return ndimage.maximum_filter(np.nan_to_num(first) > screen, 2 * reach + 1)


def windows_holding(wanted: NDArray[np.bool_], window: int, stride: int) -> int:
    """Count the windows of the lattice that hold a wanted pixel."""
    total = np.pad(wanted.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows, columns = (windows.origins(length, window, stride) for length in wanted.shape)
    rows = rows[:, None]
    inside = total[rows + window, columns + window] - total[rows, columns + window]
    return int((inside - total[rows + window, columns] + total[rows, columns] > 0).sum())


def outcome(
    scene: Scene,
    first: NDArray[np.float32],
    coarse: dict[str, Any],
    *,
    screen: float,
    reach: int,
    full: NDArray[np.float32] | None = None,
) -> Outcome:
    """Screen a scene; without its full map, only what is saved is known."""
    observed = ~scene.mask
    close = near(first, screen, reach) & observed
    lattice = (PAPER["window"], PAPER["stride"])
    everywhere = windows_holding(observed, *lattice)
    run = windows_holding(close, *lattice)
    looked_at = windows_holding(observed, coarse["window"], coarse["stride"])
    spent = looked_at * passes(coarse) + run * passes(PAPER)
    saved = Outcome(round(run / everywhere, 3), round(everywhere * passes(PAPER) / spent, 2))
    if full is None:
        return saved
    left = full[observed & ~close]
    return dataclasses.replace(
        saved, flips=int((left > 0.5).sum()), missed=round(float(left.max(initial=0)), 3)
    )


def reaches() -> list[int]:
    return [0 if divisor is None else PAPER["window"] // divisor for divisor in DIVISORS]


def study(scene: Scene, full: NDArray[np.float32] | None) -> dict[str, Any]:
    """Every combination on one scene, printed as a table."""
    if full is None:
        print(f"\n{scene.name}: windows / gain")
    else:
        share = np.mean(full[~scene.mask] > 0.5)
        print(f"\n{scene.name}, {share:.1%} above 0.5: flips / missed / windows / gain")
    print(f"{'first pass':10} {'screen':>6} " + "".join(f"{f'reach {r}':>24}" for r in reaches()))
    results: dict[str, Any] = {}
    for name, coarse in FIRST_PASSES.items():
        first = scene.probability(**coarse)
        for screen in SCREENS:
            found = {
                r: outcome(scene, first, coarse, screen=screen, reach=r, full=full)
                for r in reaches()
            }
            results[f"{name}, screen {screen}"] = {
                f"reach {r}": dataclasses.asdict(one) for r, one in found.items()
            }
            cells = "".join(f"{one!s:>24}" for one in found.values())
            print(f"{name:10} {screen:6} {cells}", flush=True)
    return results


def by_lspipe(scene: Scene, setting: Setting) -> NDArray[np.float32]:
    """The scene as one block of `run_block`."""
    shape = scene.mask.shape
    return run_block(
        scene.pixels,
        origin=(0, 0),
        tile_shape=(shape[0], shape[1]),
        core=(slice(0, shape[0]), slice(0, shape[1])),
        runtime=from_callable(scene.network, device="cpu", precision="fp32"),
        setting=setting,
        mask=scene.mask,
    )


def check_own(scene: Scene, full: NDArray[np.float32]) -> None:
    """Compare lspipe's screen with its definition, bit for bit."""
    first = by_lspipe(scene, OWN.first_pass)
    close = near(first, OWN.screen or 0, OWN.reach)
    np.testing.assert_array_equal(by_lspipe(scene, OWN), np.where(close, full, first))
    print(f"\nlspipe's own ({OWN.first_pass.tta} first, reach {OWN.reach}) is its definition")


def saving(scene: Scene) -> dict[str, float]:
    """Seconds of the full setting and of lspipe's screen, one after the other."""
    full = timed(lambda: by_lspipe(scene, dataclasses.replace(OWN, screen=None)))
    screened = timed(lambda: by_lspipe(scene, OWN))
    print(f"{scene.name}: {full.wall:.0f} s in full, {screened.wall:.0f} s screened", end="")
    print(f": {full.wall / screened.wall:.1f} times faster")
    return {"full_s": full.wall, "screened_s": screened.wall, "gain": full.wall / screened.wall}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small scene")
    parser.add_argument("--time", action="store_true", help="measure the saving in seconds too")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    use_threads(1)
    print(describe(machine()))
    facts: dict[str, Any] = {"paper": PAPER, "scenes": {}, "gain": {}}
    for number, name in enumerate(names(is_quick=options.quick)):
        scene = scene_called(name, is_quick=options.quick)
        full = scene.probability(**PAPER)
        facts["scenes"][scene.name] = study(scene, full)
        if number == 0:
            check_own(scene, full)
    tenth = clustered(60, is_wooded=True, edge=2 * PAPER["window"] if options.quick else EDGE)
    facts["gain"][tenth.name] = study(tenth, None)
    if not options.quick:
        for scene in (clustered(400, is_wooded=True), clustered(60, is_wooded=False)):
            facts["gain"][scene.name] = study(scene, None)
    if options.time:
        facts["seconds"] = saving(tenth)
    if not options.quick:
        print(f"\nwritten to {write_result('screen', facts)}")


if __name__ == "__main__":
    main()
