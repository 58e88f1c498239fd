"""The record of a run -> the texts of its report: what, when, how sure, what went wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lspipe import models
from lspipe.errors import LspipeError, StoreError
from lspipe.models.ensemble import read_model
from lspipe.outputs.credit import credit
from lspipe.schema.columns import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import geopandas as gpd

    from lspipe.outputs import Run

SIMULATED = "SIMULATED"
"""In the ids of scenes that no satellite took, such as those of the demo."""


ONLY_NEW = (
    "only new landslides are listed: what is vanished or persistent was not looked for "
    "(change.list), and the map before was made only where it can matter to a new one"
)
"""What a reader of such a report must know first."""


def key(run: Run) -> str:
    """Return what a browser keeps the decisions about a run under."""
    prints = run.record.get("fingerprints", {})
    return f"{run.name} {str(prints.get('detection', ''))[:16]}".strip()


def head(run: Run, listed: gpd.GeoDataFrame) -> dict[str, Any]:
    """Return what stands first: totals, what is unfinished, failed or made up."""
    record = run.record
    newest = "new" if run.is_two_date else "detected"
    # What grew is new ground too.
    new = listed[listed["status"].isin([newest, "grown"])]
    share = record.get("observed_share")
    return {
        "name": run.name,
        "dates": _dates(run),
        "newest": newest,
        "new": f"{len(new):,}",
        "new_ha": f"{new['area_m2'].sum() / 10_000:,.1f}",
        "total": f"{len(listed):,}",
        "observed": None if share is None else f"{100 * share:.1f}",
        "observed_on": "on both dates" if run.is_two_date else "",
        "sample": _sampled(run),
        "partial": _partial(run),
        "is_listed": _is_listed(run),
        "simulated": any(SIMULATED in name.upper() for name in _scenes(run)),
        "warnings": _warnings(run),
        "failures": grouped(record.get("failures", [])),
        "credit": credit(run),
        "made": f"lspipe {record.get('versions', {}).get('lspipe', '')}".strip(),
    }


def _sampled(run: Run) -> dict[str, str] | None:
    """Return the share of landslides that a random sample implies, in percent, and how."""
    sample = run.sample if _is_listed(run) else None
    if sample is None:
        return None
    told = (
        f"{sample.drawn:,} of {sample.of:,} drawn by chance (seed {sample.seed}): {sample.true:,} "
        f"true, {sample.false:,} false, {sample.unsure:,} unsure, {sample.left:,} to decide"
    )
    if sample.gone:
        told += f", {sample.gone:,} not in the list any more"
    if sample.precision is None or sample.interval is None:
        return {"told": told, "share": "-", "between": ""}
    low, high = sample.interval
    return {
        "told": f"{told}; {100 * sample.precision:.0f} % are landslides, 95 % interval of the "
        f"whole list {100 * low:.0f} to {100 * high:.0f} % (Wilson)",
        "share": f"{100 * sample.precision:.0f}",
        "between": f"{100 * low:.0f} to {100 * high:.0f}",
    }


def details(run: Run) -> dict[str, Any]:
    """Return what was run: scenes, radiometry, model, settings, timings, gaps."""
    record = run.record
    return {
        "scenes": [row for tile in run.tiles for row in _candidates(tile, record["tiles"][tile])],
        "masks": _disputes(record.get("masks", {})),
        "radiometry": [row for tile in run.tiles for row in _radiometry(record["tiles"][tile])],
        "model": _model(run),
        "settings": yaml.safe_dump(_plain(run.workflow), sort_keys=False, allow_unicode=True),
        "timings": _timings(run),
        "radar": _radar(run),
        "versions": ", ".join(
            f"{name} {value}" for name, value in record.get("versions", {}).items()
        ),
        "gaps": _gaps(run),
    }


def grouped(failures: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the failures of blocks by their message: how many blocks, of which tiles."""
    tiles = defaultdict[str, Counter[str]](Counter)
    for failure in failures:
        tiles[str(failure["error"])][str(failure.get("tile", ""))] += 1
    return [
        {"error": error, "blocks": sum(found.values()), "tiles": ", ".join(sorted(found))}
        for error, found in sorted(tiles.items(), key=lambda pair: -sum(pair[1].values()))
    ]


def _steps(run: Run) -> list[Mapping[str, Any]]:
    return [step for tile in run.record["tiles"].values() for step in tile["steps"]]


def _scenes(run: Run) -> set[str]:
    return {name for step in _steps(run) for some in step["acquisitions"] for name in some}


def _dates(run: Run) -> dict[str, str]:
    """Return the day, or the days, of the scenes of each date."""
    days = defaultdict[str, set[str]](set)
    for step in _steps(run):
        days[step["role"]].add(step["time"][:10])
    return {
        role: min(found) if len(found) == 1 else f"{min(found)} to {max(found)}"
        for role, found in days.items()
    }


def _partial(run: Run) -> str:
    """Return why the report is not the whole story; empty = the run is finished."""
    state = str(run.record.get("state", ""))
    if state == "finished":
        return ""
    blocks = []
    for tile in run.tiles:
        try:
            blocks.append(f"{tile}: {run[tile].attrs['blocks']}")
        except StoreError:
            blocks.append(f"{tile}: none done")
    return f"the run is {state}; blocks: {'; '.join(blocks)}"


def _is_listed(run: Run) -> bool:
    try:
        return run.inventory is not None
    except StoreError:
        return False


def _warnings(run: Run) -> list[str]:
    """Return the warnings, those that differ by their tile only as one."""
    tiles = defaultdict[str, list[str]](list)
    is_halved = run.workflow.get("change", {}).get("list") == "new"
    for text in [*([ONLY_NEW] if is_halved else []), *run.record.get("warnings", [])]:
        tile, colon, rest = str(text).partition(": ")
        is_of_tile = bool(colon) and tile in run.tiles
        tiles[rest if is_of_tile else text].append(tile if is_of_tile else "")
    return [f"{', '.join(filter(None, names))}: {text}".removeprefix(": ")
            for text, names in tiles.items()]  # fmt: skip


def _candidates(tile: str, entry: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for scene in entry.get("candidates", []):
        share = scene.get("masked_share")
        yield {
            "tile": tile,
            "date": scene["role"],
            "time": scene["time"][:16].replace("T", " "),
            "masked": "not measured" if share is None else f"{100 * share:.0f} %",
            "use": "used" if scene["chosen"] else "not used",
            "scenes": ", ".join(scene["items"]),
        }


def _disputes(masks: Mapping[str, Any]) -> str:
    """Return where several masks disagree, per tile and date; empty where one was used."""
    return "; ".join(
        f"{tile} {entry['role']} {entry['time'][:10]}: {100 * entry['disputed']:.1f} %"
        for tile, entries in masks.items()
        for entry in entries
    )


def _radiometry(entry: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Yield the conversion to reflectance, the bands of a scene that share it together."""
    bands = defaultdict[tuple[Any, ...], list[str]](list)
    for one in entry.get("radiometry", []):
        bands[one["item"], one["scale"], one["offset"], one["reason"]].append(one["asset"])
    for (item, scale, offset, reason), names in bands.items():
        yield {
            "scene": item,
            "bands": " ".join(names),
            "formula": f"reflectance = {scale:g} x number {'+' if offset >= 0 else '-'} "
            f"{abs(offset):g}",
            "reason": reason,
        }


def _model(run: Run) -> list[tuple[str, str]]:
    """Return the card of the model; of its item only if it is the one that was run."""
    facts = run.record.get("model", {})
    rows = [
        ("model", run.model_title if facts else ""),
        ("computed with", str(facts.get("runs_as", ""))),
        ("sha256", str(facts.get("sha256", ""))),
    ]
    try:
        named = run.workflow["model"]
        names = named.get("items") or [named["item"]]
        item = read_model(names, Path(run.record["folder"]))
    except (LspipeError, KeyError):
        return rows
    threshold = run.workflow.get("change", {}).get("threshold")
    if models.digest(item) == facts.get("sha256"):
        rows[1:1] = [
            ("what it is", item.description),
            ("not for", item.not_for),
            ("channels", " ".join(item.bands)),
            (
                "landslide",
                f"probability above {item.threshold if threshold is None else threshold:g}",
            ),
        ]
    return rows


def _timings(run: Run) -> list[tuple[str, str]]:
    record = run.record
    rows = []
    if record.get("seconds"):
        rows.append(("time", _duration(record["seconds"])))
    if record.get("timings"):
        stages = [f"{name} {_duration(each)}" for name, each in record["timings"].items()]
        rows.append(("of which", ", ".join(stages)))
    windows = record.get("windows")
    if windows:
        rows.append(("windows", f"{windows['run']} of {windows['needed']} through the network"))
    counts = record.get("counts")
    if counts:
        rows.append(
            ("blocks", f"{counts['done'] + counts['skipped']} of {counts['total']} done, "
             f"{counts['failed']} failed")
        )  # fmt: skip
    if record.get("failed_reads"):
        rows.append(("failed reads", f"{record['failed_reads']} pixels"))
    return rows


def _radar(run: Run) -> list[tuple[str, str]]:
    """Return what radar saw where optics was blind, and how much brighter each tile became."""
    seen = run.record.get("seen_by_radar")
    if not seen:
        return []
    medians = "; ".join(
        f"{tile} {', '.join(f'{value:+z.1f} dB {orbit}ending' for orbit, value in found.items())}"
        for tile, found in seen["median_db"].items()
        if found
    )
    rows = [("radar", seen["told"])]
    return [*rows, ("median change of backscatter", medians)] if medians else rows


def _duration(seconds: float) -> str:
    """Return a duration in words.

    >>> _duration(58.4), _duration(4000)
    ('58 s', '1 h 6 min')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _gaps(run: Run) -> list[dict[str, Any]]:
    """Return the area that was not observed, by date and reason, largest first."""
    try:
        table = run.unobserved
    except StoreError:
        return []
    areas = table.groupby(["date", "reason"])["area_m2"].sum().sort_values(ascending=False)
    most = float(areas.max()) if len(areas) else 1.0
    return [
        {
            "date": date,
            "reason": reason,
            "meaning": REASONS.get(reason, ""),
            "ha": f"{area / 10_000:,.1f}",
            "width": round(100 * area / most, 1),
        }
        for (date, reason), area in areas.items()
    ]


def _plain(value: Any) -> Any:
    """Return a value as YAML has it: tuples become lists, and mappings plain ones."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
