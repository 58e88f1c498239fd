"""Events of a run -> how much of their time the network ran on the workers that compute.

Counted since a process last began with the blocks, from the end of a first block to that of a last
one: at the very start a worker imports what it needs, and its first block waits for all its reads.
What is missing to 1 is reading that computing waited for, writing, and work on tiles that ended.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Event = dict[str, Any]


def busy_share(events: Sequence[Event]) -> float | None:
    """Return the share of all workers together; None before two blocks are done.

    None also for runs that did not count it.
    """
    since = since_start(events)
    workers = {event["worker"] for event in since if event.get("role") == "computes"}
    return _share(_blocks(since), workers=len(workers))


def workers(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return the share of each worker of which a block is done.

    Returns:
        Per worker, in the order in which they joined: `worker`, `device`, `blocks`,
        `network_seconds`, and `busy` 0..1, None before two blocks. Nothing for runs whose blocks
        do not say who computed them.
    """
    since = since_start(events)
    # A worker that came back at its address computes on what it has now.
    met = {_address(event["worker"]): event for event in since if event.get("role") == "computes"}
    blocks: dict[str, list[Event]] = {address: [] for address in met}
    for event in _blocks(since):
        if event.get("worker"):
            blocks.setdefault(event["worker"], []).append(event)
    return [
        {
            "worker": met[address]["worker"] if address in met else address,
            "device": met[address]["device"] if address in met else "",
            "blocks": len(done),
            "network_seconds": round(sum(event["network"] for event in done), 1),
            "busy": _share(done, workers=1),
        }
        for address, done in blocks.items()
        if done
    ]


def since_start(events: Sequence[Event]) -> list[Event]:
    """Return the events since a process last began with the blocks."""
    starts = [number for number, event in enumerate(events) if event["event"] == "start"]
    return list(events[starts[-1] if starts else 0 :])


def _blocks(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event["event"] == "block" and "network" in event]


def _share(blocks: Sequence[Mapping[str, Any]], *, workers: int) -> float | None:
    if len(blocks) < 2 or not workers:
        return None
    times = [datetime.fromisoformat(event["time"]) for event in blocks]
    seconds = (times[-1] - times[0]).total_seconds() * workers
    # The first one was computed before.
    spent = sum(event["network"] for event in blocks[1:])
    return min(1.0, round(spent / seconds, 2)) if seconds > 0 else None


def _address(name: str) -> str:
    """Return the address in what a worker is called: "3 (tcp://10.0.0.7:41234)"."""
    return name.rpartition("(")[2].removesuffix(")")
