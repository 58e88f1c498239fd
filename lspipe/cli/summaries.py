"""Facts of a plan, a run or a status, as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lspipe.cli.text import duration, size

if TYPE_CHECKING:
    from lspipe.estimate import Estimate
    from lspipe.pipeline import Summary


def plan_text(facts: dict[str, Any], cost: Estimate, notes: list[str]) -> str:
    """Say what a plan would do, and cost."""
    lines = [f"run directory  {facts['run']}", f"model          {facts['model']}"]
    lines.append("inference      " + ", ".join(f"{k} {v}" for k, v in facts["inference"].items()))
    for tile in facts["tiles"]:
        lines.append(
            f"tile {tile['tile']}     {tile['pixels'][0]} x {tile['pixels'][1]} px, blocks of "
            f"{tile['block']} px: {tile['new']} new, {tile['done']} done"
        )
        lines += [
            f"  {step['role']:7s} {step['time'][:16].replace('T', ' ')}  {', '.join(step['items'])}"
            for step in tile["steps"]
        ]
    lines += [
        f"scenes         {cost.scenes}",
        f"windows        {cost.windows:,}",
        f"forward passes {cost.forward_passes:,}",
        f"to read        {size(cost.bytes_to_read)} of pixels",
        f"peak memory    {size(cost.peak_bytes_per_worker)} per worker",
        f"compute        {duration(cost.forward_passes * cost.seconds_per_pass)} on one worker of "
        f"this machine ({cost.seconds_per_pass * 1000:.2f} ms per pass, measured)",
    ]
    lines += [f"note: {note}" for note in notes]
    return "\n".join(lines)


def summary_text(summary: Summary, demo: dict[str, int] | None) -> str:
    """Say how a run ended; the last line counts its blocks."""
    lines = []
    if summary.outputs:
        counts = ", ".join(f"{count} {status}" for status, count in summary.statuses.items())
        lines.append(f"landslides     {counts or 'none'}")
        lines += [f"  {name:12s} {path}" for name, path in summary.outputs.items()]
    if demo:
        lines.append(
            f"demo           found {demo['found']} of {demo['planted']} planted new landslides; "
            f"{demo['right']} of {demo['listed']} listed as new are right"
        )
    if summary.outputs:
        best = summary.outputs.get("gpkg", summary.outputs["geoparquet"])
        lines.append(f"open next      {best} in QGIS")
    for failure in summary.failures[:5]:
        lines.append(f"failed         {failure}")
    if summary.failures:
        lines.append("               try again: the same command, or with --only-failed")
    left = summary.total - summary.done - summary.skipped - len(summary.failures)
    if left:
        lines.append(f"not finished   {left} blocks are left: the same command goes on with them")
    if summary.failed_reads:
        lines.append(f"failed reads   left {summary.failed_reads:,} pixels without data")
    share = summary.observed_share
    dates = "on both dates" if summary.is_two_date else "on its date"
    lines.append(
        f"observed       {share:.1%} of the area {dates}"
        + ("" if share > 0.9995 else "; the rest is in unobserved.parquet")
    )
    lines.append(
        f"blocks {summary.total}: done {summary.done}, skipped {summary.skipped}, "
        f"failed {len(summary.failures)}" + (f", left {left}" if left else "")
    )
    return "\n".join(lines)


def status_text(facts: dict[str, Any]) -> str:
    """Say how far a run is."""
    lines = [f"{facts['name']}: {facts['state']}"]
    lines += [
        f"  {tile:8s} {counts['done']} of {counts['total']} blocks"
        for tile, counts in facts["tiles"].items()
    ]
    if facts["blocks_per_minute"]:
        lines.append(f"  {facts['blocks_per_minute']:.1f} blocks per minute")
    if facts["eta_seconds"]:
        lines.append(f"  about {duration(facts['eta_seconds'])} left")
    for reason, count in facts["failures"].items():
        lines.append(f"  failed {count} x {reason}")
    lines.append(f"blocks {facts['total']}: done {facts['done']}")
    return "\n".join(lines)
