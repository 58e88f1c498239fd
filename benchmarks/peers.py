"""How much faster than other ways to tile the same network is lspipe, on the same processor?

    python benchmarks/peers.py             560 x 560 px, DeepLabv3+ ResNet-50, 2 rounds
    python benchmarks/peers.py --quick     seconds, a small network: only whether it works

The same float32 pixels, network, threads, window (224 px), stride (112) and eight views of D4:

- MONAI `sliding_window_inference` with ttach's wrapper, as in `pipeline_cpu.py`
- naive: one window at a time, one view at a time, sums in NumPy
- geoai `predict_geotiff` (D4, mean of the views, no blending), the package itself where it can be
  imported (`pip install --no-deps geoai-py`, then `pip install leafmap`, which it imports); it
  reads and writes a GeoTIFF. Elsewhere "geoai-like": batches, views merged by mean in each window,
  float64 sums and weights of full size
- terratorch-like: the image padded by reflection, 8 px cut off each prediction, cosine weights; the
  views merged by ttach, as it has none. A loop of our own with its settings, because the package
  asks for dozens of others

The maps differ, as merges and weights do: only times are compared, and how many passes each took is
printed beside them.

Target: over no peer less than the target over MONAI (`pipeline_cpu.py`).

Result, 2026-11-21, 2 cores of an AMD EPYC with AVX512-bf16, 2 threads, 2 rounds. geoai and
terratorch are the loops of this file. Times over compiled fp32, OpenVINO fp32, compiled bf16 and
OpenVINO bf16: MONAI with ttach 1.32, 1.56, 2.42, 3.00; naive 1.23, 1.46, 2.26, 2.81; geoai 1.41,
1.67, 2.59, 3.20; terratorch 2.15, 2.54, 3.95, 4.89 (it runs 200 passes for 128). Eager fp32: 0.93,
0.87, 0.99, 1.52; the naive loop of one window at a time is the fastest of the peers here.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import cache, partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from harness import (
    BANDS,
    Timing,
    as_json,
    compare,
    describe,
    interleaved,
    machine,
    network,
    random_pixels,
    table,
    window_of,
    write_result,
)
from pipeline_cpu import TARGETS, VARIANTS, Job, variants

from lspipe.inference import dihedral, windows
from lspipe.inference.runtimes import use_threads
from lspipe.inference.settings import AUTO_BATCH_SIZE, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

DELTA = 8
"""Pixels that terratorch cuts off each side of a prediction, its default."""


class Counted(torch.nn.Module):
    """A network that counts what passes through it."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net
        self.passes = 0

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.passes += len(batch)
        return self.net(batch)


def naive(job: Job) -> NDArray[np.float32]:
    """One window and one view at a time."""
    size, stride = job.setting.window, job.setting.stride
    shape = job.pixels.shape[1:]
    total, count = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    starts = [windows.origins(length, size, stride).tolist() for length in shape]
    for row, column in product(*starts):
        place = np.s_[row : row + size, column : column + size]
        views = []
        for view in dihedral.ELEMENTS:
            turned = np.ascontiguousarray(dihedral.apply(view, job.pixels[(slice(None), *place)]))
            with torch.inference_mode():
                answer = job.net(torch.from_numpy(turned)[None])[0, 0].numpy()
            views.append(dihedral.invert(view, answer))
        total[place] += np.max(views, axis=0)
        count[place] += 1
    return total / count


def tiled(
    job: Job,
    predictor: Callable[[torch.Tensor], torch.Tensor],
    weights: NDArray[np.float64],
    *,
    cut: int = 0,
    dtype: type = np.float32,
) -> NDArray[Any]:
    """Average windows by weights, in batches, sums and weights of full size.

    Args:
        job: image and lattice.
        predictor: (N, C, w, w) -> (N, 1, w, w).
        weights: (w - 2 cut, w - 2 cut).
        cut: pixels to cut off each side of a prediction; the image is padded by as many.
        dtype: of the sums.
    """
    size, step = job.setting.window, job.setting.batch_size
    pixels = np.pad(job.pixels, ((0, 0), (cut, cut), (cut, cut)), mode="reflect")
    shape = job.pixels.shape[1:]
    total, weight = np.zeros(shape, dtype), np.zeros(shape, dtype)
    starts = list(
        product(
            *(
                windows.origins(length, size, job.setting.stride).tolist()
                for length in pixels.shape[1:]
            )
        )
    )
    for first in range(0, len(starts), step):
        places = starts[first : first + step]
        batch = np.stack([pixels[:, row : row + size, col : col + size] for row, col in places])
        with torch.inference_mode():
            answers = predictor(torch.from_numpy(batch)).numpy()[:, 0]
        for (row, column), answer in zip(places, answers, strict=True):
            # A pixel at (row + cut) of the padded image is one at row of the image.
            place = np.s_[row : row + size - 2 * cut, column : column + size - 2 * cut]
            total[place] += answer[cut : size - cut, cut : size - cut] * weights
            weight[place] += weights
    return total / weight


def geoai_like(job: Job) -> NDArray[Any]:
    """Views merged by mean in each window, float64 sums."""

    def mean_of_views(batch: torch.Tensor) -> torch.Tensor:
        answers = [
            dihedral.invert(view, job.net(dihedral.apply(view, batch).contiguous()))
            for view in dihedral.ELEMENTS
        ]
        return torch.stack(answers).mean(0)

    return tiled(job, mean_of_views, np.ones((job.setting.window,) * 2), dtype=np.float64)


def terratorch_like(job: Job) -> NDArray[Any]:
    """Cosine weights on predictions whose rims are cut off."""
    import ttach

    kept = job.setting.window - 2 * DELTA
    # The overlap of two neighbours, over which one fades into the other.
    fade = min(kept // 2, job.setting.window - job.setting.stride - 2 * DELTA)
    ramp = np.ones(kept)
    if fade > 0:
        ramp[:fade] = (1 - np.cos(np.pi * (np.arange(fade) + 0.5) / fade)) / 2
        ramp[-fade:] = ramp[:fade][::-1]
    network = ttach.SegmentationTTAWrapper(job.net, ttach.aliases.d4_transform(), "max")
    return tiled(job, network, np.outer(ramp, ramp), cut=DELTA)


def geoai(job: Job, folder: Path) -> None:
    """The package itself, from file to file."""
    from geoai.inference import predict_geotiff

    predict_geotiff(
        job.net,
        str(folder / "pixels.tif"),
        str(folder / "probability.tif"),
        tile_size=job.setting.window,
        overlap=job.setting.window - job.setting.stride,
        batch_size=job.setting.batch_size,
        blend_mode="none",
        tta=True,
        device="cpu",
        verbose=False,
    )


def write_pixels(job: Job, folder: Path) -> None:
    import rasterio

    bands, height, width = job.pixels.shape
    with rasterio.open(
        folder / "pixels.tif", "w", driver="GTiff", dtype="float32", tiled=True,
        count=bands, height=height, width=width, crs="EPSG:32633",
        transform=rasterio.Affine(10, 0, 600_000, 0, -10, 5_200_000),
    ) as file:  # fmt: skip
        file.write(job.pixels)


@cache
def geoai_is_there() -> bool:
    """Whether the package and what it imports can be imported."""
    if find_spec("geoai") is None:
        return False
    try:
        import geoai.inference
        import geoai.utils  # noqa: F401
    except Exception as error:  # noqa: BLE001 it imports dozens of packages
        print(f"geoai is installed but does not import: {error}")
        return False
    return True


def peers(job: Job, folder: Path) -> dict[str, Callable[[], Any]]:
    """The other ways, by name."""
    write_pixels(job, folder)
    is_there = geoai_is_there()
    return {
        "MONAI + ttach": partial(job.by_monai, job.setting.batch_size),
        "naive": partial(naive, job),
        "geoai" if is_there else "geoai-like": partial(geoai, job, folder)
        if is_there
        else partial(geoai_like, job),
        "terratorch-like": partial(terratorch_like, job),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=560, help="edge of the image, pixels")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2, help="of every side")
    parser.add_argument("--batch-size", type=int, default=AUTO_BATCH_SIZE)
    parser.add_argument("--variants", default=",".join(VARIANTS), help="of lspipe")
    parser.add_argument("--quick", action="store_true", help="a small network and image")
    return parser.parse_args()


def passes_of(job: Job, folder: Path) -> dict[str, int]:
    """Passes that each way takes for the map, counted with a network that does next to nothing."""
    net = Counted(torch.nn.Sequential(torch.nn.Conv2d(BANDS, 1, 1), torch.nn.Sigmoid())).eval()
    cheap = Job(net=net, pixels=job.pixels, setting=job.setting)
    calls = peers(cheap, folder)
    calls["lspipe"] = partial(variants(cheap, ["eager fp32"])["lspipe eager fp32"], cheap)
    counted = {}
    for name, run in calls.items():
        net.passes = 0
        run()
        counted[name] = net.passes
    return counted


def report(timings: dict[str, list[Timing]], passes: dict[str, int]) -> dict[str, Any]:
    """Print how much faster lspipe is than each peer, and return it as plain values."""
    own = passes.pop("lspipe")
    print(f"\nlspipe takes {own} passes, those that fill up batches among them")
    results = {}
    for peer, count in passes.items():
        chosen = {
            name: taken
            for name, taken in timings.items()
            if name == peer or name.startswith("lspipe")
        }
        rows = compare(chosen, peer)
        print(f"\nratio to {peer} ({count} passes)")
        # Ways that lay more windows over the same map are slower for that alone.
        notes = {
            row.name: f"{row.ratio * own / count:.2f} per pass" for row in rows if row.name != peer
        }
        print(table(rows, targets=TARGETS, notes=notes))
        results[peer] = {"passes": count, "passes_of_lspipe": own, **as_json(rows)}
    return results


def main() -> None:
    options = arguments()
    use_threads(options.threads)
    name = "small" if options.quick else "deeplab"
    window = window_of(name)
    setting = Setting(window=window, stride=window // 2, batch_size=options.batch_size)
    edge = 4 * window if options.quick else options.size
    job = Job(net=network(name), pixels=random_pixels((BANDS, edge, edge)), setting=setting)
    print(describe(machine()))
    print(f"{name}, {edge} x {edge} px, {setting}")

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        passes = passes_of(job, folder)
        ours = variants(job, options.variants.split(","))
        calls: dict[str, Callable[[], Any]] = dict(peers(job, folder))
        for name, side in ours.items():
            if name.startswith("lspipe"):
                calls[name] = partial(side, job)
        timings = interleaved(calls, 1 if options.quick else options.rounds)
    results = report(timings, passes)
    if not options.quick:
        facts = {"size": edge, "setting": vars(setting), "targets": TARGETS, "peers": results}
        print(f"\nwritten to {write_result('peers', facts)}")


if __name__ == "__main__":
    main()
