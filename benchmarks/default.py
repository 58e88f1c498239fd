"""How much faster than MONAI with ttach is what a user gets who sets nothing?

    python benchmarks/default.py             448, 560 and 1024 px, DeepLabv3+, about 5 minutes
    python benchmarks/default.py --quick     seconds, a small network: only whether it works

`runtime: auto` chooses as a run of one Sentinel-2 tile does, before its first block; what that
took, and what it says, is printed. Then maps of three sizes are made with the runtime it chose, as
blocks of that run are, in turns with MONAI's `sliding_window_inference` and ttach's wrapper: the
same float32 pixels, network, window (224 px), stride (112), eight views, and threads. Beside it
stands the share of the processor's peak that each reaches (`roofline.py`).

`lspipe.detect` on the smallest image is timed once more as a script would call it, with nothing
prepared: it has too little to do for a comparison to pay, and computes as plain PyTorch.

Target: at least 1.5 times as fast as MONAI, or 80 % of the peak, at each size; probabilities within
2e-5 of the same definition by MONAI.

Expected, before it was run: where OpenVINO is quick (AMD with AVX512) 1.6 to 1.8; on a Xeon without
AMX 1.1, at 60 to 65 % of the peak, which is short of both.

Result, 2026-11-30, 2 quiet cores of an Intel Xeon, two threads: `auto` took OpenVINO after 20 s (ms
per window: eager 74.9, OpenVINO 46.9, compiled 50.2). 448 px 1.70 times as fast as MONAI, 560 px
1.53, 1024 px 1.60, at 98, 99 and 97 % of the fp32 peak, MONAI at 58, 64 and 61 %; within 1.8e-7.
Better than expected, as OpenVINO's kernels reach the peak. `lspipe.detect` with nothing prepared
took 6.2 s for 448 px, as long as MONAI (6.0 s).

The same day, 2 quiet cores of an AMD EPYC: 448 px 1.50, 560 px 1.24 and 1024 px 1.25 times as fast
as MONAI, at 117, 117 and 113 % of the fp32 peak, MONAI at 78, 96 and 90 %; within 1.8e-7. Less than
expected, as MONAI is nearer to the peak there. With nothing prepared 6.8 s for 448 px (MONAI 7.7).
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from harness import (
    BANDS,
    as_json,
    compare,
    describe,
    interleaved,
    machine,
    map_of,
    network,
    random_pixels,
    table,
    window_of,
    works,
    write_result,
)
from pipeline_cpu import Job
from roofline import TARGET, operations, peaks

import lspipe
from lspipe.inference import windows
from lspipe.inference.runtimes import from_callable, use_threads
from lspipe.inference.runtimes.choice import TOLERANCE, Choice, Work, choose
from lspipe.inference.settings import AUTO_BATCH_SIZE, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from lspipe.inference.runtimes import Runtime

SIZES = (448, 560, 1024)
TIMES_MONAI = 1.5
TILE = 10980
"""Edge of a Sentinel-2 tile, pixels: the run that the choice is made for."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="edges, pixels")
    parser.add_argument("--rounds", type=int, default=2, help="the largest image has one less")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of both")
    parser.add_argument("--quick", action="store_true", help="a small network and image")
    return parser.parse_args()


def passes_of(edge: int, setting: Setting) -> int:
    """Count the windows of an image in all views."""
    return 8 * len(windows.origins(edge, setting.window, setting.stride)) ** 2


def chosen_for(net: torch.nn.Module, passes: int, setting: Setting) -> Choice:
    """Choose as a run does, and say what that took."""
    work = Work(passes=passes, batch_size=setting.batch_size, channels=BANDS, window=setting.window)

    def open_as(name: str) -> Runtime:
        return from_callable(net, device="cpu", runtime=name)

    began = time.perf_counter()
    choice = choose(open_as, work)
    took = time.perf_counter() - began
    print(f"runtime auto: {choice.runtime.name}; {choice.why or 'nothing measured'}")
    print(f"  chosen in {took:.0f} s, for {passes} passes of a tile")
    return choice


def measured(job: Job, runtime: Runtime, rounds: int, *, each: int, peak: float) -> dict[str, Any]:
    """Time both sides on an image, and return the ratio, the shares and the difference."""
    maps: dict[str, Any] = {}

    def keep(name: str, call: Callable[[], Any]) -> None:
        maps[name] = call()

    sides = {
        "MONAI + ttach": partial(job.by_monai, job.setting.batch_size),
        "lspipe": partial(map_of, runtime, job.pixels, job.setting),
    }
    timings = interleaved({name: partial(keep, name, call) for name, call in sides.items()}, rounds)
    rows = compare(timings, "MONAI + ttach")
    count = passes_of(job.pixels.shape[1], job.setting) * each
    shares = {row.name: count / row.best / peak for row in rows}
    notes = {name: f"{share:.0%} of the peak" for name, share in shares.items()}
    print(table(rows, targets={"lspipe": f">= {TIMES_MONAI}"}, notes=notes))
    found = next(row for row in rows if row.name == "lspipe")
    is_reached = found.ratio >= TIMES_MONAI or shares["lspipe"] >= TARGET
    print("reached" if is_reached else "short of both aims")
    return {
        "ways": as_json(rows),
        "shares": shares,
        "is_reached": is_reached,
        "map": maps["lspipe"],
    }


def first_detect(job: Job) -> float:
    """Time `lspipe.detect` as a script calls it, with nothing prepared; seconds."""
    began = time.perf_counter()
    lspipe.detect(job.pixels, job.net, window=job.setting.window, stride=job.setting.stride)
    return time.perf_counter() - began


def main() -> None:
    options = arguments()
    use_threads(options.threads)
    name = "small" if options.quick else "deeplab"
    window = window_of(name)
    setting = Setting(window=window, stride=window // 2, batch_size=AUTO_BATCH_SIZE)
    sizes = (2 * window, 3 * window) if options.quick else tuple(sorted(options.sizes))
    net = network(name)
    print(describe(machine()))
    # Matrices are small in a trial, and their peak means nothing.
    peak = peaks(2, **({"edge": 64, "factors": 2} if options.quick else {}))["fp32"].wall
    each = operations(net, torch.zeros(1, BANDS, window, window))
    choice = chosen_for(net, passes_of(TILE, setting), setting)

    results: dict[str, Any] = {}
    for edge in sizes:
        job = Job(net=net, pixels=random_pixels((BANDS, edge, edge)), setting=setting)
        print(f"\n{edge} x {edge} px, {passes_of(edge, setting)} passes")
        if edge == min(sizes):
            works("MONAI + ttach", partial(job.corner().by_monai, setting.batch_size))
        rounds = 1 if options.quick else max(1, options.rounds - (edge == max(sizes)))
        results[str(edge)] = measured(job, choice.runtime, rounds, each=each, peak=peak)
        found = results[str(edge)].pop("map")
        if edge == min(sizes):
            differs = float(np.abs(found - job.by_definition()).max())
            alone = first_detect(job)
            print(f"largest difference of a probability {differs:.1e} (limit {TOLERANCE['fp32']})")
            print(f"lspipe.detect, nothing prepared: {alone:.1f} s")
            results |= {"max_difference_in_p": differs, "first_detect_seconds": round(alone, 2)}
    if not options.quick:
        facts = {
            "runtime": choice.runtime.name,
            "why": choice.why,
            "setting": vars(setting),
            "peak_gflops": round(peak / 1e9, 1),
            "targets": {"times_monai": TIMES_MONAI, "share_of_peak": TARGET},
            "sizes": results,
        }
        print(f"\nwritten to {write_result('default', facts)}")


if __name__ == "__main__":
    main()
