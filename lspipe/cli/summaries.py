"""Facts of a plan, a run or a status, as text for people."""

from __future__ import annotations

import math
import textwrap
from operator import itemgetter
from os.path import normpath
from typing import TYPE_CHECKING, Any

from lspipe.cli.text import counted, duration, entry, size, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lspipe.cli.transfer import Transfer
    from lspipe.evaluate.scorecard import Scorecard
    from lspipe.evaluate.truth import ListScore
    from lspipe.runs.cost import Estimate
    from lspipe.runs.summary import Summary
    from lspipe.train.course import Trained


def validate_text(workflow: str, facts: dict[str, Any]) -> str:
    """Say that a workflow is valid, and what it asks for."""
    lines = [
        f"{workflow}: valid ({facts['model']})",
        *area_lines(facts["area"]),
        f"run directory  {normpath(facts['run'])}",
        f"next           lspipe plan {workflow}",
    ]
    return "\n".join(lines)


def plan_text(facts: dict[str, Any], cost: Estimate, notes: list[str]) -> str:
    """Describe what a plan would do, and cost."""
    lines = [
        f"run directory  {normpath(facts['run'])}",
        f"left to do     {facts['left']}",
        *entry("model", facts["model"]),
        *area_lines(facts["area"]),
        *terrain_lines(facts["terrain"]),
        *_dates(facts["dates"]),
        *_inference(facts["inference"]),
        *entry("computed with", facts["computed_with"]["runs_as"]),
        *_why_this_runtime(facts["computed_with"]),
        *_masks(facts["masks"]),
    ]
    for tile in facts["tiles"]:
        lines += _tile(tile)
    if facts["excluded"]:
        lines += entry("excluded", f"{', '.join(facts['excluded'])} (search.exclude)")
    warned = [line for text in notes for line in entry("warning", text)]
    return "\n".join([*lines, *_cost(cost, facts), *_presets(cost), *warned])


def _why_this_runtime(facts: dict[str, Any]) -> list[str]:
    """Say what was measured, where the runtime was chosen by that."""
    why = facts["runtime_why"]
    return entry("  as", why) if why else []


def area_lines(area: dict[str, Any]) -> list[str]:
    """Describe the size of an area, and how it was given."""
    km2 = area["km2"]
    size = f"{km2:,.0f}" if km2 >= 100 else f"{km2:.3g}"
    return entry("area", f"{size} km2 ({area['asked']})")


def terrain_lines(terrain: dict[str, Any] | None) -> list[str]:
    """Describe where heights come from, what they cost and what they decide."""
    if terrain is None:
        return []
    datum = terrain["datum"] + (f" ({terrain['datum_name']})" if terrain["datum_name"] else "")
    shift = ", shifted by the geoid" if terrain["is_shifted"] else ""
    files, much = counted(terrain["files"], "file"), size(terrain["bytes_to_read"])
    lines = [
        f"{terrain['dem']}: {files}, {much} of heights; datum: {datum}{shift}",
        f"channels: {', '.join(terrain['channels'])}" if terrain["channels"] else "",
        f"nothing is run below {terrain['min_slope_deg']:g} degrees (counted below as if all were)"
        if terrain["min_slope_deg"] is not None
        else "",
    ]
    return entry("terrain", "; ".join(filter(None, lines)))


def _tile(tile: dict[str, Any]) -> list[str]:
    """Describe a tile: its blocks, the scenes of each date, and those that were left out."""
    blocks = f"{tile['new']} new, {tile['done']} done, {tile['redo']} to redo"
    rows, columns = tile["pixels"]
    lines = entry(
        f"tile {tile['tile']}", f"{rows} x {columns} px, blocks of {tile['block']} px: {blocks}"
    )
    for step in tile["steps"]:
        for scene in step["scenes"]:
            lines.append(f"  {step['role']:7s} {_when(scene)}  {_cloud(scene)}")
            lines += [f"          {name}" for name in scene["items"]]
    lines += [line for one in tile["radar"] for line in entry("  radar", _pass(one))]
    others = [one for one in tile["candidates"] if not one["chosen"]]
    for one in others:
        lines.append(f"  left out, {one['role']}: {_when(one)}  {_why_not(one)}")
        lines += [f"          {name}" for name in one["items"]]
    return lines


def _pass(one: dict[str, Any]) -> str:
    """Describe a pass of radar: its orbit, its dates, and what is done to them."""
    dates = ", ".join(
        f"{counted(len(days), 'date')} {side} ({', '.join(days)})"
        for side, days in one["dates"].items()
    )
    done = [
        f"filtered {' and '.join(one['filtered'])}" if one["filtered"] else "",
        "after moved by {:.2f} px".format(math.hypot(*one["shift_px"])) if one["is_moved"] else "",
        "shift not known" if one["shift_px"] is None else "",
        "" if one["is_seen_by_model"] else "no model sees it",
    ]
    return "; ".join(filter(None, [f"{one['orbit']}: {dates}", *done]))


def _when(scene: dict[str, Any]) -> str:
    return str(scene["time"][:16].replace("T", " "))


def _cloud(scene: dict[str, Any]) -> str:
    """Say how much of a scene is cloud: over the area where that was read, else what it says."""
    if scene["masked_share"] is not None:
        return f"{scene['masked_share']:.1%} of the area is cloud, masked or empty"
    if scene["cloud_cover"] is not None:
        return f"{scene['cloud_cover']:.3g}% cloud over its whole tile (its metadata)"
    return "does not say how much is cloud"


def _why_not(candidate: dict[str, Any]) -> str:
    share = candidate["masked_share"]
    return "not the latest" if share is None else f"{share:.1%} is cloud, masked or empty"


def _mask_cost(cost: Estimate) -> list[str]:
    if not cost.mask_windows:
        return []
    time = duration(cost.seconds_to_mask)
    text = f"about {counted(cost.mask_windows, 'window')}, {time} on "
    return entry(
        "to mask", f"{text}{counted(cost.workers, 'worker')}, beside the network (measured)"
    )


def _masks(masks: list[dict[str, Any]]) -> list[str]:
    """Describe what masks clouds, and what is read for it; scene classes alone need no line."""
    if [mask["name"] for mask in masks] == ["scl"]:
        return []
    told = [
        " ".join(filter(None, (mask["name"], str(mask.get("version", ""))[:12])))
        + f" (reads {', '.join(mask['bands'])})"
        for mask in masks
    ]
    return entry("cloud mask", " and ".join(told) or "none")


def _dates(dates: dict[str, Any]) -> list[str]:
    """Describe the days of each date; where an event stands for them, that they were derived."""
    ranges = [f"{role} {' to '.join(dates[role])}" for role in ("before", "after") if role in dates]
    derived = f" (derived from the event of {dates['event']})" if dates["event"] else ""
    return entry("dates", f"{', '.join(ranges)}{derived}")


def _inference(facts: dict[str, Any]) -> list[str]:
    """Describe how the model is applied, and the source of each setting."""
    views = [facts["tta"], facts["tta_merge"], facts["tta_order"]] if facts["tta"] == "d4" else []
    parts = [
        f"window {facts['window']}",
        f"stride {facts['stride']} (overlap {facts['overlap']:.1%})",
        f"tta {' '.join(views) or 'none'}",
        f"blend {facts['blend']}",
    ]
    if facts["screen"] is not None:
        parts.append(f"screen {facts['screen']:g}")
    who: dict[str, list[str]] = {}
    for name, source in facts["sources"].items():
        if views or name not in {"tta_merge", "tta_order"}:
            who.setdefault(source, []).append(name)
    deciders = "; ".join(f"{source}: {', '.join(names)}" for source, names in who.items())
    return [*entry("inference", ", ".join(parts)), *entry("  decided by", deciders)]


def _cost(cost: Estimate, facts: dict[str, Any]) -> list[str]:
    is_limit = facts["inference"]["screen"] is not None or facts["lists_only_new"]
    most = "at most " if is_limit else ""
    has = "" if cost.memory_per_worker is None else f", which has {size(cost.memory_per_worker)}"
    return [
        f"scenes         {cost.scenes}",
        f"windows        {most}{cost.windows:,}",
        *entry(
            "forward passes",
            f"{most}{cost.forward_passes:,}, {cost.seconds_per_pass * 1000:.2f} ms each on this "
            "machine (measured)",
        ),
        *_of_new_alone(facts),
        *_mask_cost(cost),
        f"to read        {size(cost.bytes_to_read)} of pixels",
        f"peak memory    {size(cost.peak_bytes_per_worker)} per worker{has}",
        *entry(
            "compute",
            f"{most}{duration(cost.seconds)} on {counted(cost.workers, 'worker')} of this "
            "machine's speed; reading comes beside it",
        ),
        *_layers(cost),
    ]


def _of_new_alone(facts: dict[str, Any]) -> list[str]:
    if not facts["lists_only_new"]:
        return []
    return entry(
        "listed",
        "new ones alone: the date before is computed where it can matter to one, which the date "
        "after tells; counted here as if all were",
    )


def _layers(cost: Estimate) -> list[str]:
    if not cost.bytes_to_write:
        return []
    much = f"at most {size(cost.bytes_to_write)}, {duration(cost.seconds_to_write)}"
    return entry("layers", f"{much} on one core, after the list")


def _presets(cost: Estimate) -> list[str]:
    """List what each preset would cost, and what it gives up; `*` is the one that is asked for."""
    rows = [["", "preset", "stride", "overlap", "views", "windows", "passes", "time", "agreement"]]
    rows += [
        [
            "*" if row.is_used else "",
            row.name,
            str(row.stride),
            f"{row.overlap:.0%}" + (" hann" if row.blend == "hann" else ""),
            "8" if row.tta == "d4" else "1",
            f"{row.windows:,}",
            f"{row.forward_passes:,}",
            duration(row.seconds),
            _agreement(row.agreement, is_reference=row.name == "paper"),
        ]
        for row in cost.presets
    ]
    return [
        "presets        for this workflow; * is what it asks for",
        *(f"  {line}" for line in table(rows, left=2)),
        *entry("  agreement", cost.agreement_source),
    ]


def _agreement(scores: tuple[float, ...] | None, *, is_reference: bool) -> str:
    if is_reference:
        return "reference"
    return "not measured" if scores is None else ", ".join(f"{score:.3f}" for score in scores)


NOT_LOOKED_FOR = "what is vanished or persistent was not looked for (change.list)"


def summary_text(summary: Summary, score: ListScore | None) -> str:
    """Describe how a run ended; the last line counts its blocks."""
    lines = []
    if summary.outputs:
        counts = ", ".join(f"{count} {status}" for status, count in summary.statuses.items())
        lines.append(f"landslides     {counts or 'none'}")
        if summary.lists_only_new:
            lines += entry("listed", f"new ones alone: {NOT_LOOKED_FOR}")
        lines += [f"  {name:12s} {path}" for name, path in summary.outputs.items()]
    if summary.reviews.get("reviews"):
        kept, carried = summary.reviews["reviews"], summary.reviews["carried"]
        lines += entry(
            "reviewed",
            f"{carried} of {counted(kept, 'decision')} carried to this list, "
            f"{kept - carried} without an object in it",
        )
    if score is not None:
        hidden = f" ({score.hidden} could not be seen)" if score.hidden else ""
        lines += entry(
            "score",
            f"found {score.found} of {score.known} known landslides{hidden}; "
            f"{score.right} of {score.listed} listed ones are right",
        )
    if "report" in summary.outputs:
        lines.append(f"open next      {summary.outputs['report']} in a browser")
    if summary.outputs:
        ready = [summary.outputs[name] for name in ("qgis", "gpkg") if name in summary.outputs]
        best = [*ready, summary.outputs["geoparquet"]][0]
        lines.append(f"open next      {best} in QGIS")
    for text in summary.warnings:
        lines += entry("warning", text)
    for failure in summary.failures[:5]:
        lines += entry("failed", failure)
    if summary.failures:
        lines.append("               try again: the same command, or with --only-failed")
    left = summary.total - summary.done - summary.skipped - len(summary.failures)
    if left:
        lines += entry("not finished", f"{left} blocks left: the same command computes them")
    if summary.failed_reads:
        lines += entry(
            "unreadable",
            f"{summary.failed_reads:,} pixels: a failed read, or numbers that Sentinel-2 cannot "
            "hold",
        )
    share = summary.observed_share
    dates = "on both dates" if summary.is_two_date else "on its date"
    rest = "" if share > 0.9995 else "; the rest is in unobserved.parquet"
    lines += entry("observed", f"{share:.1%} of the area {dates}{rest}")
    if summary.seen_by_radar:
        lines += entry("radar", f"{summary.seen_by_radar['told']} (radar_cells.parquet)")
    lines.append(
        f"blocks {summary.total}: done {summary.done}, skipped {summary.skipped}, "
        f"failed {len(summary.failures)}" + (f", left {left}" if left else "")
    )
    return "\n".join(lines)


def status_text(facts: dict[str, Any]) -> str:
    """Describe how far a run is."""
    where = f" ({facts['holder']})" if facts["state"] == "running" and facts["holder"] else ""
    lines = [f"{facts['name']}: {facts['state']}{where}"]
    if facts["state"] == "running" and not facts["is_running"]:
        lines = [f"{facts['name']}: stopped (the process is gone; the same command resumes)"]
    lines += [
        f"  {tile:8s} {counts['done']} of {counts['total']} blocks"
        for tile, counts in facts["tiles"].items()
    ]
    if facts["blocks_per_minute"]:
        lines.append(f"  {facts['blocks_per_minute']:.1f} blocks per minute")
    if facts["eta_seconds"]:
        lines.append(f"  about {duration(facts['eta_seconds'])} left")
    if facts["seconds_per_block"]:
        seconds = facts["seconds_per_block"]
        lines.append(
            f"  a block takes {seconds['network']:.1f} s in the network and "
            f"{seconds['writing']:.1f} s to write"
        )
    if facts["busy_share"] is not None:
        lines.append(f"  the network ran {facts['busy_share']:.0%} of the time of its workers")
    lines += _busy_lines(facts["workers"])
    for reason, count in facts["failures"].items():
        lines.append(f"  failed {count} x {reason}")
    lines += [f"  {tile}: {reason}" for tile, reason in facts["not_compared"].items()]
    if facts["seconds"]:
        stages = ", ".join(f"{name} {duration(each)}" for name, each in facts["timings"].items())
        lines.append(f"  took {duration(facts['seconds'])}{stages and f': {stages}'}")
    lines.append(f"blocks {facts['total']}: done {facts['done']}")
    return "\n".join(lines)


MOST_WORKERS = 8
"""More of them are told by the least busy ones."""


def _busy_lines(workers: list[dict[str, Any]]) -> list[str]:
    """Say how busy each worker is, the least busy first."""
    told = sorted((each for each in workers if each["busy"] is not None), key=itemgetter("busy"))
    if len(told) < 2:
        return []
    lines = [
        f"    {each['busy']:4.0%} {each['worker']}, {each['device']}, {each['blocks']} blocks"
        for each in told[:MOST_WORKERS]
    ]
    rest = len(told) - MOST_WORKERS
    return lines + ([f"    and {rest} that are no less busy"] if rest > 0 else [])


def doctor_text(facts: dict[str, Any]) -> str:
    """Describe what this machine and installation can do."""
    processor = facts["processor"]
    has = " ".join(processor["instructions"]) or "no known vector instructions"
    lines = [
        f"processor      {processor['model']}, {counted(processor['cores'], 'core')}, {has}",
        f"memory         {size(facts['memory_bytes'])}",
        *(
            f"GPU            {gpu['name']}, {size(gpu['memory_bytes'])}, "
            f"compute capability {gpu['capability']}"
            for gpu in facts["gpus"]
        ),
    ]
    if not facts["gpus"]:
        lines.append("GPU            none that torch sees")
    quickest = "" if facts["gpus"] else " (a long run takes the quickest runtime)"
    lines.append(f"by default     {facts['default']['runs_as']}{quickest}")
    lines += [
        f"runtime        {name}: {reason or 'works'}" for name, reason in facts["runtimes"].items()
    ]
    lines += [f"{name:14s} {', '.join(facts[name])}" for name in _SOCKETS]
    lines += [
        f"extra          {name}: "
        + ("installed" if is_here else f"not installed; pip install 'lspipe[{name}]'")
        for name, is_here in facts["extras"].items()
    ]
    lines += [f"ignored        {setting}" for setting in facts["ignored"]]
    versions = [[name, version] for name, version in facts["versions"].items()]
    return "\n".join([*lines, "versions", *(f"  {line}" for line in table(versions, left=2))])


_SOCKETS = ("clusters", "catalogs", "loaders", "outputs")


def benchmark_text(rows: list[dict[str, Any]]) -> str:
    """List how long a forward pass takes in each runtime."""
    lines = [["model", "runtime", "on", "window", "ms per pass", "times eager", ""]]
    lines += [
        [
            row["model"],
            row["runtime"],
            f"{row['device']} {row['precision']}" if row["device"] else "",
            str(row["window"]),
            "" if row["ms_per_pass"] is None else f"{row['ms_per_pass']:.2f}",
            "" if row["ratio"] is None else f"{row['ratio']:.2f}",
            row["note"],
        ]
        for row in rows
    ]
    return "\n".join(table(lines, left=3))


def models_text(facts: dict[str, Any]) -> str:
    """List models that come with lspipe, and networks that can be trained."""
    rows = [["network", "paper", "channels", "window", "parameters", "GFLOP"]]
    for row in facts["architectures"]:
        size = [row["needs"], ""]
        if not row["needs"]:
            size = [f"{row['parameters']:,}".replace(",", " "), f"{row['gflop']:.2f}"]
        rows.append(
            [row["name"], row["paper"] or "-", str(row["channels"]), f"{row['window']} px", *size]
        )
    return "\n".join([*facts["models"], "", *table(rows, left=2)])


def sweep_text(facts: dict[str, Any]) -> str:
    """Tell which settings of a sweep were best, and where the best model is."""
    rows = [["setting", "F1, validation"]]
    rows += [[row["setting"], f"{row['f1']:.3f}"] for row in facts["settings"]]
    return "\n".join([*table(rows), "", facts["item"]])


def scores_lines(card: Scorecard | None, problem: str) -> list[str]:
    """Return the measured scores of a model, below its card; or why there are none."""
    from lspipe.cli.cards import scorecard_summary

    texts = [f"not shown: {problem}"] if problem else scorecard_summary(card) if card else ["none"]
    lines = [part for text in texts for part in textwrap.wrap(text, 87)]
    return [f"  {'scores' if number == 0 else '':<11}{line}" for number, line in enumerate(lines)]


def trained_text(trained: Trained, results: Sequence[Transfer]) -> str:
    """Tell what a training gave, and what to do next."""
    from lspipe.cli.cards import scorecard_text
    from lspipe.cli.transfer import tables

    scores = [] if trained.card is None else [scorecard_text(trained.card), ""]
    scores += [tables(results), ""] if results else []
    return "\n".join([*scores, str(trained.item), f"next: lspipe model show {trained.item}"])


def check_text(item: str, problems: list[str], data: list[dict[str, Any]]) -> str:
    """Report whether a model keeps its promises, and how data compare with its training."""
    lines = problems or [f"{item}: sound"]
    compared = "\n\n".join("\n".join(_data_lines(each)) for each in data)
    return "\n".join([*lines, compared] if data else lines)


def _data_lines(data: dict[str, Any]) -> list[str]:
    """Compare data with training, channel by channel; then the mistakes by name."""
    rows = [["channel", "trained on 1 %", "50 %", "99 %", "data 1 %", "50 %", "99 %", "mean"]]
    rows += [
        [
            row["name"],
            *(f"{value:.4g}" for value in (*row["trained"], *row["found"])),
            f"{row['distance']:+.1f} std",
        ]
        for row in data["channels"]
    ]
    return [
        f"{data['folder']}: {data['pixels']:,} px compared with the training data, model units",
        *(f"  {line}" for line in table(rows)),
        *(f"warning: {text}" for text in data["slips"]),
        *([f"note: {data['unseen']}"] if data["unseen"] else []),
        *([] if data["slips"] else ["no known mistake explains a difference"]),
    ]
