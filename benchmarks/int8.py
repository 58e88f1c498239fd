"""How fast is a network in 8-bit integers, and how far is its mask from that of fp32?

    pip install nncf                        once: 8 MB, and 16 MB of what it needs
    python benchmarks/int8.py               speed, scenes and patches; about 4 minutes of one core
    python benchmarks/int8.py --part speed  one of them
    python benchmarks/int8.py --quick       a small network and scene: only whether it works

NNCF turns a model of OpenVINO into one whose convolutions multiply int8, without training: it sees
windows of the pixels that the model is for, and takes the range of every layer from them. lspipe
has no such precision. This is the measurement that decided so.

    speed    one thread, the network alone over eager PyTorch, and the whole map over MONAI with
             ttach in fp32 (as `pipeline_cpu.py`): a DeepLabv3+ of random weights, as speed does
             not depend on them
    scenes   F1 of the mask to that of fp32: the demo model on the scenes of `overlap_error.py`,
             with 64 windows of each scene to calibrate on
    patches  the same of `shipped:l4s-rgb` on its validation patches, calibrated on 64 patches of
             the training, and F1 to the labels

`int8, ends in fp32` leaves out the first and the last convolution, where pixels come in and
probabilities go out. Ratios are of processor time, taken within a round, so that what else runs on
the machine hardly moves them.

Aim: 3 times as fast as MONAI with ttach, and F1 0.995 to the mask of fp32; or, to be offered all
the same, clearly faster than bf16 with F1 0.99.

Result, 2026-11-30, one thread of an AMD EPYC with AVX512-VNNI that others used too, NNCF 3.4.0,
OpenVINO 2026.4.1. **The speed is there, the mask on these scenes is not.**

    times as fast                                         fp32   bf16   int8
    as eager PyTorch fp32, the network alone, DeepLabv3+  1.31   2.65   4.98
    the same, l4s-rgb                                     2.20   4.13   5.91
    as MONAI with ttach fp32, the whole map, DeepLabv3+   1.66   3.34   6.21

One round of each, so the last row says little more than that the aim is reached; of `l4s-rgb` the
median of five, in a trial that differs in the network alone. With its ends in fp32 `l4s-rgb` is
1.37 (1.35 to 1.39) times as fast as in bf16, without 1.40 (1.29 to 1.48).

F1 to the mask of fp32 of the demo model, on simulated valleys 200 and 201, the Inn in June and in
September, and UKIS:

    bf16                 0.998  1.000  0.992  0.996  0.989
    int8                 0.977  0.993  0.848  0.865  0.894
    int8, ends in fp32   0.978  0.992  0.853  0.906  0.898

and of `shipped:l4s-rgb` on 48 patches, with F1 to their labels, which is 0.737 in fp32:

    bf16                 0.997    0.738
    int8                 0.988    0.739
    int8, ends in fp32   0.992    0.738

Batch normalisations have to be folded into convolutions before NNCF sees them (OpenVINO itself
folds them when it compiles). Without that F1 on the patches was 0.968 and 0.985; on the scenes it
was 0.98, 0.99, 0.91, 0.90 and 0.90.

Trials on the demo model, before folding, without a gain that counts: NNCF's preset "performance";
256 windows to calibrate on; bias correction slow, fast and none (the same to four digits); no guard
against overflow. Ranges by quantiles gained 0.07 in September and 0.02 in June.

A part of the products in int8, in a trial on 2026-12-01: to be 3 times as fast as MONAI takes 0.61
of them, the rest in fp32 (0.602 and 0.161 of MONAI's time above). Four choices of such layers of
the demo model, the middle ones, the first, the last and the heaviest: 0.989 to 0.997 on the
simulated valleys, 0.882 to 0.936 and 0.939 to 0.963 on the Inn, 0.956 to 0.981 on UKIS. So on these
scenes no choice reaches both aims. Of `l4s-rgb` (version 3, all: 0.988) the heaviest five of its 44
convolutions, 0.64 of the products, keep 0.995 on patches, the middle ones 0.993.

bf16 keeps eight bits of every number, int8 eight bits of the largest in a layer: on these scenes
bf16 is at 0.989 to 1.000 itself, and int8 is behind it everywhere. A larger network loses less: of
`l4s-rgb` the mask is at 0.99 on patches if the ends stay in fp32. What the mask of a trained
DeepLabv3+ loses was not measured, as none with free weights was at hand. Such a network, on its own
scenes, is what could justify the precision.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from harness import (
    BANDS,
    Timing,
    describe,
    interleaved,
    machine,
    map_of,
    network,
    random_pixels,
    window_of,
    write_result,
)
from overlap_error import f1
from pipeline_cpu import Job
from scenes import BATCH_SIZE, DATA, PAPER, Scene, names, scene_called

from lspipe.inference.runtimes import PreparedRuntime, openvino, use_threads
from lspipe.inference.runtimes.capture import capturing, snapshot
from lspipe.inference.settings import AUTO_BATCH_SIZE, Setting
from lspipe.models.mlm import read_item
from lspipe.models.weights import build_network
from lspipe.samples import pictures

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lspipe.samples import Pair, Samples

PARTS = ("speed", "scenes", "patches")

ENDS_IN_FP32 = "int8, ends in fp32"

WAYS = ("fp32", "bf16", "int8", ENDS_IN_FP32)
"""What is compared, all by OpenVINO."""

AIM_RATIO, AIM_F1 = 3.0, 0.995

CALIBRATED_ON = 64
"""Windows; four times as many gave the same F1."""

STRIDE = 32
"""Of the demo model's windows of 64 px: 50 % overlap; 6 is the paper's setting."""

EDGE = 336
"""Of the image whose map is timed, pixels: four windows in eight views."""

Shape = tuple[int, int, int, int]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", choices=PARTS, help="only this")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stride", type=int, default=STRIDE, help="of the scenes")
    parser.add_argument("--patches", type=int, default=48, help="how many")
    parser.add_argument("--quick", action="store_true", help="a small network and scene")
    return parser.parse_args()


# --- a network in 8-bit integers ------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A network in one of the `WAYS`, for batches of one shape; it is called as a module is."""

    request: Any

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, w, w) float32 into (N, 1, w, w) float32 probabilities."""
        pixels = batch.float().contiguous().numpy()
        return torch.from_numpy(self.request.infer({0: pixels}, share_inputs=True)[0].copy())


def made(net: torch.nn.Module, way: str, shape: Shape, windows: NDArray[np.float32]) -> Made:
    """Make a network ready in one of the `WAYS`.

    Args:
        net: in eval mode; not modified.
        way: of `WAYS`.
        shape: of its batches.
        windows: (M, C, w, w) to calibrate on, M at least as many as in a batch.
    """
    with capturing("openvino"):
        model = openvino._converted(openvino._Network(snapshot(net)).eval(), shape)
        if way.startswith("int8"):
            model = quantised(model, way, shape, windows)
        precision = "bf16" if way == "bf16" else "f32"
        compiled = openvino._core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": 1,
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            },
        )
    return Made(compiled.create_infer_request())


def quantised(model: Any, way: str, shape: Shape, windows: NDArray[np.float32]) -> Any:
    """Have NNCF quantise a model of OpenVINO; preset "mixed", which was the closer to fp32."""
    from openvino._offline_transformations import apply_moc_transformations

    nncf = imported()
    # As `openvino.convert_model` does, which lspipe goes around: a batch normalisation that is not
    # folded into its convolution would be quantised by itself.
    apply_moc_transformations(model, cf=False)
    whole = len(windows) // shape[0] * shape[0]
    batches = np.split(np.ascontiguousarray(windows[:whole]), whole // shape[0])
    ends = [one.get_friendly_name() for one in model.get_ordered_ops() if is_convolution(one)]
    left_out = [ends[0], ends[-1]] if way == ENDS_IN_FP32 else []
    return nncf.quantize(
        model,
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(batches),
        ignored_scope=nncf.IgnoredScope(names=left_out),
    )


def is_convolution(operation: Any) -> bool:
    return operation.get_type_name() in ("Convolution", "GroupConvolution")


def imported() -> Any:
    """Import NNCF without the telemetry that it would send."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import nncf
    except ImportError as error:
        raise SystemExit(f"8-bit integers need nncf: {error}; pip install nncf") from error
    nncf.set_log_level(logging.ERROR)
    return nncf


def ready_as(way: str, one: Made) -> PreparedRuntime:
    """A network in one of the `WAYS` as a runtime of lspipe."""
    device = torch.device("cpu")
    return PreparedRuntime(network=one, device=device, precision=way, name="openvino")


def drawn(windows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Every n-th of some windows, so many as are asked for."""
    return windows[np.linspace(0, len(windows) - 1, count).astype(int)]


# --- speed ----------------------------------------------------------------------------------------


def speed(rounds: int, *, is_quick: bool) -> dict[str, Any]:
    """Time a network alone and the whole map, each over eager fp32 and MONAI with ttach."""
    name = "small" if is_quick else "deeplab"
    window, net = window_of(name), network(name)
    edge = 2 * window if is_quick else EDGE
    pixels = random_pixels((BANDS, edge, edge))
    setting = Setting(window=window, stride=window // 2, batch_size=AUTO_BATCH_SIZE)
    job = Job(net=net, pixels=pixels, setting=setting)
    shape = (setting.batch_size, BANDS, window, window)
    # One batch to calibrate on: what is found decides no speed.
    windows = np.random.default_rng(1).random(shape, dtype=np.float32)
    batch = torch.from_numpy(windows)
    ways = {way: made(net, way, shape, windows) for way in WAYS if way != ENDS_IN_FP32}

    def eager() -> None:
        with torch.inference_mode():
            net(batch)

    alone = {"eager fp32": eager} | {way: partial(one, batch) for way, one in ways.items()}
    whole: dict[str, Callable[[], Any]] = {
        "MONAI + ttach fp32": lambda: job.by_monai(setting.batch_size)
    }
    for way, one in ways.items():
        whole[way] = partial(map_of, ready_as(way, one), pixels, setting)
    results = {}
    for title, sides in {"the network alone": alone, "the whole map": whole}.items():
        if title == "the network alone":
            for side in sides.values():
                side()
        times = interleaved(sides, rounds, say=ignore)
        base = next(iter(sides))
        results[title] = {way: ratio(times[base], taken) for way, taken in times.items()}
        print(f"\n{title}, times as fast as {base} (processor time)")
        for way, (middle, low, high) in results[title].items():
            print(f"{way:22} {middle:5.2f} ({low:.2f} to {high:.2f})", flush=True)
    return results


def ratio(base: list[Timing], mine: list[Timing]) -> tuple[float, float, float]:
    """Median, lowest and highest ratio of processor time within a round."""
    ratios = [theirs.cpu / own.cpu for theirs, own in zip(base, mine, strict=True)]
    return tuple(round(f(ratios), 2) for f in (statistics.median, min, max))  # type: ignore[return-value]


def ignore(_: str) -> None:
    """Say nothing."""


# --- how far from fp32 ----------------------------------------------------------------------------


def scenes(stride: int, *, is_quick: bool) -> dict[str, Any]:
    """F1 of the demo model's mask to that of fp32, on each scene of `overlap_error.py`."""
    net, results = build_network(read_item("shipped:demo")), {}
    for name in names(is_quick=is_quick):
        scene = scene_called(name, is_quick=is_quick)
        windows = drawn(np.stack(observed_windows(scene, PAPER["window"])), CALIBRATED_ON)
        shape = (BATCH_SIZE, *windows.shape[1:])
        maps = {way: scene_map(scene, made(net, way, shape, windows), stride) for way in WAYS}
        results[name] = agreements(maps, threshold=0.5)
        tell(name, results[name])
    return results


def scene_map(scene: Scene, one: Made, stride: int) -> NDArray[np.float32]:
    """Probabilities of the observed pixels of a scene, by a network made ready."""
    found = scene.probability(
        lambda batch: scene.lifted(one(batch)), window=PAPER["window"], stride=stride, tta="d4"
    )
    return found[~scene.mask]


def observed_windows(scene: Scene, window: int) -> list[NDArray[np.float32]]:
    """Windows (C, w, w) half over each other, at least half of each observed."""
    rows, columns = (range(0, length - window + 1, window // 2) for length in scene.mask.shape)
    parts = [
        (slice(row, row + window), slice(column, column + window))
        for row in rows
        for column in columns
    ]
    return [scene.pixels[:, *part] for part in parts if scene.mask[part].mean() <= 0.5]


def patches(count: int) -> dict[str, Any]:
    """F1 of the mask of `shipped:l4s-rgb` to that of fp32, and to the labels."""
    item = read_item("shipped:l4s-rgb")
    net, window = build_network(item), item.window
    training, validation = (
        pictures.folder(DATA / "l4s_rgb" / part) for part in ("train", "validation")
    )
    windows = np.stack([image for image, _ in some(training, CALIBRATED_ON)])
    pairs = some(validation, count)
    # Patches side by side, as `evaluate.scoring` has them: each is one window.
    image = np.concatenate([image for image, _ in pairs], axis=-1)
    labels = np.concatenate([mask for _, mask in pairs], axis=-1) == 1
    setting = Setting(
        window=window, stride=window, tta="d4", tta_merge="mean", batch_size=AUTO_BATCH_SIZE
    )
    maps = {}
    for way in WAYS:
        one = made(net, way, (AUTO_BATCH_SIZE, 3, window, window), windows)
        maps[way] = map_of(ready_as(way, one), image, setting)
    results = agreements(maps, threshold=item.threshold)
    for way, found in maps.items():
        results[way]["f1_to_labels"] = round(f1(found > item.threshold, labels), 4)
    tell(f"{count} patches of l4s-rgb", results)
    return results


def some(samples: Samples, count: int) -> list[Pair]:
    """Read every n-th patch, so many as are asked for."""
    asked = np.linspace(0, len(samples) - 1, count).astype(int)
    return [samples.read(samples.names[number]) for number in asked]


def agreements(
    maps: dict[str, NDArray[np.float32]], *, threshold: float
) -> dict[str, dict[str, float]]:
    """Set the map of each way against that of fp32."""
    exact = maps["fp32"]
    return {
        way: {
            "f1_to_fp32": round(f1(found > threshold, exact > threshold), 4),
            "mean_difference": float(np.abs(found - exact).mean()),
            "max_difference": float(np.abs(found - exact).max()),
        }
        for way, found in maps.items()
    }


def tell(title: str, results: dict[str, dict[str, float]]) -> None:
    print(f"\n{title}\n{'':20} F1 to fp32     mean    max  F1 to labels")
    for way, one in results.items():
        labels = f"{one['f1_to_labels']:13.4f}" if "f1_to_labels" in one else ""
        line = (
            f"{way:20} {one['f1_to_fp32']:10.4f} {one['mean_difference']:8.5f} "
            f"{one['max_difference']:6.2f} {labels}"
        )
        print(line.rstrip(), flush=True)


def main() -> None:
    options = arguments()
    use_threads(1)
    imported()
    print(describe(machine()))
    print(f"nncf {version('nncf')}; aims: {AIM_RATIO:g} times MONAI, F1 {AIM_F1:g}")
    work: dict[str, Callable[[], dict[str, Any]]] = {
        "speed": lambda: speed(1 if options.quick else options.rounds, is_quick=options.quick),
        "scenes": lambda: scenes(options.stride, is_quick=options.quick),
        "patches": lambda: patches(4 if options.quick else options.patches),
    }
    wanted = [options.part] if options.part else list(work)
    facts = {part: work[part]() for part in wanted}
    if not options.quick:
        name = f"int8-{options.part}" if options.part else "int8"
        settings = {"nncf": version("nncf"), "stride": options.stride, "patches": options.patches}
        print(f"\nwritten to {write_result(name, settings | facts)}")


if __name__ == "__main__":
    main()
