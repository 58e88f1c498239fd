"""What do less overlap and fewer views cost, in agreement with the paper's setting and with truth?

    python benchmarks/overlap_error.py            five scenes, under 10 minutes on two cores
    python benchmarks/overlap_error.py --quick    a small scene: only whether it works

The demo model runs over two simulated valleys that it never saw, and over three hard scenes of real
pixels where it is unsure (`scenes.py`), in windows of 64 px. Every setting is set against `paper`,
90 % overlap with the maximum of D4:

    passes       of the network, over those of `paper`
    F1 to paper  of the masks above 0.5
    mean, max    difference in p
    F1 to truth  of the mask above 0.5 and the planted scars, simulated scenes only

`paper` is a reference, not the truth. Only observed pixels count.

Result, 2026-11-21, F1 to paper on simulated valleys 200 and 201, then on the Inn in June and in
September (hard: the demo model never saw a real scene); F1 to truth on the valleys, where that of
`paper` is 0.934 and 0.938:

    balanced           0.981  0.986    0.792  0.844    0.934  0.940
    0.5                0.976  0.982    0.620  0.748    0.925  0.936
    fast               0.980  0.988    0.743  0.772    0.923  0.934
    preview            0.952  0.962    0.441  0.357    0.956  0.941
    0.9, one view      0.952  0.966    0.530  0.461    0.959  0.944
    0.9, D4 mean       0.953  0.964    0.152  0.195    0.962  0.945
    0                  0.957  0.974    0.310  0.613    0.905  0.926

Against truth, fewer windows cost little and one view nothing; where the network is unsure, the
maximum of views and overlap decide what is above 0.5.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np
from harness import describe, machine, write_result
from scenes import PAPER, Scene, names, scene_called

from lspipe.inference import windows
from lspipe.inference.runtimes import use_threads
from lspipe.inference.settings import PRESETS

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORKERS = 2
"""Processes of one thread each: a network this small gains nothing from a second one."""

SETTINGS: dict[str, dict[str, Any]] = {
    "paper": {"overlap": 0.9, "tta": "d4"},
    "0.9, one view": {"overlap": 0.9, "tta": "none"},
    "0.9, D4 mean": {"overlap": 0.9, "tta": "d4", "tta_merge": "mean"},
    "0.8": {"overlap": 0.8, "tta": "d4"},
    "balanced": dict(PRESETS["balanced"]),
    "0.5": {"overlap": 0.5, "tta": "d4"},
    "fast": dict(PRESETS["fast"]),
    "preview": dict(PRESETS["preview"]),
    "0": {"overlap": 0.0, "tta": "d4"},
    "0, one view": {"overlap": 0.0, "tta": "none"},
}


@dataclass(frozen=True)
class Agreement:
    """One setting on one scene."""

    passes: float
    seconds: float
    f1_to_paper: float
    mean_difference: float
    max_difference: float
    f1_to_truth: float | None


def f1(found: NDArray[np.bool_], expected: NDArray[np.bool_]) -> float:
    """2 TP / (2 TP + FP + FN); 1 where there is nothing to find and nothing found."""
    total = int(found.sum() + expected.sum())
    return 1.0 if total == 0 else 2 * int((found & expected).sum()) / total


def resolved(setting: dict[str, Any]) -> dict[str, Any]:
    """A setting for the demo model's window, as `lspipe.detect` takes it."""
    rest = {name: value for name, value in setting.items() if name != "overlap"}
    window = PAPER["window"]
    return {"window": window, "stride": windows.stride_of(window, setting["overlap"]), **rest}


def passes(scene: Scene, setting: dict[str, Any]) -> int:
    """Forward passes over a scene, were all of it observed."""
    rows, columns = (
        len(windows.origins(length, setting["window"], setting["stride"]))
        for length in scene.mask.shape
    )
    return rows * columns * (8 if setting["tta"] == "d4" else 1)


def agreements(name: str, *, is_quick: bool) -> tuple[str, dict[str, Agreement]]:
    """Every setting on one scene."""
    use_threads(1)
    scene = scene_called(name, is_quick=is_quick)
    observed = ~scene.mask
    results: dict[str, Agreement] = {}
    reference = np.zeros(0, np.float32)
    for label, setting in SETTINGS.items():
        asked = resolved(setting)
        started = time.perf_counter()
        found = scene.probability(**asked)[observed]
        seconds = time.perf_counter() - started
        reference = found if label == "paper" else reference
        difference = np.abs(found - reference)
        results[label] = Agreement(
            passes=passes(scene, asked) / passes(scene, resolved(SETTINGS["paper"])),
            seconds=round(seconds, 2),
            f1_to_paper=f1(found > 0.5, reference > 0.5),
            mean_difference=float(difference.mean()),
            max_difference=float(difference.max()),
            f1_to_truth=None if scene.truth is None else f1(found > 0.5, scene.truth[observed]),
        )
    share = float(np.mean(reference > 0.5))
    return f"{scene.name}, {share:.1%} above 0.5", results


def table(results: dict[str, Agreement]) -> str:
    head = f"{'':14} {'passes':>7} {'F1 to paper':>12} {'mean':>8} {'max':>6} {'F1 to truth':>12}"
    lines = [head]
    for label, one in results.items():
        truth = "" if one.f1_to_truth is None else f"{one.f1_to_truth:12.3f}"
        line = (
            f"{label:14} {one.passes:7.3f} {one.f1_to_paper:12.3f} {one.mean_difference:8.5f} "
            f"{one.max_difference:6.2f} {truth}"
        )
        lines.append(line.rstrip())
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small scene")
    options = parser.parse_args()
    print(describe(machine()))
    facts: dict[str, Any] = {}
    # A forked process would inherit torch's threads without their locks.
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        work = partial(agreements, is_quick=options.quick)
        for title, results in pool.map(work, names(is_quick=options.quick)):
            print(f"\n{title}\n{table(results)}", flush=True)
            facts[title] = {label: asdict(one) for label, one in results.items()}
    if not options.quick:
        print(f"\nwritten to {write_result('overlap_error', {'paper': PAPER, 'scenes': facts})}")


if __name__ == "__main__":
    main()
