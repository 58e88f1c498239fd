"""Which share of the time is the network, and which is everything lspipe does around it?

    python benchmarks/efficiency.py             on the GPU if there is one, else on the CPU
    python benchmarks/efficiency.py --quick     seconds, a small network: only whether it works

A map is made (float32 pixels, many windows per pixel, D4), then the same prepared network is called
alone on the batches that the map sent through it: as many calls, of the same shapes and memory
layout, on the same device, but ready-made, and with nothing done with the answers. The two take
turns. Efficiency = time of the network alone / time of the map. The faster the network, the more
the rest shows: every runtime and precision is measured for itself.

Both are done with the C library's settings of a worker (`clusters.settings.ALLOCATOR`); without
them eager PyTorch fetches memory anew for every layer, and what else is taken decides how often.

Targets: >= 95 % on a CPU, >= 92 % on a GPU.

Result, 2026-11-21, 2 cores of an AMD EPYC with AVX512-bf16, 3 rounds, one thread as a worker has:
eager fp32 1.02 (0.95 to 1.07), compiled bf16 1.07 (0.94 to 1.09), OpenVINO bf16 1.00 (0.98 to
1.01). With two threads (`--threads 2`): 1.01, 1.04 and 0.95 (0.93 to 0.96). What OpenVINO lost
with two (0.92 in an earlier run) were PyTorch's threads, which go on spinning for a while after
they have cut the windows and take its processor; one thread has none that spins.

And in a run? By its run.json and `lspipe status`, 2026-11-30, the same kind of processor, two
workers, one tile of the demo on both dates with a window every 22 px (overlap 0.83, D4):

    lspipe demo archive      # without the line `radar:` of its demo.yaml
    lspipe run archive/demo.yaml --output run --set inference.stride=22
        --set model.item=shipped:l4s-rgb --set "aoi={tiles: [18GYS]}"

174.1 of 175.3 seconds that workers worked were the network, 0.9 reading, 0.3 writing: 99 % (target
95 %). Between its first and its last block each worker was busy 100 % of the time; with the start
of the cluster and the wait for the last block 89 %, as it lasted only 98 s.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

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
    ready,
    table,
    window_of,
    works,
    write_result,
)

from lspipe.clusters.settings import ALLOCATOR
from lspipe.inference.runtimes import use_threads
from lspipe.inference.settings import AUTO_BATCH_SIZE, Setting

if TYPE_CHECKING:
    from lspipe.inference.runtimes import Runtime

VARIANTS = {
    "cpu": ("eager fp32", "compiled bf16", "openvino bf16"),
    "cuda": ("eager bf16", "compiled bf16", "cudagraph bf16"),
}
SHAPES = {"cpu": (392, 504), "cuda": (1104, 1104)}
"""On a CPU 24 windows of 224 px at stride 56: six full batches of 4, so that eager torch ends
within a minute. On a GPU 1681 at the paper's stride of 22."""

STRIDES = {"cpu": 56, "cuda": 22}
BATCH_SIZES = {"cpu": AUTO_BATCH_SIZE, "cuda": 128}
TARGETS = {"cpu": 0.95, "cuda": 0.92}

KEPT = 3
"""Batches that are kept to be sent again; more would fill the memory and change nothing."""


@dataclass
class Recorder:
    """A runtime that remembers the batches it was called with."""

    runtime: Runtime
    calls: list[tuple[int, ...]] = field(default_factory=list)
    """Shape of each batch."""
    batches: dict[tuple[int, ...], list[torch.Tensor]] = field(default_factory=dict)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        shape = tuple(batch.shape)
        self.calls.append(shape)
        kept = self.batches.setdefault(shape, [])
        if len(kept) < KEPT:
            kept.append(batch.clone())  # in the layout it came in
        return self.runtime(batch)

    def __getattr__(self, name: str) -> Any:
        """Device, scaling, bands and so on are the runtime's."""
        return getattr(self.runtime, name)

    def alone(self) -> None:
        """Call the network as often, and do nothing else."""
        for number, shape in enumerate(self.calls):
            kept = self.batches[shape]
            self.runtime(kept[number % len(kept)])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    has_gpu = torch.cuda.is_available()
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if has_gpu else "cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="on a CPU; 1 as a worker has")
    parser.add_argument("--variants", help="comma-separated; by default those of the device")
    parser.add_argument("--shape", type=int, nargs=2, help="rows and columns, pixels")
    parser.add_argument("--stride", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--quick", action="store_true", help="a small network and image")
    return parser.parse_args()


def as_in_a_worker() -> None:
    """Start this program again with the environment of a worker, which is read only once."""
    if any(os.environ.get(key) != value for key, value in ALLOCATOR.items()):
        environment = {**os.environ, **ALLOCATOR}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606


def main() -> None:
    as_in_a_worker()
    options = arguments()
    device = options.device
    use_threads(options.threads)
    name = "small" if options.quick else "deeplab"
    window = window_of(name)
    setting = Setting(
        window=window,
        stride=options.stride or (window // 4 if options.quick else STRIDES[device]),
        batch_size=options.batch_size or BATCH_SIZES[device],
    )
    shape = options.shape or ((3 * window, 3 * window) if options.quick else SHAPES[device])
    pixels = random_pixels((BANDS, *shape))
    names = options.variants.split(",") if options.variants else VARIANTS[device]
    print(describe(machine()))
    print(f"{name} on {device}, {shape[0]} x {shape[1]} px, {setting}")

    results = {}
    for variant, runtime in ready(network(name), names, device=device).items():
        recorder = Recorder(runtime)
        if not works(variant, partial(map_of, recorder, pixels, setting)):
            continue
        passes = sum(shape[0] for shape in recorder.calls)
        print(f"\n{variant}: {len(recorder.calls)} calls, {passes} passes")
        timings = interleaved(
            {
                "lspipe": partial(map_of, runtime, pixels, setting),
                "network alone": recorder.alone,
            },
            1 if options.quick else options.rounds,
        )
        # The ratio of the map to the network alone, which is the efficiency itself.
        rows = compare(timings, "network alone")
        print(table(rows, targets={"lspipe": f">= {TARGETS[device]:.2f}"}))
        results[variant] = {"passes": passes, **as_json(rows)}
    if not options.quick:
        facts = {
            "device": device,
            "shape": list(shape),
            "setting": vars(setting),
            "target": TARGETS[device],
            "efficiency": {variant: facts["lspipe"]["ratio"] for variant, facts in results.items()},
            "variants": results,
        }
        print(f"\nwritten to {write_result('efficiency', facts)}")


if __name__ == "__main__":
    main()
