"""What this machine and this installation can do, and how fast they run a network.

`examine` only looks; `benchmark` times the shipped models and a U-Net in every runtime that works
here, in turns, so that whatever else the machine does hits all of them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lspipe import machine, models
from lspipe.catalogs import CATALOGS
from lspipe.clusters import KINDS, local
from lspipe.cube.loaders import LOADERS
from lspipe.errors import LspipeError
from lspipe.inference import runtimes
from lspipe.inference.runtimes.devices import gpus
from lspipe.inference.settings import AUTO_BATCH_SIZE, Setting
from lspipe.outputs import OUTPUTS
from lspipe.runs.cost import seconds_per_pass
from lspipe.runs.describe import runs_as
from lspipe.runs.plan import THREADS
from lspipe.runs.record import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lspipe.inference.runtimes import Runtime

EXTRAS: Mapping[str, str] = {
    "completion": "shtab",
    "csmask": "ukis_csmask",
    "gateway": "dask_gateway",
    "kubernetes": "dask_kubernetes",
    "objectstore": "obstore",
    "openvino": "openvino",
    "planetary-computer": "planetary_computer",
    "slurm": "dask_jobqueue",
    "smp": "segmentation_models_pytorch",
    "train": "pytorch_lightning",
}
"""Optional sets of packages (`pip install 'lspipe[NAME]'`), and the module each brings."""


def examine() -> dict[str, Any]:
    """Return what is here, as plain values: versions, devices, runtimes, sockets, extras."""
    return {
        "versions": versions(),
        "processor": machine.processor(),
        "memory_bytes": machine.memory(),
        "gpus": gpus(),
        "runtimes": runtimes.available(),
        "default": _default(),
        "clusters": sorted(KINDS),
        "catalogs": sorted(CATALOGS),
        "loaders": sorted(LOADERS),
        "outputs": sorted(OUTPUTS),
        "ignored": [*machine.ignored, *local.ignored_settings()],
        "extras": {name: find_spec(module) is not None for name, module in EXTRAS.items()},
    }


def _default() -> dict[str, Any]:
    """Return what a run would compute with if its workflow sets nothing."""
    device = runtimes.resolve_device("auto")
    precision = runtimes.resolve_precision("auto", device)
    size = AUTO_BATCH_SIZE if device.type == "cpu" else None
    return {
        "runs_as": runs_as(device.type, precision, runtimes.AUTO, size),
        "device": device.type,
        "precision": precision,
        "runtime": runtimes.AUTO,
        "batch_size": size,
        "threads": THREADS,
    }


# --- benchmark ----------------------------------------------------------------------------------

SECONDS = 60.0
"""After this the benchmark begins nothing more; it reports what it has not timed."""

ROUNDS = 3
"""Every runtime has so many turns; the fastest counts, as others only have been disturbed."""


@dataclass(frozen=True)
class Trial:
    """A network to time."""

    model: str
    window: int
    channels: int
    batch_size: int
    make: Callable[[str], Runtime]
    """A name of a runtime to the network, ready to be called."""


def trials() -> list[Trial]:
    """Return the networks to time, the cheapest first: the shipped ones and a larger U-Net."""
    shipped = [_shipped(models.read_item(f"shipped:{name}")) for name in models.SHIPPED]
    network = models.build("ghorb-unet", 10)

    def unet(runtime: str) -> Runtime:
        return runtimes.from_callable(network, device="auto", precision="auto", runtime=runtime)

    return [*shipped, Trial("unet, random weights", 224, 10, 4, unet)]


def _shipped(item: models.ModelItem) -> Trial:
    def make(runtime: str) -> Runtime:
        return runtimes.load(item.reference, models.digest(item), runtime=runtime)

    return Trial(f"shipped:{item.id}", item.window, len(item.bands), AUTO_BATCH_SIZE, make)


def benchmark(
    *, some: Iterable[Trial] | None = None, seconds: float = SECONDS
) -> list[dict[str, Any]]:
    """Time forward passes of networks in every runtime that works here, with the planned threads.

    Args:
        some: networks to time; None takes `trials`.
        seconds: after this nothing more is begun; the call that runs is finished.

    Returns:
        A row per network and runtime: model, window, channels, batch_size, device, precision,
        runtime, ms_per_pass, ratio (speed over eager), and `note`, why a number is missing.
    """
    names = [name for name, reason in runtimes.available().items() if not reason]
    deadline = time.monotonic() + seconds
    earlier = runtimes.use_threads(THREADS)
    try:
        return [
            row
            for trial in (trials() if some is None else some)
            for row in _time(trial, sorted(names, key=_eager_first), deadline)
        ]
    finally:
        runtimes.use_threads(earlier)


def _eager_first(name: str) -> tuple[bool, str]:
    return name != runtimes.AUTO, name


def _time(trial: Trial, names: list[str], deadline: float) -> list[dict[str, Any]]:
    """Time a network in some runtimes, in turns."""
    rows = {name: _row(trial, name) for name in names}
    ready: dict[str, Runtime] = {}
    for name, row in rows.items():
        if time.monotonic() > deadline:
            row["note"] = "left out: out of time"
            continue
        try:
            runtime = trial.make(name)
            _turn(trial, runtime)  # not counted: the first call compiles
        except LspipeError as error:
            row["note"] = str(error).splitlines()[0]
        else:
            ready[name] = runtime
    for number in range(ROUNDS):
        # The first round is always finished, so that all are compared.
        if number and time.monotonic() > deadline:
            break
        for name, runtime in ready.items():
            rows[name]["turns"].append(1000 * _turn(trial, runtime))
    for name, runtime in ready.items():
        rows[name] |= {"device": runtime.device.type, "precision": runtime.precision}
    return _with_ratios(rows)


def _row(trial: Trial, runtime: str) -> dict[str, Any]:
    return {
        "model": trial.model,
        "window": trial.window,
        "channels": trial.channels,
        "batch_size": trial.batch_size,
        "runtime": runtime,
        "device": None,
        "precision": None,
        "turns": [],
        "note": "",
    }


def _turn(trial: Trial, runtime: Runtime) -> float:
    setting = Setting(window=trial.window, stride=trial.window, batch_size=trial.batch_size)
    return seconds_per_pass(runtime, setting, trial.channels)


def _with_ratios(rows: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn the turns of a runtime into its best, and that into its speed over eager."""
    best = {name: min(row.pop("turns"), default=None) for name, row in rows.items()}
    base = best.get(runtimes.AUTO)
    for name, row in rows.items():
        found = best[name]
        row["ms_per_pass"] = found
        row["ratio"] = None if base is None or found is None else base / found
    return list(rows.values())
