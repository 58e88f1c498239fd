"""How long does one GPU take for a Sentinel-2 tile at the paper's setting, and how long MONAI?

    python benchmarks/gpu_tile.py            one CUDA GPU, at most 9 minutes

A simulated tile of 10980 x 10980 px, 10 bands of int16 in memory, DeepLabv3+ ResNet-50, windows of
224 px, stride 22 (90 % overlap), D4, maximum, bf16: 240 100 windows, 1.92 million passes. Nothing
is read from files. It needs numpy, xarray, torch and segmentation_models_pytorch, and finds lspipe
beside itself, so nothing has to be installed.

1. Each runtime answers a corner of the tile, which is compared with fp32 on the CPU.
2. The runtimes take turns on a small block; the fastest goes on. Compiling may take minutes, so it
   comes after the others were timed.
3. The fastest answers the full tile, block by block, by `lspipe.inference.run_block`.
4. lspipe, MONAI + ttach in bf16 (autocast) and in fp32 (TF32 convolutions, as torch ships) take
   turns on the same strip of one 3660 px block: as many rows of windows as there is time for.
   Without MONAI or ttach, a plain loop that does the same stands in for it, named so.

Each stage is written to the result (in `$OUT`, or `benchmarks/results`) when it ends. What does not
fit into the time is extrapolated from the windows that did, and called extrapolated. The script
ends itself at its limit, whatever it is doing then.

Targets, one H200: <= 120 s a must, <= 90 s good, <= 65 s the aim; >= 2.5 x MONAI in bf16, >= 6 x in
fp32; differences in p <= 1e-2 in bf16, <= 1e-3 in fp32.

Result: not run yet.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

# A GPU machine is lent for minutes: lspipe need not be installed there.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import (
    BANDS,
    Timing,
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
    timed,
    window_of,
    write_result,
)

from lspipe.errors import LspipeError
from lspipe.inference import dihedral, windows
from lspipe.inference.block import run_block
from lspipe.inference.settings import Setting
from lspipe.schema import REFLECTANCE_SCALE

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lspipe.inference.runtimes import Runtime

STARTED = time.monotonic()

TOLERANCE = {"fp32": 1e-3, "bf16": 1e-2}
TARGETS = {"bf16": ">= 2.50", "fp32": ">= 6.00"}
"""Ratio to MONAI in each precision."""
SECONDS = {"must": 120, "good": 90, "aim": 65}
"""For the full tile on one H200."""

CORNER = 64
"""Edge of the part of the tile that the CPU answers too, pixels: 9 windows of 224 at stride 22."""

MONAI_BLOCK = 3660
"""Edge of the block on which MONAI is compared, pixels."""

COMPILE_SECONDS = 330
"""Compiling with autotuning is not begun with less time left than this: the tile comes first."""

ROWS_TO_WARM_UP = 4
"""Rows of windows of a block, enough for MONAI's own batches to be full."""

MARGIN = 20
"""Seconds that are never planned for."""


@dataclass
class Record:
    """What was found so far, on disk after every stage, and the time that is left."""

    limit: float
    """Seconds from the start of the process at which it ends."""
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._timer = threading.Timer(max(0, self.left()), self._expire)
        self._timer.daemon = True
        self._timer.start()

    def left(self) -> float:
        """Seconds until the process ends itself."""
        return self.limit - (time.monotonic() - STARTED)

    def add(self, **facts: Any) -> Path:
        """Add facts and write them all."""
        with self._lock:
            self.facts.update(facts)
            return write_result("gpu_tile", self.facts)

    def close(self) -> None:
        """Let the process end by itself."""
        self._timer.cancel()

    def _expire(self) -> None:
        place = self.add(ended=f"at its limit of {self.limit:.0f} s, before it was done")
        print(f"out of time after {self.limit:.0f} s; what was reached is in {place}", flush=True)
        # A kernel that is compiled or running cannot be asked to stop.
        os._exit(1)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """The simulated tile and how it is to be answered."""

    pixels: NDArray[np.int16]
    """(band, y, x), reflectance x 1e4."""
    setting: Setting

    @property
    def shape(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[2]

    def answer(self, runtime: Runtime, block: windows.Block, setting: Setting) -> Any:
        """Probability of the core of a block, float32."""
        rows, columns = block.outer
        return run_block(
            self.pixels[:, rows, columns],
            origin=(rows.start, columns.start),
            tile_shape=self.shape,
            core=block.core,
            runtime=runtime,
            setting=setting,
        )

    def block_at_origin(self, edge: int) -> windows.Block:
        """The first pixels of the tile, with the halo that they need."""
        core = slice(0, edge)
        outer = slice(0, edge + self.setting.window - 1)
        return windows.Block((0, 0), (core, core), (outer, outer))

    def windows_of(self, block: windows.Block) -> int:
        """Number of windows that a block takes."""
        rows, columns = (
            len(windows.windows_of(part, length, self.setting.window, self.setting.stride))
            for part, length in zip(block.core, self.shape, strict=True)
        )
        return rows * columns


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=10980, help="edge of the tile, pixels")
    parser.add_argument(
        "--block", type=int, default=5490, help="edge of a block, pixels; or --size"
    )
    parser.add_argument("--stride", type=int, default=22)
    # 256 is the largest that `batch_size: auto` tries, and what it finds on a GPU of this kind.
    parser.add_argument("--batch-size", type=int, default=256, help="of both sides")
    parser.add_argument(
        "--runtimes", default="eager,cudagraph,compiled", help="comma-separated, in this order"
    )
    parser.add_argument("--network", choices=("deeplab", "small"), default="deeplab")
    parser.add_argument("--limit", type=float, default=530, help="seconds until it ends itself")
    # For a trial of this script where no GPU is.
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        parser.set_defaults(
            size=128, block=64, stride=16, batch_size=8, network="small", runtimes="eager"
        )
        options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            f"gpu_tile: torch {torch.__version__} sees no CUDA GPU (torch.version.cuda is "
            f"{torch.version.cuda}): run it where there is one; pipeline_cpu.py is for processors"
        )
    return options


# --- 1. the corner, on both devices ---


def answer_on_cpu(tile: Tile, net: torch.nn.Module) -> NDArray[np.float32]:
    """The corner of the tile in fp32, by eager torch on the CPU."""
    (reference,) = ready(net, ["eager fp32"]).values()
    few = replace(tile.setting, batch_size=min(tile.setting.batch_size, 8))
    expected: NDArray[np.float32] = tile.answer(reference, tile.block_at_origin(CORNER), few)
    print(f"corner on the CPU: p from {expected.min():.3f} to {expected.max():.3f}")
    return expected


def check_runtime(
    tile: Tile, name: str, runtime: Runtime, expected: NDArray[np.float32]
) -> dict[str, Any]:
    """Call a runtime for the first time, and compare its answer with the CPU's."""
    started = time.perf_counter()
    try:
        found = tile.answer(runtime, tile.block_at_origin(CORNER), tile.setting)
    except (LspipeError, RuntimeError) as error:
        print(f"{name}: failed, left out: {error}")
        return {"is_right": False, "failed": str(error)}
    seconds = time.perf_counter() - started
    difference = float(np.abs(found - expected).max())
    is_right = difference <= TOLERANCE[name.split()[1]]
    verdict = "" if is_right else ": TOO LARGE, left out"
    print(f"{name}: first call {seconds:.1f} s, max difference to CPU {difference:.1e}{verdict}")
    return {"is_right": is_right, "first_call_s": seconds, "max_difference_to_cpu": difference}


def check_runtimes(
    tile: Tile,
    runtimes: dict[str, Runtime],
    expected: NDArray[np.float32],
    record: Record,
) -> dict[str, Runtime]:
    """Keep the runtimes that answer rightly."""
    found = {
        name: check_runtime(tile, name, runtime, expected) for name, runtime in runtimes.items()
    }
    record.add(check=record.facts.get("check", {}) | found)
    return {name: runtime for name, runtime in runtimes.items() if found[name]["is_right"]}


# --- 2. a small block ---


def race(tile: Tile, runtimes: dict[str, Runtime], record: Record) -> tuple[str, float]:
    """Time the runtimes in turns on a small block.

    Returns:
        The fastest in bf16, and the seconds that it takes for a window.
    """
    # 32 x 32 windows fill batches of 256 four times.
    edge = min(tile.shape[0] - tile.setting.window, 32 * tile.setting.stride)
    block = tile.block_at_origin(edge)
    count = tile.windows_of(block)
    baseline = next(iter(runtimes))
    print(f"\nsmall block: {count} windows, {8 * count} passes")
    timings = interleaved(
        {
            name: partial(tile.answer, runtime, block, tile.setting)
            for name, runtime in runtimes.items()
        },
        2,
    )
    rows = compare(timings, baseline)
    print(table(rows))
    best = min((row for row in rows if row.name.endswith("bf16")), key=lambda row: row.median)
    total = math.prod(
        len(windows.origins(length, tile.setting.window, tile.setting.stride))
        for length in tile.shape
    )
    record.add(
        small_block={"windows": count, "ratios_to": baseline, **as_json(rows)},
        tile={
            "runtime": best.name,
            "seconds": total * best.median / count,
            "is_extrapolated": True,
            "windows_measured": count,
            "windows": total,
        },
    )
    return best.name, best.median / count


def fastest(
    tile: Tile, net: torch.nn.Module, options: argparse.Namespace, record: Record
) -> tuple[str, Runtime, float, NDArray[np.float32]]:
    """Check and race the runtimes, those that compile last.

    Returns:
        Name, runtime and seconds per window of the fastest in bf16, and the corner by the CPU.
    """
    expected = answer_on_cpu(tile, net)
    names = ["eager fp32", *(f"{name} bf16" for name in options.runtimes.split(","))]
    slow = [name for name in names if name.startswith("compiled")]
    kept: dict[str, Runtime] = {}
    best: tuple[str, float] | None = None
    for heat in ([name for name in names if name not in slow], slow):
        if heat is slow and best is not None and record.left() < COMPILE_SECONDS:
            print(f"{record.left():.0f} s left: nothing is compiled any more")
            continue
        ready_now = ready(net, heat, device=options.device)
        added = check_runtimes(tile, ready_now, expected, record)
        kept |= added
        if any(name.endswith("bf16") for name in added):
            best = race(tile, kept, record)
    if best is None:
        raise SystemExit("no runtime answers rightly in bf16 here: see above")
    return best[0], kept[best[0]], best[1], expected


# --- 3. the tile ---


def answer_tile(
    tile: Tile,
    runtime: Runtime,
    *,
    block: int,
    seconds_per_window: float,
    expected: NDArray[np.float32],
    record: Record,
) -> dict[str, Any]:
    """Answer the tile block by block, as far as the time goes."""
    blocks = windows.blocks(tile.shape, block, tile.setting.halo)
    total = sum(map(tile.windows_of, blocks))
    probability = np.full(tile.shape, np.nan, np.float32)
    answered = np.zeros(tile.shape, bool)
    done, wall, cpu = 0, 0.0, 0.0
    for number, part in enumerate(blocks):
        count = tile.windows_of(part)
        if count * seconds_per_window > record.left() - MARGIN:
            print(f"  {len(blocks) - number} of {len(blocks)} blocks do not fit into the time left")
            break

        def work(part: windows.Block = part) -> None:
            probability[part.core] = tile.answer(runtime, part, tile.setting)

        timing = timed(work)
        answered[part.core] = True
        done, wall, cpu = done + count, wall + timing.wall, cpu + timing.cpu
        seconds_per_window = wall / done
        print(f"  block {number + 1} of {len(blocks)}: {timing.wall:.1f} s, {count} windows")
    facts = {
        "seconds": wall if done == total else total * seconds_per_window,
        "is_extrapolated": done < total,
        "measured_s": wall,
        "measured_cpu_s": cpu,
        "windows_measured": done,
        "windows": total,
        "block": block,
        "targets_s_on_one_h200": SECONDS,
        "passes_per_s": 8 / seconds_per_window,
    }
    if done:
        corner = probability[:CORNER, :CORNER]
        facts["max_difference_to_cpu"] = float(np.abs(corner - expected).max())
        facts["is_all_answered"] = bool(np.isfinite(probability[answered]).all())
    return facts


def say_tile(name: str, facts: dict[str, Any]) -> None:
    kind = "EXTRAPOLATED" if facts["is_extrapolated"] else "measured"
    basis = (
        f"{facts['windows_measured']} of {facts['windows']} windows"
        if facts["windows_measured"]
        else "the small block"
    )
    print(
        f"full tile, {name}: {facts['seconds']:.1f} s {kind} from {basis} "
        f"({facts['measured_s']:.1f} s wall, {facts['measured_cpu_s']:.1f} s processor), "
        f"{facts['passes_per_s']:.0f} passes per s; "
        f"one H200: {', '.join(f'<= {limit} s {word}' for word, limit in SECONDS.items())}"
    )


# --- 4. MONAI ---


def sliding_window(
    image: torch.Tensor,
    predictor: Callable[[torch.Tensor], torch.Tensor],
    setting: Setting,
) -> torch.Tensor:
    """Average windows of an image (1, C, y, x): what stands for MONAI where it is not installed."""
    size = setting.window
    shape = tuple(image.shape[2:])
    starts = [
        (row, column)
        for row in windows.origins(shape[0], size, setting.stride).tolist()
        for column in windows.origins(shape[1], size, setting.stride).tolist()
    ]
    total = torch.zeros(shape, device=image.device)
    count = torch.zeros(shape, device=image.device)
    for first in range(0, len(starts), setting.batch_size):
        places = starts[first : first + setting.batch_size]
        batch = [image[0, :, row : row + size, column : column + size] for row, column in places]
        answers = predictor(torch.stack(batch))[:, 0].float()
        for (row, column), answer in zip(places, answers, strict=True):
            total[row : row + size, column : column + size] += answer
            count[row : row + size, column : column + size] += 1
    return total / count


def d4_maximum(net: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """The eight views one after the other, as ttach's wrapper takes them."""
    views = [
        dihedral.invert(view, net(dihedral.apply(view, batch).contiguous()))
        for view in dihedral.ELEMENTS
    ]
    return torch.stack(views).amax(0)


def peer(net: torch.nn.Module, setting: Setting) -> tuple[str, Callable[[torch.Tensor], Any]]:
    """MONAI and ttach as a user puts them together, or what stands for them; and its name."""
    try:
        import ttach
        from monai.inferers import sliding_window_inference
    except ImportError:
        stand_in = partial(sliding_window, predictor=partial(d4_maximum, net), setting=setting)
        return "sliding window (MONAI's algorithm)", stand_in
    wrapped = ttach.SegmentationTTAWrapper(net, ttach.aliases.d4_transform(), "max")
    return "MONAI + ttach", partial(
        sliding_window_inference,
        roi_size=(setting.window, setting.window),
        sw_batch_size=setting.batch_size,
        predictor=wrapped,
        # MONAI takes int(window * (1 - overlap)): the half keeps rounding errors away.
        overlap=1 - (setting.stride + 0.5) / setting.window,
        mode="constant",
    )


def contestants(
    name: str, runtime: Runtime, net: torch.nn.Module, setting: Setting
) -> tuple[str, dict[str, Callable[[NDArray[np.int16]], Any]]]:
    """Both sides as functions of a part of the tile, int16 (band, y, x); and the peer's name."""
    peer_name, average = peer(net.to(runtime.device), setting)

    def by_peer(part: NDArray[np.int16], precision: str) -> Any:
        image = torch.from_numpy(part[None]).to(runtime.device).float() * REFLECTANCE_SCALE
        is_bf16 = precision == "bf16"
        with (
            torch.inference_mode(),
            torch.autocast(runtime.device.type, torch.bfloat16, enabled=is_bf16),
        ):
            return average(image).float().cpu().numpy()

    return peer_name, {
        f"lspipe {name}": partial(map_of, runtime, setting=setting),
        f"{peer_name} bf16": partial(by_peer, precision="bf16"),
        f"{peer_name} fp32": partial(by_peer, precision="fp32"),
    }


def against(tile: Tile, name: str, runtime: Runtime, net: torch.nn.Module, record: Record) -> None:
    """Let lspipe and MONAI take turns on a strip of one block that there is time for."""
    setting = tile.setting
    peer_name, sides = contestants(name, runtime, net, setting)
    edge = min(MONAI_BLOCK, *tile.shape)
    count = len(windows.origins(edge, setting.window, setting.stride))
    few = min(ROWS_TO_WARM_UP, count)
    strip = tile.pixels[:, : setting.window + setting.stride * (few - 1), :edge]
    strip = np.ascontiguousarray(strip)
    for _ in range(2):
        # The first time sets the libraries up; the second tells what a row of windows takes.
        per_row = sum(timed(partial(side, strip)).wall for side in sides.values()) / few
    affordable = int((record.left() - MARGIN) / per_row)
    rows = min(count, affordable)
    if rows < 1:
        print(f"no time left to compare with {peer_name}")
        record.add(peer={"name": peer_name, "left_out": "no time left"})
        return
    height = edge if rows == count else setting.window + setting.stride * (rows - 1)
    part = np.ascontiguousarray(tile.pixels[:, :height, :edge])
    print(f"\n{peer_name}: {rows} of {count} rows of windows of a block of {edge} px")
    timings = interleaved(
        {side: partial(work, part) for side, work in sides.items()},
        2 if 2 * rows <= affordable else 1,
    )
    facts = {"name": peer_name, "block": edge, "rows_of_windows": [rows, count]}
    record.add(peer=facts | report(timings, peer_name, rows / count))


def report(timings: dict[str, list[Timing]], peer_name: str, share: float) -> dict[str, Any]:
    """Print the ratios to MONAI and what a whole block takes, and return them."""
    ours = next(iter(timings))
    ratios = {}
    for precision, target in TARGETS.items():
        rows = compare(timings, f"{peer_name} {precision}")
        print(f"ratio to {peer_name} {precision}")
        print(table(rows, targets={ours: target}))
        ratios[precision] = as_json(rows)
    seconds = {
        side: min(timing.wall for timing in taken) / share for side, taken in timings.items()
    }
    word = "measured" if share == 1 else f"EXTRAPOLATED from {share:.0%} of its windows"
    for side, value in seconds.items():
        print(f"whole block, {side}: {value:.1f} s {word}")
    return {
        "is_extrapolated": share < 1,
        "block_seconds": seconds,
        "ratios_to": ratios,
        "targets": TARGETS,
    }


def main() -> None:
    options = arguments()
    if options.device == "cpu":
        os.environ.setdefault("OUT", tempfile.gettempdir())  # a trial is no result
    record = Record(options.limit)
    print(describe(machine()))
    setting = Setting(
        window=window_of(options.network), stride=options.stride, batch_size=options.batch_size
    )
    print(f"{options.network}, {options.size} x {options.size} px, {setting}")
    record.add(network=options.network, size=options.size, setting=vars(setting))
    net = network(options.network)
    pixels = random_pixels((BANDS, options.size, options.size), dtype=np.int16)
    tile = Tile(pixels=pixels, setting=setting)
    best, runtime, per_window, expected = fastest(tile, net, options, record)

    print(f"\nfull tile with {best}")
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    tile_facts = answer_tile(
        tile,
        runtime,
        block=options.block,
        seconds_per_window=per_window,
        expected=expected,
        record=record,
    )
    record.add(tile={"runtime": best, **tile_facts})
    say_tile(best, tile_facts)
    if options.device == "cuda":
        record.add(peak_gpu_bytes=torch.cuda.max_memory_allocated())
    against(tile, best, runtime, net, record)
    place = record.add(ended="done", seconds=time.monotonic() - STARTED)
    record.close()
    print(f"\nwritten to {place}")


if __name__ == "__main__":
    main()
