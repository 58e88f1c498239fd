"""What a run says about itself: its structured log, its versions, how a plan is described."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from lspipe.errors import StoreError, without_query
from lspipe.runs.plan import THREADS
from lspipe.runs.plan import record as tile_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lspipe.runs.plan import Plan, TilePlan

PACKAGES = (
    "lspipe",
    "torch",
    "openvino",
    "numpy",
    "xarray",
    "dask",
    "distributed",
    "zarr",
    "rasterio",
    "rioxarray",
    "odc-stac",
    "stackstac",
    "pystac-client",
    "geopandas",
    "shapely",
)


def versions() -> dict[str, str]:
    """Return the versions of Python, the machine's kind and the packages that decide a result."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _without_secrets(workflow: dict[str, Any]) -> dict[str, Any]:
    """Strip the address of the catalogue of what may be a token."""
    search = workflow["search"]
    return workflow | {"search": search | {"catalog": without_query(search["catalog"])}}


def run_json(plan: Plan, *, state: str) -> dict[str, Any]:
    """Content of `run.json` before anything is counted."""
    return {
        "name": plan.workflow.name,
        "state": state,
        "workflow": _without_secrets(plan.workflow.model_dump(mode="json")),
        # What its relative paths start from, so that the run can be read without the file.
        "folder": str(plan.workflow.folder.resolve()),
        "fingerprints": {
            "detection": plan.detection_fingerprint,
            "change": plan.change_fingerprint,
        },
        "detection_inputs": dict(plan.detection_inputs),
        "versions": versions(),
        "model": {
            "id": plan.model.id,
            "sha256": plan.reference.sha256,
            "item_sha256": plan.model.item_sha256,
            **computed_with(plan),
        },
        "tiles": {tile.tile.name: tile_record(tile) for tile in plan.tiles},
        "outputs": {},
        "failures": [],
    }


class Log:
    """Events of a run: a line of JSON each in `log.jsonl`, passed on to the caller's report."""

    def __init__(self, path: Path, report: Callable[..., None]) -> None:
        self._report = report
        self._file = path.open("a", encoding="utf-8")
        if not _ends_a_line(path):
            self._file.write("\n")  # a kill cut the last line off

    def __call__(self, event: str, **facts: Any) -> None:
        """Log one event."""
        plain = {key: str(v) if key == "failure" else v for key, v in facts.items()}
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
        self._file.write(json.dumps(line | plain, default=str) + "\n")
        self._file.flush()
        self._report(event, **facts)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _ends_a_line(path: Path) -> bool:
    content = path.read_bytes()
    return not content or content.endswith(b"\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the events of a run; a last line cut off by a kill is left out."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def computed_with(plan: Plan) -> dict[str, Any]:
    """Say what computes the network and how, in a line and field by field."""
    reference, size = plan.reference, plan.setting.batch_size
    return {
        "runs_as": runs_as(reference.device, reference.precision, reference.runtime, size),
        "device": reference.device,
        "precision": reference.precision,
        "runtime": reference.runtime,
        "batch_size": size,
        "threads": THREADS,
    }


def runs_as(device: str, precision: str, runtime: str, batch_size: int | None) -> str:
    """Say in a line what computes the network; None as batch size = found out by the plan."""
    batches = "batches as large as fit" if batch_size is None else f"batches of {batch_size}"
    threads = "1 thread" if THREADS == 1 else f"{THREADS} threads"
    return f"{device} {precision} {runtime}, {batches}, {threads}"


def describe_plan(
    plan: Plan, *, run: Path, left: str, done: Mapping[str, int], redo: Mapping[str, int]
) -> dict[str, Any]:
    """Facts of a plan as plain values.

    Args:
        plan: what would be done.
        run: its run directory.
        left: what is left to do there, in words.
        done: finished blocks per tile.
        redo: blocks per tile that failed last time.
    """
    return {
        "name": plan.workflow.name,
        "run": str(run),
        "left": left,
        "model": f"{plan.model.id} ({', '.join(plan.model.bands)})",
        "dates": _describe_dates(plan),
        "inference": _describe_inference(plan),
        "computed_with": computed_with(plan),
        "fingerprints": {
            "detection": plan.detection_fingerprint,
            "change": plan.change_fingerprint,
        },
        "tiles": [
            _describe_tile(tile, done=done[tile.tile.name], redo=redo[tile.tile.name])
            for tile in plan.tiles
        ],
    }


def _describe_dates(plan: Plan) -> dict[str, Any]:
    """Days of each date, also of those that an event stands for."""
    dates = plan.workflow.dates
    return {
        "event": None if dates.event is None else dates.event.isoformat(),
        **{
            role: [days.start.isoformat(), days.end.isoformat()]
            for role, days in dates.ranges().items()
        },
    }


def _describe_inference(plan: Plan) -> dict[str, Any]:
    setting = plan.setting
    return {
        "preset": plan.workflow.inference.preset,
        "window": setting.window,
        "stride": setting.stride,
        "overlap": round(1 - setting.stride / setting.window, 4),
        "tta": setting.tta,
        "tta_merge": setting.tta_merge,
        "tta_order": setting.tta_order,
        "blend": setting.blend,
        "screen": setting.screen,
        "sources": dict(plan.sources),
    }


def _describe_tile(tile: TilePlan, *, done: int, redo: int) -> dict[str, Any]:
    blocks = len(tile.blocks) * len(tile.steps)
    return {
        "tile": tile.tile.name,
        "crs": f"EPSG:{tile.tile.geobox.crs.epsg}",
        "pixels": list(tile.tile.geobox.shape),
        "block": tile.grid.block,
        "blocks": blocks,
        "new": blocks - done - redo,
        "done": done,
        "redo": redo,
        "steps": [
            {
                "role": step.role,
                "time": step.time.isoformat(),
                "items": [item.id for item in step.items],
            }
            for step in tile.steps
        ],
        "candidates": [dict(candidate) for candidate in tile.candidates],
    }


def read_status(run: Path, content: Mapping[str, Any], done: Mapping[str, int]) -> dict[str, Any]:
    """Say how far a run is.

    Args:
        run: the run directory.
        content: of its `run.json`.
        done: finished blocks per tile.
    """
    tiles = {
        name: {"done": done.get(name, 0), "total": entry["blocks"] * len(entry["steps"])}
        for name, entry in content["tiles"].items()
    }
    total = sum(counts["total"] for counts in tiles.values())
    finished = sum(counts["done"] for counts in tiles.values())
    rate = _blocks_per_minute(read_log(run / "log.jsonl"))
    failures: dict[str, int] = {}
    for entry in content["failures"]:
        failures[entry["error"]] = failures.get(entry["error"], 0) + 1
    return {
        "name": content["name"],
        "state": content["state"],
        "tiles": tiles,
        "total": total,
        "done": finished,
        "blocks_per_minute": rate,
        "eta_seconds": round((total - finished) / rate * 60) if rate and total > finished else None,
        "failures": failures,
    }


def _blocks_per_minute(events: list[dict[str, Any]]) -> float | None:
    """Rate since the last start; None before two blocks are done."""
    starts = [number for number, event in enumerate(events) if event["event"] == "start"]
    times = [
        datetime.fromisoformat(event["time"])
        for event in events[starts[-1] if starts else 0 :]
        if event["event"] in {"start", "block"}
    ]
    if len(times) < 3:
        return None
    seconds = (times[-1] - times[0]).total_seconds()
    return (len(times) - 1) / seconds * 60 if seconds > 0 else None


def check_run_directory(run: Path) -> None:
    """Refuse a path that is not a run directory."""
    if not (run / "run.json").exists():
        raise StoreError(f"{run}: no run.json here; expected the output folder of `lspipe run`")
