"""What a run says about itself: its structured log, its versions, how a plan is described."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from lspipe.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lspipe.plan import Plan

PACKAGES = (
    "lspipe",
    "torch",
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


class Log:
    """Events of a run: a line of JSON each in `log.jsonl`, passed on to the caller's report."""

    def __init__(self, path: Path, report: Callable[..., None]) -> None:
        self._report = report
        self._file = path.open("a", encoding="utf-8")

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


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the events of a run; a last line cut off by a kill is left out."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def describe_plan(plan: Plan, *, run: Path, done: Mapping[str, int]) -> dict[str, Any]:
    """Facts of a plan as plain values."""
    setting = plan.setting
    return {
        "name": plan.workflow.name,
        "run": str(run),
        "model": f"{plan.model.id} ({', '.join(plan.model.bands)})",
        "inference": {
            "window": setting.window,
            "stride": setting.stride,
            "overlap": f"{1 - setting.stride / setting.window:.1%}",
            "tta": f"{setting.tta} {setting.tta_merge} {setting.tta_order}"
            if setting.tta != "none"
            else "none",
            "blend": setting.blend,
            "batch": setting.batch_size,
            "on": f"{plan.reference.device} {plan.reference.precision} {plan.reference.runtime}",
        },
        "fingerprints": {
            "detection": plan.detection_fingerprint,
            "change": plan.change_fingerprint,
        },
        "tiles": [
            {
                "tile": tile.tile.name,
                "crs": f"EPSG:{tile.tile.geobox.crs.epsg}",
                "pixels": list(tile.tile.geobox.shape),
                "block": tile.grid.block,
                "blocks": len(tile.blocks) * len(tile.steps),
                "new": len(tile.blocks) * len(tile.steps) - done.get(tile.tile.name, 0),
                "done": done.get(tile.tile.name, 0),
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
            for tile in plan.tiles
        ],
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
