"""What does a run save that lists new landslides alone, and are they the same?

    python benchmarks/list_new.py            four pairs of scenes, about 5 minutes on one core
    python benchmarks/list_new.py --wide     as wide as those of screen.py, about 20 minutes
    python benchmarks/list_new.py --quick    one small pair: only whether it works

`change.list: new` computes the date after, and the date before only where it can matter to a new
object. Each pair of scenes is judged in four ways: both dates in full, new ones alone, and the two
with `inference.screen` at 0.05. What is measured

    passes     windows through the network, turned views and the screen's first pass among them,
               over those of both dates in full
    seconds    of all that, and of finding what is needed, over those of both dates in full; the
               ways are timed one after the other, twice with --rounds 2
    processor  the same of processor time, which other work on the machine changes less
    paper      passes at the overlap of `paper`, 0.9: windows that hold a pixel that was needed

and what is checked: the rows `new` and `grown` are those of both dates in full, column by column
(with a screen those of both dates screened).

Setting: overlap 0.7, D4, windows of 64 pixels of the demo model (`balanced`). A landslide needs the
windows around it, up to 63 pixels away: 8 windows of a scene 512 wide; of a tile with windows of
224 it is a fiftieth of the edge, so that margins count for less there.

Expected, written before the first run: 0.6 of the passes of both dates where landslides lie in a
tenth of the area, as all of the date after and a fifth of the one before are needed. With a screen
in forest 0.3: at this overlap its first pass is a third of the full one, and half of the passes are
of the date after; 0.1 at the overlap of `paper`. 0.9 and more in valleys full of landslides and
false alarms, and on the real pair, of which 3 % is above the threshold. Seconds as passes.

Result, 2026-11-30, 2 quiet cores of an AMD EPYC, one round a run, two runs where two seconds stand.
The rows are the same. `paper` is passes at an overlap of 0.9.

                         forest      valleys     full valley    Inn
    new alone    passes  0.55        0.66        0.86           1.00
                 seconds 0.53 0.62   0.69 0.65   0.85 0.84      0.99
                 paper   0.55        0.66        0.78           1.00
    both,        passes  0.54        1.12        1.24           1.43
    screened     seconds 0.54 0.73   1.11 1.10   1.21 1.24      1.40
                 paper   0.18        0.77        0.89           1.05
    new alone,   passes  0.34        0.78        1.09           1.43
    screened     seconds 0.34 0.47   0.77 0.77   1.07 1.12      1.40
                 paper   0.13        0.50        0.69           1.05

Before a block of which three quarters of the windows matter was computed whole at once, the Inn
took 1.31 times the passes of both dates, and 1.95 with the screen: 94 % of its windows before
mattered at the first look, and half of them again at the second. The 0.1 of forest at the overlap
of `paper` was missed in scenes 8 windows high; wide ones were not run.
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from affine import Affine
from harness import compare, describe, interleaved, machine, write_result
from pyproj import CRS
from scenes import BATCH_SIZE, DATA, EDGE, PAPER, Scene, clustered, inn, simulated
from screen import windows_holding

from lspipe.change.classified import classified_change
from lspipe.change.compare import change_codes
from lspipe.change.inventory import Provenance, whole_objects
from lspipe.change.needed import asked, marked, reach_of
from lspipe.change.spec import ChangeSpec
from lspipe.inference.block import run_block
from lspipe.inference.runtimes import from_callable, use_threads
from lspipe.inference.settings import Setting
from lspipe.inference.windows import stride_of
from lspipe.preprocess.masks import spread
from lspipe.runs.halved import fill_blocks
from lspipe.schema import CODE_NODATA, quantise, threshold_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from numpy.typing import NDArray

RULES = ChangeSpec(list="new")
DRIFT_PX = 2
"""As a run whose dates are registered."""

REACH = reach_of(RULES.tolerance_px, drift_px=DRIFT_PX)
SETTING = Setting(
    window=PAPER["window"], stride=stride_of(PAPER["window"], 0.7), tta="d4", batch_size=BATCH_SIZE
)
SCREENED = dataclasses.replace(SETTING, screen=0.05)
DAYS = {"date_before": "2017-03-01T00:00:00Z", "date_after": "2018-03-01T00:00:00Z"}


@dataclass(frozen=True)
class Pair:
    """One place on two dates."""

    name: str
    before: Scene
    after: Scene


@dataclass
class Judged:
    """Codes of both dates, and the windows that went through the network."""

    before: NDArray[np.uint16]
    after: NDArray[np.uint16]
    passes: int
    needed: NDArray[np.bool_]
    """Of the date before."""


@dataclass
class Counting:
    """A network that counts its windows."""

    network: Callable[[torch.Tensor], torch.Tensor]
    passes: int = field(default=0)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        self.passes += len(batch)
        return self.network(batch)


def judge(
    scene: Scene, setting: Setting, area: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.uint16], int]:
    """The codes of a scene, as one block, and the passes that they took."""
    rows, columns = scene.mask.shape
    network = Counting(scene.network)
    found = run_block(
        scene.pixels,
        origin=(0, 0),
        tile_shape=(rows, columns),
        core=(slice(0, rows), slice(0, columns)),
        runtime=from_callable(network, device="cpu", precision="fp32"),
        setting=setting,
        mask=scene.mask,
        area=area,
    )
    return quantise(found), network.passes


def in_full(pair: Pair, setting: Setting) -> Judged:
    (before, one), (after, other) = (judge(date, setting) for date in (pair.before, pair.after))
    return Judged(before, after, one + other, np.ones(after.shape, bool))


def halved(pair: Pair, setting: Setting) -> Judged:
    """The date after in full, then the date before where it is needed, until nothing is."""
    after, passes = judge(pair.after, setting)
    before, known = np.full_like(after, CODE_NODATA), np.zeros(after.shape, bool)
    while True:
        marks = marked(above(after), above(before), reach=REACH)
        needed = asked(marks, reach=REACH)
        fill_blocks(needed, [(slice(0, after.shape[0]), slice(0, after.shape[1]))], SETTING)
        more = needed & ~known
        if not more.any():
            return Judged(before, after, passes, known)
        found, took = judge(pair.before, setting, more)
        before[more], passes = found[more], passes + took
        known |= more


def at_paper(pair: Pair, judged: Judged, hot: dict[str, NDArray[np.bool_]] | None) -> int:
    """Count the windows of the paper's overlap that hold a pixel that is needed, and of its screen.

    Args:
        pair: of scenes.
        judged: in one of the ways.
        hot: what the first pass puts above the screen, by date; None = there is no screen.
    """
    count, reach = 0, SCREENED.reach
    for date, area in (("before", judged.needed), ("after", np.ones(judged.after.shape, bool))):
        seen = ~getattr(pair, date).mask
        wanted = seen & area
        if hot is not None:
            first = SCREENED.first_pass
            count += windows_holding(seen & spread(area, reach), first.window, first.stride)
            wanted &= spread(hot[date], reach)
        count += windows_holding(wanted, PAPER["window"], PAPER["stride"])
    return count


def above(codes: NDArray[np.uint16]) -> NDArray[np.bool_]:
    return (codes > threshold_code(RULES.limit)) & (codes != CODE_NODATA)


def new_rows(judged: Judged) -> pd.DataFrame:
    """The rows of what is new, with all their columns."""
    scene = classified_change(
        judged.before,
        judged.after,
        change_codes(judged.before, judged.after, RULES),
        RULES.attrs() | {"threshold": RULES.limit},
        transform=Affine(10, 0, 600_000, 0, -10, 5_200_000),
        crs=CRS.from_epsg(32718),
    )
    found = whole_objects(scene, provenance=Provenance(**DAYS), layers=lambda *_: None)
    rows = found[found["status"].isin(["new", "grown"])].reset_index(drop=True)
    return pd.DataFrame(rows).assign(geometry=rows.geometry.to_wkb())


def measured(pair: Pair, rounds: int) -> dict[str, Any]:
    """Judge a pair in every way, in turns, and compare lists, passes and seconds."""
    ways: dict[str, Callable[[], Judged]] = {
        "both in full": lambda: in_full(pair, SETTING),
        "new alone": lambda: halved(pair, SETTING),
        "both, screened": lambda: in_full(pair, SCREENED),
        "new alone, screened": lambda: halved(pair, SCREENED),
    }
    found: dict[str, Judged] = {}

    def keeping(name: str) -> Callable[[], None]:
        def work() -> None:
            found[name] = ways[name]()

        return work

    print(f"\n{pair.name}", flush=True)
    timings = interleaved({name: keeping(name) for name in ways}, rounds)
    rows = {name: new_rows(judged) for name, judged in found.items()}
    for one, other in (("new alone", "both in full"), ("new alone, screened", "both, screened")):
        pd.testing.assert_frame_equal(rows[one], rows[other])
    dates = {"before": pair.before, "after": pair.after}
    first = {date: judge(scene, SCREENED.first_pass)[0] for date, scene in dates.items()}
    limit = threshold_code(SCREENED.screen or 0)
    hot = {date: (codes > limit) & (codes != CODE_NODATA) for date, codes in first.items()}
    paper = {
        name: at_paper(pair, judged, hot if "screened" in name else None)
        for name, judged in found.items()
    }
    whole = found["both in full"].passes
    rows_of_time = compare(timings, "both in full")
    processor = next(row.cpu for row in rows_of_time if row.name == "both in full")
    facts = {
        row.name: {
            "passes": round(found[row.name].passes / whole, 3),
            "seconds": round(1 / row.ratio, 3),
            "paper": round(paper[row.name] / paper["both in full"], 3),
            "processor": round(row.cpu / processor, 3),
            "wall_s": round(row.median, 1),
            "new": len(rows[row.name]),
        }
        for row in rows_of_time
    }
    for name, fact in facts.items():
        print(
            f"{name:20} passes {fact['passes']:.3f}  seconds {fact['seconds']:.3f}  "
            f"({fact['wall_s']:.0f} s)  processor {fact['processor']:.3f}  "
            f"paper {fact['paper']:.3f}  new {fact['new']}",
            flush=True,
        )
    return facts


def pairs(*, is_quick: bool, edge: int) -> Iterator[Pair]:
    """A valley full of landslides, quiet ground, ground with false alarms, and a real place."""
    if is_quick:
        dates = [simulated(200, edge=2 * PAPER["window"], date=date) for date in (0, 1)]
        yield Pair("a corner of a valley", *dates)
        return
    yield Pair("valley 200", *(simulated(200, date=date) for date in (0, 1)))
    for is_wooded in (True, False):
        dates = [clustered(60, is_wooded=is_wooded, edge=edge, date=date) for date in (0, 1)]
        yield Pair(dates[1].name, *dates)
    try:
        yield Pair("Inn", *(inn(month) for month in ("June", "September")))
    except OSError:
        print(f"left out: the Inn: not in {DATA}; set LSPIPE_TEST_DATA to the data's folder")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one small pair")
    parser.add_argument("--wide", action="store_true", help="scenes as wide as those of screen.py")
    parser.add_argument("--rounds", type=int, default=1, help="how often each way is timed")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    use_threads(1)
    print(describe(machine()))
    edge = EDGE if options.wide else EDGE // 2
    facts = {
        pair.name: measured(pair, options.rounds)
        for pair in pairs(is_quick=options.quick, edge=edge)
    }
    if not options.quick:
        print(f"\nwritten to {write_result('list_new', {'pairs': facts})}")


if __name__ == "__main__":
    main()
