"""What benchmarks share: the machine, the network under test, fair timing, peak memory, results.

Variants are timed interleaved: in every round each takes its turn, in the next round in reverse
order, so that a machine that slows down slows all of them. A ratio is taken within a round, and
reported as the median over rounds with the lowest and highest; a timing of one variant alone says
little on a shared machine.

Only numpy and torch are imported here; what else a function needs, it imports itself, so that
`gpu_tile.py` runs where little is installed.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lspipe.inference.runtimes import Runtime
    from lspipe.inference.settings import Setting

RESULTS = Path(__file__).parent / "results"

BANDS = 10
"""Channels of the network under test: the bands of Sentinel-2 at 10 and 20 m."""

SMALL_WINDOW = 32
"""Edge of a window for the network "small", pixels."""


# --- the machine ---


def machine() -> dict[str, Any]:
    """Say on what a benchmark ran: processor, memory, GPU, versions, date."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": gpu,
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "openvino", "lspipe")},
        "date": time.strftime("%Y-%m-%d"),
    }


def describe(facts: Mapping[str, Any]) -> str:
    """The machine in one line."""
    threads = "thread" if facts["torch_threads"] == 1 else "threads"
    parts = [
        facts["cpu"],
        f"{facts['cores']} cores",
        f"{facts['torch_threads']} torch {threads}",
        f"{facts['memory_gib']} GiB",
        facts["gpu"] or "no GPU",
        f"torch {facts['torch']}",
        f"openvino {facts['openvino']}" if facts["openvino"] else "no openvino",
        facts["date"],
    ]
    return ", ".join(parts)


def _processor() -> str:
    """Model name, and what decides the speed of bf16 on it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    has = set(flags[1].split()) if flags else set()
    extras = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in has]
    return f"{name[1].strip() if name else platform.machine()} ({' '.join(extras)})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# --- the network under test ---


def network(name: str = "deeplab", *, bands: int = BANDS, seed: int = 0) -> torch.nn.Module:
    """Build a network with random weights, the same on every machine, in eval mode on the CPU.

    Speed does not depend on weights. They are those of the initialisation, with statistics of
    BatchNorm somewhat off 0 and 1, so that folding it into convolutions must be right to be unseen.
    Statistics of random batches would be no better: an untrained network that is normalised layer
    by layer blows up rounding errors (1e-4 in fp32, 0.2 in bf16), which a trained one does not.

    Args:
        name: "deeplab" = DeepLabv3+ with ResNet-50 (26.7 M weights), the network of paper
            000, needs segmentation_models_pytorch; "small" = a residual U-Net of lspipe for
            smoke runs, in windows of `SMALL_WINDOW` px.
        bands: number of channels.
        seed: of the weights and of those batches.

    Raises:
        SystemExit: segmentation_models_pytorch is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _deeplab(bands) if name == "deeplab" else _small(bands)
        for part in net.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_mean.uniform_(-0.05, 0.05)
                part.running_var.uniform_(0.8, 1.25)
    return net.eval().requires_grad_(False)


def window_of(name: str) -> int:
    """Edge of the windows of a network under test, pixels: 224 is the paper's."""
    return SMALL_WINDOW if name == "small" else 224


def _small(bands: int) -> torch.nn.Module:
    import lspipe.models

    return lspipe.models.build("ghorb-resunet", bands, filters=4)


def _deeplab(bands: int) -> torch.nn.Module:
    from lspipe.models import torchvision

    torchvision.make_importable()
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        raise SystemExit(
            f"the network under test needs segmentation_models_pytorch, timm and torchvision: "
            f"{error}; pip install 'lspipe[benchmarks]', or take --network small"
        ) from error
    return smp.DeepLabV3Plus(
        "resnet50", encoder_weights=None, in_channels=bands, classes=1, activation="sigmoid"
    )


def random_pixels(
    shape: tuple[int, int, int], *, dtype: type = np.float32, seed: int = 0
) -> np.ndarray[Any, Any]:
    """Draw pixels (band, y, x), all observed: float32 0..1, or int16 reflectance x 1e4."""
    generator = np.random.default_rng(seed)
    if dtype is np.int16:
        return generator.integers(0, 10_000, shape, np.int16)
    return generator.random(shape, dtype=np.float32)


# --- lspipe, ready to be called ---


def ready(
    net: torch.nn.Module,
    names: Sequence[str],
    *,
    device: str = "cpu",
    say: Callable[[str], None] = print,
) -> dict[str, Runtime]:
    """Prepare a network in several ways, and say why one does not work here.

    Args:
        net: on the CPU; never modified.
        names: runtime and precision, "compiled bf16".
        device: "cpu" or "cuda".
        say: called with what is left out, and why.

    Returns:
        Name -> runtime, of those that work. A runtime may compile at its first call of each batch
        shape, or find then that it cannot: see `works`.
    """
    from lspipe.errors import LspipeError
    from lspipe.inference.runtimes import from_callable

    prepared = {}
    for name in names:
        runtime, precision = name.split()
        try:
            prepared[name] = from_callable(net, device=device, precision=precision, runtime=runtime)
        except LspipeError as error:
            say(f"left out: {name}: {error}")
    return prepared


def works(name: str, call: Callable[[], Any], *, say: Callable[[str], None] = print) -> bool:
    """Call for the first time, which may compile; False, and why, where lspipe refuses."""
    from lspipe.errors import LspipeError

    started = time.perf_counter()
    try:
        call()
    except LspipeError as error:
        say(f"left out: {name}: {error}")
        return False
    say(f"  first call of {name}: {time.perf_counter() - started:.1f} s")
    return True


def map_of(
    runtime: Runtime,
    pixels: np.ndarray[Any, Any],
    setting: Setting,
) -> np.ndarray[Any, Any]:
    """Answer an array as `lspipe.detect` does, as one block, by a network that is ready.

    Args:
        runtime: see `ready`.
        pixels: (band, y, x), the whole tile: float32 in model units, or int16.
        setting: window, stride, TTA and so on.

    Returns:
        float32 (y, x).
    """
    from lspipe.inference.block import run_block

    shape = pixels.shape[1:]
    return run_block(
        pixels,
        origin=(0, 0),
        tile_shape=(shape[0], shape[1]),
        core=(slice(0, shape[0]), slice(0, shape[1])),
        runtime=runtime,
        setting=setting,
    )


# --- time ---


@dataclass(frozen=True)
class Timing:
    """Seconds that one call took."""

    wall: float
    cpu: float
    """Summed over all threads of this process."""


@dataclass(frozen=True)
class Row:
    """One variant against the baseline."""

    name: str
    best: float
    """Wall time of its fastest round, seconds."""
    median: float
    """Wall time, seconds."""
    cpu: float
    """Median processor time, seconds."""
    ratio: float
    """How many times faster than the baseline: median over rounds."""
    lowest: float
    highest: float
    """Of the ratio, over rounds."""


def timed(work: Callable[[], Any]) -> Timing:
    """Call once and take the time; a GPU has finished before each look at the clock."""
    _finish()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    _finish()
    return Timing(time.perf_counter() - wall, time.process_time() - cpu)


def interleaved(
    variants: Mapping[str, Callable[[], Any]],
    rounds: int,
    *,
    say: Callable[[str], None] = print,
) -> dict[str, list[Timing]]:
    """Time variants in turns: round by round, every second round in reverse order.

    What a variant does only once (compiling, reading weights) it must have done before.

    Args:
        variants: name -> a call of no arguments; for a fair ratio all do the same work.
        rounds: how often each is called.
        say: called with each timing as it is taken.

    Returns:
        Timings of each variant, in the order of rounds.
    """
    timings: dict[str, list[Timing]] = {name: [] for name in variants}
    for number in range(rounds):
        for name in list(variants)[:: -1 if number % 2 else 1]:
            timing = timed(variants[name])
            timings[name].append(timing)
            say(
                f"  round {number + 1} of {rounds}: {name}: "
                f"{timing.wall:.2f} s wall, {timing.cpu:.2f} s processor"
            )
    return timings


def compare(timings: Mapping[str, Sequence[Timing]], baseline: str) -> list[Row]:
    """Set every variant against the baseline of the same round."""
    rows = []
    for name, taken in timings.items():
        ratios = [
            base.wall / mine.wall for base, mine in zip(timings[baseline], taken, strict=True)
        ]
        walls = [timing.wall for timing in taken]
        rows.append(
            Row(
                name,
                best=min(walls),
                median=statistics.median(walls),
                cpu=statistics.median(timing.cpu for timing in taken),
                ratio=statistics.median(ratios),
                lowest=min(ratios),
                highest=max(ratios),
            )
        )
    return rows


def table(
    rows: Sequence[Row],
    *,
    targets: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
) -> str:
    """Lay rows out as text: times, the ratio with its spread, the target beside it."""
    width = max(len(row.name) for row in rows)
    head = f"{'':{width}}  best s  median s  processor s   ratio (lowest-highest)  target"
    lines = [head]
    for row in rows:
        spread = f"{row.ratio:5.2f} ({row.lowest:.2f}-{row.highest:.2f})"
        line = (
            f"{row.name:{width}} {row.best:7.2f} {row.median:9.2f} {row.cpu:12.2f}   {spread:22}  "
            f"{(targets or {}).get(row.name, ''):8}{(notes or {}).get(row.name, '')}"
        )
        lines.append(line.rstrip())
    return "\n".join(lines)


def _finish() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


# --- memory ---


def peak_memory(
    function: str, *, timeout: float = 600, threads: int | None = None, **arguments: Any
) -> dict[str, Any]:
    """Measure the peak of resident memory of some work, in a fresh process.

    `function` is called with the arguments and prepares (imports, inputs), then returns the work, a
    callable of no arguments. The peak counts from when the work begins: `above` is what the work
    itself added. Processes that the work starts are not counted: let it use threads.

    Args:
        function: "module:name", a module of this folder.
        timeout: seconds until the process is killed.
        threads: OMP_NUM_THREADS of the process; None = as here.
        arguments: plain values (JSON).

    Returns:
        baseline, peak, above (bytes), wall, cpu (seconds), and `result`, what the work returned, if
        that is a plain value.

    Raises:
        RuntimeError: the process failed; the message ends with what it wrote.
    """
    command = [sys.executable, str(Path(__file__).resolve()), function, json.dumps(arguments)]
    environment = dict(os.environ)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=environment, check=False
    )
    if done.returncode != 0:
        # 137 and -9 are the kernel's answer to too much memory, itself a result.
        raise RuntimeError(f"{function} ended with {done.returncode}: {done.stderr[-2000:]}")
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def _measure_here(function: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Do what `peak_memory` asks, in this process."""
    module, _, name = function.partition(":")
    work = getattr(importlib.import_module(module), name)(**arguments)
    _give_back()
    _reset_peak()
    baseline = _status("VmRSS")
    returned: list[Any] = []
    timing = timed(lambda: returned.append(work()))
    # Not ru_maxrss: a child begins with that of the process which started it.
    peak = _status("VmHWM")
    is_plain = isinstance(returned[0], str | int | float | list | dict)
    return {
        "baseline": baseline,
        "peak": peak,
        "above": peak - baseline,
        "wall": timing.wall,
        "cpu": timing.cpu,
        "result": returned[0] if is_plain else None,
    }


def _give_back() -> None:
    """Give what the preparation freed back to the system, or the work would have it for free."""
    with suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak() -> None:
    """Let the kernel count the peak from here; where it will not, it counts from the start."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _status(key: str) -> int:
    """A line of /proc/self/status, bytes."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{key}:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {key}: peak memory is measured on Linux only")
    return int(found[1]) * 1024


# --- results ---


def write_result(name: str, facts: Mapping[str, Any]) -> Path:
    """Write facts and the machine to NAME-<machine>.json, and return its path.

    It lies in the folder $OUT if that is set, as for a trial whose numbers are not to be kept, else
    in `benchmarks/results`. The machine is its GPU, or its processor and cores if it has none; a
    newer result of the same benchmark on the same machine takes the place of the older.

    Args:
        name: of the benchmark.
        facts: plain values (JSON).
    """
    place = machine()
    label = place["gpu"] or f"{place['cpu'].partition('(')[0]} {place['cores']} cores"
    slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    target = Path(os.environ.get("OUT") or RESULTS) / f"{name}-{slug}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"benchmark": name, "machine": place, **facts}, indent=2)
    # Whole or not at all: a benchmark may be ended while it writes.
    partial = target.with_suffix(".partial")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(target)
    return target


def as_json(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Rows as plain values, by name of the variant."""
    return {
        row.name: {
            key: round(value, 4) for key, value in vars(row).items() if isinstance(value, float)
        }
        for row in rows
    }


if __name__ == "__main__":
    print(json.dumps(_measure_here(sys.argv[1], json.loads(sys.argv[2]))))
