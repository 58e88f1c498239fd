"""Which share of what the processor can multiply does each runtime reach on the same network?

    python benchmarks/roofline.py             DeepLabv3+ ResNet-50, all cores, about 3 minutes
    python benchmarks/roofline.py --quick     seconds, a small network: only whether it works

The peak of a precision is what the best library here reaches on products of large matrices: eager
PyTorch or OpenVINO in fp32 and bf16, PyTorch's `_int_mm` in int8. Beside it stands each runtime on
the network itself, alone, in full batches, and MONAI with ttach on the same network (which also
turns and adds up). All take turns. A pass counts the operations that its result needs: taps that
see nothing but padding are not counted, although eager PyTorch and MONAI compute them
(`inference/runtimes/taps.py`), so that a share is one of useful work and two runtimes compare.

A network has layers that no peak is for: pooling, up-sampling, depthwise convolutions, and first
layers of few channels. What a share lacks to 100 % is those and the library's. Shares of processor
time hold on a machine that others use too, with one thread (`--threads 1`, as a worker has).

Target: 80 % of the peak of the precision.

Expected, before it was run here: of fp32 MONAI and eager about 57 %, OpenVINO 60 to 70 %, compiled
40 to 60 %; of bf16 OpenVINO 60 %, on a Xeon without AMX less of either.

Result, 2026-11-30, 2 quiet cores of an Intel Xeon (AVX512-bf16, no AMX), two threads: products 302
GFLOP/s in fp32, 162 in bf16 (this processor multiplies bf16 at half the speed of fp32, so bf16
gains nothing), 1256 in int8. Of these peaks: MONAI 56 %, eager fp32 57 %, compiled fp32 91 %,
OpenVINO fp32 100 %, and in bf16 eager 79, compiled 106, OpenVINO 112 %: on the network the
libraries do a little better than on the products that stand for the peak.

The same day, 2 quiet cores of an AMD EPYC (AVX512-bf16), two threads: products of 193 GFLOP/s in
fp32 and 393 in bf16. MONAI 69 %, eager fp32 73 %, compiled 104 %, OpenVINO 106 %; in bf16 eager 68,
compiled 105, OpenVINO 113 %. By that OpenVINO in bf16 is 3.33 times as fast as MONAI in fp32, and
3.7 times would be 126 % of the peak. With another job on the machine shares of processor time were
within 5 points of these, but for those of eager.

Compiled fp32 was looked at separately: 107 to 115 ms of processor time a window where eager took
158 to 167 and OpenVINO 96 to 103, with one thread and with two that sleep while they wait
(`OMP_WAIT_POLICY=PASSIVE`). Its kernels (oneDNN's `brgconv` on pixels with the channels last) are
not slower than those of eager (`jit` in blocks of 16 channels, which moves the weights at each
call). So what made it slower than eager by the clock in an earlier run, with two threads on such a
processor, is not its kernels; what else it was is not known, and it did not come back.
"""

from __future__ import annotations

import argparse
import copy
import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from harness import (
    BANDS,
    Timing,
    describe,
    interleaved,
    machine,
    network,
    random_pixels,
    ready,
    window_of,
    works,
    write_result,
)
from pipeline_cpu import VARIANTS, Job

from lspipe.inference import windows
from lspipe.inference.runtimes import use_threads
from lspipe.inference.runtimes.taps import without_dead_taps
from lspipe.inference.settings import AUTO_BATCH_SIZE, Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TARGET = 0.8

EDGE = 1024
"""Of the matrices: large enough for a library's best kernel, and three of them fit into a cache."""

FACTORS = 8
"""Matrices that are multiplied in one call, so that starting it takes nothing."""

PRECISIONS = ("fp32", "bf16")


class Product(torch.nn.Module):
    """One matrix times many, as a network of one channel."""

    def __init__(self, edge: int, factors: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        # So scaled that numbers stay near 1 however many factors there are.
        weights = torch.randn(factors, edge, edge, generator=generator) / math.sqrt(edge)
        self.weights = torch.nn.Parameter(weights, requires_grad=False)

    def forward(self, matrix: torch.Tensor) -> torch.Tensor:
        """Multiply (1, 1, edge, edge) by each."""
        for weight in self.weights:
            matrix = matrix @ weight
        return matrix


class Speed(NamedTuple):
    """Operations per second."""

    wall: float
    processor: float
    """Of all threads together, which what else runs on the machine hardly moves."""

    @classmethod
    def of(cls, count: float, taken: list[Timing]) -> Speed:
        """Divide operations by the quickest of some timings: others only have been disturbed."""
        return cls(
            count / min(timing.wall for timing in taken),
            count / min(timing.cpu for timing in taken),
        )


def operations(net: torch.nn.Module, batch: torch.Tensor) -> int:
    """Count the multiplications and additions that the answer to a batch needs."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode(mode=False), torch.no_grad():
        without_dead_taps(copy.deepcopy(net))(batch)
    return int(counter.get_total_flops())


def peaks(rounds: int, *, edge: int = EDGE, factors: int = FACTORS) -> dict[str, Speed]:
    """Measure the most operations per second of each precision on the threads at hand.

    Args:
        rounds: how often each library multiplies; its quickest counts.
        edge: of the matrices.
        factors: matrices in one call.
    """
    count = 2 * edge**3 * factors
    matrix = torch.rand(1, 1, edge, edge)
    names = [f"{runtime} {precision}" for precision in PRECISIONS for runtime in LIBRARIES]
    calls: dict[str, Callable[[], Any]] = {}
    for name, runtime in ready(Product(edge, factors), names).items():
        if works(f"product, {name}", partial(runtime, matrix)):
            calls[name] = partial(runtime, matrix)
    calls["torch int8"] = partial(_whole_numbers, edge, factors)
    timings = interleaved(calls, rounds, say=lambda _: None)
    found: dict[str, Speed] = {}
    for name, taken in timings.items():
        precision = name.split()[1]
        speed = Speed.of(count, taken)
        print(
            f"  product, {name}: {speed.wall / 1e9:.0f} GFLOP/s, "
            f"{speed.processor / 1e9:.0f} per second of processor"
        )
        best = found.get(precision, Speed(0.0, 0.0))
        found[precision] = Speed(*map(max, best, speed))
    return found


LIBRARIES = ("eager", "openvino")


def _whole_numbers(edge: int, factors: int) -> None:
    """Multiply int8 into int32, as often."""
    one = torch.ones(edge, edge, dtype=torch.int8)
    for _ in range(factors):
        torch._int_mm(one, one)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch-size", type=int, default=AUTO_BATCH_SIZE)
    parser.add_argument("--variants", help="comma-separated; by default all, --quick: no compiled")
    parser.add_argument("--quick", action="store_true", help="a small network")
    return parser.parse_args()


def calls_of(job: Job, names: list[str]) -> dict[str, tuple[Callable[[], Any], int]]:
    """Return what is timed, by name: a call, and the windows that it sends through the network."""
    size, window = job.setting.batch_size, job.setting.window
    batch = torch.rand(size, BANDS, window, window, generator=torch.Generator().manual_seed(0))
    starts = [
        len(windows.origins(side, window, job.setting.stride)) for side in job.pixels.shape[1:]
    ]
    calls: dict[str, tuple[Callable[[], Any], int]] = {}
    if works("MONAI + ttach fp32", partial(job.corner().by_monai, size)):
        calls["MONAI + ttach fp32"] = partial(job.by_monai, size), 8 * math.prod(starts)
    for name, runtime in ready(job.net, names).items():
        if works(name, partial(runtime, batch)):
            calls[f"lspipe {name}"] = (partial(runtime, batch), size)
    return calls


def shares(
    timings: Mapping[str, list[Timing]],
    passes: Mapping[str, int],
    *,
    each: int,
    best: Mapping[str, Speed],
) -> dict[str, dict[str, float]]:
    """Return ms per window, GFLOP/s, and the shares of the peak of each way."""
    rows = {}
    for name, taken in timings.items():
        speed, peak = Speed.of(each * passes[name], taken), best[name.split()[-1]]
        rows[name] = {
            "ms_per_window": round(1000 * each / speed.wall, 2),
            "gflops": round(speed.wall / 1e9, 1),
            "share": round(speed.wall / peak.wall, 3),
            "share_of_processor_time": round(speed.processor / peak.processor, 3),
        }
    return rows


def main() -> None:
    options = arguments()
    use_threads(options.threads)
    name = "small" if options.quick else "deeplab"
    window = window_of(name)
    setting = Setting(window=window, stride=window // 2, batch_size=options.batch_size)
    net = network(name)
    job = Job(net=net, pixels=random_pixels((BANDS, 2 * window, 2 * window)), setting=setting)
    print(describe(machine()))
    rounds = 1 if options.quick else options.rounds
    best = peaks(rounds, **({"edge": 64, "factors": 2} if options.quick else {}))
    each = operations(net, torch.zeros(1, BANDS, window, window))
    print(f"{name}: {each / 1e9:.2f} GFLOP per window of {window} px")

    names = options.variants.split(",") if options.variants else VARIANTS
    if options.quick and not options.variants:
        names = [name for name in VARIANTS if "compiled" not in name]
    calls = calls_of(job, list(names))
    timings = interleaved(
        {name: call for name, (call, _) in calls.items()}, rounds, say=lambda _: None
    )
    rows = shares(
        timings, {name: count for name, (_, count) in calls.items()}, each=each, best=best
    )
    width = max(map(len, rows))
    print(f"\nshares of the peak of the precision (target {TARGET:.0%})")
    print(f"{'':{width}}  ms/window  GFLOP/s  share  of processor time")
    for name, row in rows.items():
        print(
            f"{name:{width}} {row['ms_per_window']:10.1f} {row['gflops']:8.0f} "
            f"{row['share']:6.0%} {row['share_of_processor_time']:12.0%}"
        )
    if not options.quick:
        facts = {
            "peak_gflops": {name: round(speed.wall / 1e9, 1) for name, speed in best.items()},
            "gflop_per_window": round(each / 1e9, 3),
            "target": TARGET,
            "ways": rows,
        }
        print(f"\nwritten to {write_result('roofline', facts)}")


if __name__ == "__main__":
    main()
