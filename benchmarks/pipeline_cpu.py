"""How much faster than MONAI with ttach does lspipe make the same map on the same processor?

    python benchmarks/pipeline_cpu.py             1024 x 1024 px, DeepLabv3+ ResNet-50, 3 rounds
    python benchmarks/pipeline_cpu.py --quick     seconds, a small network: only whether it works

Both sides see the same float32 pixels through the same network: windows of 224 px, stride 112, the
eight views of D4, maximum, the same number of threads. MONAI's `sliding_window_inference` (mode
"constant") calls ttach's wrapper of the network, as a user would: views are merged in each window
and then averaged. lspipe averages the overlaps of each view and then merges (`--order` has it the
other way round), which is as many passes. The difference in p is to MONAI run view by view and
merged as lspipe does, so it is one definition that is compared.

lspipe's networks are prepared once and kept, as a run and `lspipe.detect` keep that of a model
item; preparing and compiling are not timed. MONAI is timed at lspipe's batch size, and again at the
size that suits it better on a processor (4: `batch_size.py`); the second ratio is the one that no
tuning of MONAI takes away.

Targets: fp32 within 1e-6: compiled >= 1.25, OpenVINO >= 1.8; bf16: compiled >= 2.5, OpenVINO >= 3.7
where the processor has bf16.

Result, 2026-11-22, 2 cores of an AMD EPYC with AVX512-bf16, 2 threads, nothing beside it: MONAI
takes 88 s. Three rounds, median (lowest to highest): eager fp32 1.00 (0.92 to 1.01), compiled fp32
1.57 (1.38 to 1.64), OpenVINO fp32 1.72 (1.51 to 1.82), eager bf16 1.74 (1.67 to 1.95), compiled
bf16 2.87 (2.75 to 3.27), OpenVINO bf16 2.99 (2.71 to 3.21). fp32 differs by at most 1.8e-7, bf16 by
2.5e-3 (eager), 1.0e-3 (compiled), 7.4e-4 (OpenVINO).

Before taps that see nothing but padding were left out (`inference/runtimes/taps.py`): compiled
1.35 and 2.39, OpenVINO 1.71 and 3.48; the day before 1.30, 2.31, 1.66 and 3.17. Expected of it was
2.7 for compiled bf16, where those taps were a seventh of the time of a batch (111 of 774 ms,
`torch.backends.mkldnn.verbose`, beside other work), and 3 % for OpenVINO, which computes them
faster. The machine is shared, and what moves most are the faster ways.

Short of the aims: OpenVINO (1.8, 3.7). Nearly all of its time are the convolutions of the network,
by oneDNN's best kernels (its PERF_COUNT, beside other work: 334 of 359 ms; changing the layout of
the windows 8 ms, up-sampling 8 ms). Tried: batch norms folded into convolutions, batches of 1 to 32
windows (`batch_size.py`), one copy per window, the allocator's settings (`allocator.py`); what is
around the network takes nothing any more (`efficiency.py`: 1.07 and 1.00).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from harness import (
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

from lspipe.inference import dihedral
from lspipe.inference.runtimes import use_threads
from lspipe.inference.settings import AUTO_BATCH_SIZE, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

TARGETS = {
    "lspipe compiled fp32": ">= 1.25",
    "lspipe openvino fp32": ">= 1.80",
    "lspipe compiled bf16": ">= 2.50",
    "lspipe openvino bf16": ">= 3.70",
}

VARIANTS = tuple(
    f"{runtime} {precision}"
    for precision in ("fp32", "bf16")
    for runtime in ("eager", "compiled", "openvino")
)

MONAI_BATCH_SIZE = 4
"""Where eager torch is fastest on a processor, for this network: `batch_size.py`."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=1024, help="edge of the image, pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of both sides")
    parser.add_argument("--batch-size", type=int, default=AUTO_BATCH_SIZE, help="of lspipe")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="comma-separated")
    parser.add_argument(
        "--order",
        choices=("average-then-max", "max-then-average"),
        default="average-then-max",
        help="of lspipe",
    )
    parser.add_argument("--quick", action="store_true", help="a small network and image")
    return parser.parse_args()


@dataclass(frozen=True, kw_only=True)
class Job:
    """One image and one way to lay windows over it, for both sides."""

    net: torch.nn.Module
    pixels: NDArray[np.float32]
    setting: Setting

    def averaged(self, predictor: Callable[[torch.Tensor], Any], batch_size: int) -> Any:
        """MONAI's overlap average of whatever is given as the network: float32 (y, x)."""
        from monai.inferers import sliding_window_inference

        window, stride = self.setting.window, self.setting.stride
        with torch.inference_mode():
            average = sliding_window_inference(
                torch.from_numpy(self.pixels)[None],
                roi_size=(window, window),
                sw_batch_size=batch_size,
                predictor=predictor,
                # MONAI takes int(window * (1 - overlap)): the half keeps rounding errors away.
                overlap=1 - (stride + 0.5) / window,
                mode="constant",
            )
        return average.numpy()[0, 0]

    def by_monai(self, batch_size: int) -> NDArray[np.float32]:
        """MONAI and ttach as a user would put them together."""
        import ttach

        views = ttach.aliases.d4_transform()
        return self.averaged(ttach.SegmentationTTAWrapper(self.net, views, "max"), batch_size)

    def by_definition(self) -> NDArray[np.float32]:
        """The same map as lspipe's, by MONAI: in the same order, at the same batch size."""
        if self.setting.tta_order == "max-then-average":
            return self.by_monai(self.setting.batch_size)

        def seen_as(view: int, batch: torch.Tensor) -> torch.Tensor:
            turned = dihedral.apply(view, batch).contiguous()
            return dihedral.invert(view, self.net(turned))

        size = self.setting.batch_size
        maps = [self.averaged(partial(seen_as, view), size) for view in dihedral.ELEMENTS]
        return np.max(maps, axis=0)

    def corner(self) -> Job:
        """The smallest job with a full batch: what is done only once, is done on it."""
        edge = self.setting.window + self.setting.stride * (self.setting.batch_size - 1)
        pixels = np.ascontiguousarray(self.pixels[:, : self.setting.window, :edge])
        return Job(net=self.net, pixels=pixels, setting=self.setting)


def variants(job: Job, names: list[str]) -> dict[str, Callable[[Job], NDArray[np.float32]]]:
    """Both sides, as functions of a job; each was called once."""
    sizes = sorted({job.setting.batch_size, MONAI_BATCH_SIZE}, reverse=True)
    sides: dict[str, Callable[[Job], Any]] = {
        f"MONAI + ttach fp32, batch {size}": partial(Job.by_monai, batch_size=size)
        for size in sizes
    }
    for name, runtime in ready(job.net, names).items():
        sides[f"lspipe {name}"] = lambda job, runtime=runtime: map_of(
            runtime, job.pixels, job.setting
        )
    corner = job.corner()
    return {name: side for name, side in sides.items() if works(name, partial(side, corner))}


def main() -> None:
    options = arguments()
    use_threads(options.threads)
    name = "small" if options.quick else "deeplab"
    window = window_of(name)
    setting = Setting(
        window=window,
        stride=window // 2,
        batch_size=options.batch_size,
        tta_order=options.order,
    )
    edge = 4 * window if options.quick else options.size
    job = Job(net=network(name), pixels=random_pixels((10, edge, edge)), setting=setting)
    print(describe(machine()))
    print(f"{name}, {edge} x {edge} px, {setting}")

    sides = variants(job, options.variants.split(","))
    maps: dict[str, Any] = {}

    def run(name: str) -> None:
        maps[name] = sides[name](job)

    timings = interleaved(
        {name: partial(run, name) for name in sides}, 1 if options.quick else options.rounds
    )
    definition = job.by_definition()
    differences = {
        name: float(np.abs(found - definition).max())
        for name, found in maps.items()
        if name.startswith("lspipe")
    }
    print(f"p from {definition.min():.3f} to {definition.max():.3f}")
    notes = {name: f"max difference in p {value:.1e}" for name, value in differences.items()}
    results = {}
    for baseline in [name for name in sides if name.startswith("MONAI")]:
        rows = compare(timings, baseline)
        print(f"\nratio to {baseline}")
        print(table(rows, targets=TARGETS, notes=notes))
        results[baseline] = as_json(rows)
    if not options.quick:
        facts = {
            "size": edge,
            "setting": vars(setting),
            "ratios_to": results,
            "targets": TARGETS,
            "max_difference_in_p": differences,
        }
        print(f"\nwritten to {write_result('pipeline_cpu', facts)}")


if __name__ == "__main__":
    main()
