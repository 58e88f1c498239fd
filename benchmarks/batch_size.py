"""How many windows should go through a network at once, on a processor?

    python benchmarks/batch_size.py             DeepLabv3+ ResNet-50, batches of 1 to 16, 3 rounds
    python benchmarks/batch_size.py --quick     seconds, a small network: only whether it works

Milliseconds per window of the network alone, for each runtime and precision that works here: the
evidence for `AUTO_BATCH_SIZE`. A batch is always full, so a large one also costs
where windows do not fill the last: half a batch per view and block, on average.

Result, 2026-11-21, 2 cores of an AMD EPYC with AVX512-bf16, 2 threads, best of 2, ms per window:

    batch               1       2       4       8      16
    eager fp32      116.9   104.5    98.1    96.7   184.9
    compiled fp32    97.0   101.4    97.9    96.6    99.2
    OpenVINO fp32    73.0    75.3    77.1    74.5    77.8
    eager bf16       81.0    64.9    59.7    79.5    75.0
    compiled bf16    48.3    48.9    47.4    50.4    49.2
    OpenVINO bf16    36.7    34.5    36.3    34.6    36.7

Four is among the fastest everywhere, and pads less than eight.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

import torch
from harness import (
    BANDS,
    compare,
    describe,
    interleaved,
    machine,
    network,
    ready,
    window_of,
    works,
    write_result,
)
from pipeline_cpu import VARIANTS

from lspipe.inference.runtimes import use_threads
from lspipe.inference.settings import AUTO_BATCH_SIZE

if TYPE_CHECKING:
    from lspipe.inference.runtimes import Runtime

SIZES = (1, 2, 4, 8, 16)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--variants", default=",".join(VARIANTS), help="comma-separated")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--quick", action="store_true", help="a small network")
    return parser.parse_args()


def predict(runtime: Runtime, batch: torch.Tensor, windows: int) -> None:
    """Send so many windows through the network, in batches."""
    for _ in range(windows // len(batch)):
        runtime(batch)


def main() -> None:
    options = arguments()
    use_threads(options.threads)
    name = "small" if options.quick else "deeplab"
    sizes = options.sizes
    windows = max(sizes)
    if any(windows % size for size in sizes):
        raise SystemExit(f"--sizes {sizes}: expected divisors of the largest, {windows}")
    print(describe(machine()))
    print(f"{name}, {windows} windows of {window_of(name)} px per call")

    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(windows, BANDS, window_of(name), window_of(name), generator=generator)
    runtimes = ready(network(name), options.variants.split(","))
    timings = {}
    for variant, runtime in runtimes.items():
        if not all(
            works(f"{variant}, batch {size}", partial(runtime, pixels[:size].clone()))
            for size in sizes
        ):
            continue
        # Batch sizes take turns; runtimes are compared by pipeline_cpu.
        calls = {
            str(size): partial(predict, runtime, pixels[:size].clone(), windows) for size in sizes
        }
        timings[variant] = interleaved(calls, options.rounds, say=lambda _: None)

    print(f"\nms per window, best of {options.rounds} (speed against a batch of {sizes[0]})")
    print(f"{'batch':16}" + "".join(f"{size:>15}" for size in sizes))
    facts = {}
    for variant, taken in timings.items():
        rows = compare(taken, str(sizes[0]))
        per_window = {row.name: round(1000 * row.best / windows, 2) for row in rows}
        cells = [f"{per_window[row.name]:7.1f} ({row.ratio:4.2f})" for row in rows]
        print(f"{variant:16}" + "".join(f"{cell:>15}" for cell in cells))
        facts[variant] = {
            "ms_per_window": per_window,
            "cpu_ms_per_window": {row.name: round(1000 * row.cpu / windows, 2) for row in rows},
        }
    print(f"AUTO_BATCH_SIZE is {AUTO_BATCH_SIZE}")
    if not options.quick:
        print(f"written to {write_result('batch_size', {'windows': windows, 'variants': facts})}")


if __name__ == "__main__":
    main()
