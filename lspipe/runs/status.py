"""The progress of a run: counts, rate, time left, failures grouped."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from lspipe.errors import StoreError
from lspipe.runs import busy, store
from lspipe.runs.log import read_log

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def status(run: Path) -> dict[str, Any]:
    """Return the progress of a run: counts, rate, time left, failures grouped.

    Raises:
        StoreError: not a run directory.
    """
    check_run_directory(run)
    content = store.read_json(run / "run.json")
    laid_out = {tile: store.layout(run, tile) for tile in content["tiles"]}
    done = {tile: int(found.done.sum()) for tile, found in laid_out.items() if found}
    return read_status(run, content, done)


def read_status(run: Path, content: Mapping[str, Any], done: Mapping[str, int]) -> dict[str, Any]:
    """Return the facts of `status`.

    `state` is what the last process wrote: "running" without `is_running` means that it was killed.

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
    events = read_log(run / "log.jsonl")
    rate, holder = _blocks_per_minute(events), store.holder(run)
    return {
        "name": content["name"],
        "state": content["state"],
        "is_running": holder is not None,
        "holder": str(holder) if holder else None,
        "tiles": tiles,
        "total": total,
        "done": finished,
        "blocks_per_minute": rate,
        "eta_seconds": round((total - finished) / rate * 60) if rate and total > finished else None,
        "seconds_per_block": _seconds_per_block(events),
        "busy_share": busy.busy_share(events),
        "workers": busy.workers(events),
        "failures": dict(Counter(entry["error"] for entry in content["failures"])),
        "seconds": content.get("seconds"),
        "timings": dict(content.get("timings", {})),
        "not_compared": dict(content.get("not_compared", {})),
    }


def _blocks_per_minute(events: list[dict[str, Any]]) -> float | None:
    """Return the rate since the last start; None before two blocks are done."""
    times = [
        datetime.fromisoformat(event["time"])
        for event in busy.since_start(events)
        if event["event"] in {"start", "block"}
    ]
    if len(times) < 3:
        return None
    seconds = (times[-1] - times[0]).total_seconds()
    return (len(times) - 1) / seconds * 60 if seconds > 0 else None


def _seconds_per_block(events: list[dict[str, Any]]) -> dict[str, float] | None:
    """Return the middle seconds of a block in the network and in writing; None before the first."""
    blocks = [event for event in events if event["event"] == "block" and "network" in event]
    if not blocks:
        return None
    return {
        name: round(median(event[name] for event in blocks), 2) for name in ("network", "writing")
    }


def check_run_directory(run: Path) -> None:
    """Refuse a path that is not a run directory."""
    if not (run / "run.json").exists():
        raise StoreError(f"{run}: no run.json here; expected the output folder of `lspipe run`")
