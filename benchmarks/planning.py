"""Planning: what do a plan, its resuming and its status cost, from ten tiles to a thousand?

An archive of whole Sentinel-2 tiles (10980 px) with a scene on each of two dates is made of items
alone: no pixel is there, and none is read (`cube.composite: latest`, a header that cannot be opened
decides nothing). The area covers each tile in part, so that every tile needs its mask.

Measured, each in a process of its own, from after the imports to the end, with the peak of its
resident memory (imports included):

    plan      `lspipe plan` of an empty directory: search, choice, blocks, estimate, run.json
    layout    the stores of the run laid out: all metadata, and no pixel
    resume    the same as plan, of the run with half of its blocks done
    status    `lspipe status` of that, the whole command with its start
    nothing   `lspipe run` where all is done

Target: 1000 tiles below 60 s and 1 GB; status below 2 s; cost per tile constant.

    python benchmarks/planning.py           # 10, 100 and 1000 tiles
    python benchmarks/planning.py --quick   # 10 tiles
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely

sys.path.insert(0, str(Path(__file__).parent))

from harness import describe, machine, write_result

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNTS = (10, 100, 1000)

BANDS = {
    "B01": ("coastal", 60), "B02": ("blue", 10), "B03": ("green", 10), "B04": ("red", 10),
    "B05": ("rededge1", 20), "B06": ("rededge2", 20), "B07": ("rededge3", 20), "B08": ("nir", 10),
    "B8A": ("nir08", 20), "B09": ("nir09", 60), "B11": ("swir16", 20), "B12": ("swir22", 20),
    "SCL": ("scl", 20),
}  # fmt: skip
"""Asset of each band as Earth Search names it, and its pixels, metres."""

DAYS = {"before": "2017-01-15", "after": "2018-01-20"}

RADIUS = 0.4
"""Of the part of a tile that is in the area, degrees: it touches all blocks and fills none."""

CORNERS = 30
"""Corners of a quarter of its outline."""


# --- the archive --------------------------------------------------------------------------------


def names() -> Iterator[str]:
    """Yield tiles of the middle of UTM zones at 32 to 48 degrees north: those that exist."""
    from lspipe.search.grids import grid_square

    bands = {"S": (36, 44), "T": (44, 53), "R": (27, 35)}
    for zone in range(10, 30):
        for band, (south, north) in bands.items():
            for column in "ABCDEFGHJKLMNPQRSTUVWXYZ":
                for row in "ABCDEFGHJKLMNPQRSTUV":
                    try:
                        east, corner = grid_square(f"{zone}{band}{column}{row}")
                    except ValueError:
                        continue
                    is_in_band = south * 100_000 <= corner < north * 100_000
                    if 300_000 <= east <= 600_000 and is_in_band:
                        yield f"{zone}{band}{column}{row}"


def item(tile: str, day: str) -> tuple[dict[str, Any], shapely.Geometry]:
    """Return a STAC item without pixels, and its ground."""
    from lspipe.search.areas import footprint
    from lspipe.search.grids import tile_grid

    grid = tile_grid(tile)
    # Four corners, as archives write them.
    ground = shapely.convex_hull(footprint(grid)).simplify(0.05)
    name = f"S2A_{tile}_{day.replace('-', '')}_0_L2A"
    left, top = grid.transform.c, grid.transform.f
    assets = {
        key: {
            "href": f"./pixels/{tile[:2]}/{tile[2]}/{tile[3:]}/{day}/{name}/{band}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "title": f"{key} ({band}) - {size}m",
            "roles": ["data", "reflectance"],
            "eo:bands": [{"name": band, "common_name": key, "description": f"{key} ({band})"}],
            "gsd": size,
            "proj:shape": [109800 // size, 109800 // size],
            "proj:transform": [size, 0, left, 0, -size, top],
            "raster:bands": [
                {
                    "nodata": 0,
                    "data_type": "uint16",
                    "bits_per_sample": 15,
                    "spatial_resolution": size,
                    "scale": 0.0001,
                    "offset": 0,
                }
            ],
            "file:checksum": "1220" + "0123456789abcdef" * 4,
        }
        for band, (key, size) in BANDS.items()
    }
    content = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": shapely.geometry.mapping(ground),
        "bbox": list(ground.bounds),
        "properties": {
            "datetime": f"{day}T14:37:51Z",
            "created": f"{day}T20:00:00Z",
            "platform": "sentinel-2a",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "grid:code": f"MGRS-{tile}",
            "proj:epsg": grid.crs.epsg,
            "eo:cloud_cover": 3.2,
            "sat:relative_orbit": 53,
            "s2:processing_baseline": "02.04",
            "earthsearch:boa_offset_applied": False,
            "s2:datatake_id": f"GS2A_{day.replace('-', '')}T143751_000000_N02.04",
            "s2:product_type": "S2MSI2A",
            "view:sun_azimuth": 62.1,
            "view:sun_elevation": 51.3,
            **{f"s2:{name}_percentage": 1.25 for name in ("water", "vegetation", "snow_ice")},
        },
        "assets": assets,
        "links": [{"rel": "self", "href": f"https://example.org/items/{name}"}],
    }
    return content, ground


def write_archive(folder: Path, count: int) -> None:
    """Write the items, the area and the workflow."""
    parts = []
    with (folder / "items.ndjson").open("w", encoding="utf-8") as file:
        for tile in islice(names(), count):
            for day in DAYS.values():
                content, ground = item(tile, day)
                file.write(json.dumps(content) + "\n")
            parts.append(ground.centroid.buffer(RADIUS, quad_segs=CORNERS))
    area = {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(part)}
            for part in parts
        ],
    }
    (folder / "area.geojson").write_text(json.dumps(area), encoding="utf-8")
    workflow = {
        "name": "planning",
        "aoi": {"file": "area.geojson"},
        "dates": {
            "before": {"start": "2017-01-01", "end": "2017-03-31"},
            "after": {"start": "2018-01-01", "end": "2018-03-31"},
        },
        "search": {"catalog": "items.ndjson", "collection": "sentinel-2-l2a"},
        "cube": {"composite": "latest"},
        "model": {"item": "shipped:bare-ground"},
        "output": {"path": "run", "write": ["geoparquet"]},
        "cluster": {"kind": "local", "workers": 2},
        "execution": {"block": 3660},
    }
    # JSON is YAML.
    (folder / "workflow.yaml").write_text(json.dumps(workflow), encoding="utf-8")


# --- the run directory --------------------------------------------------------------------------


def compute(folder: Path, share: float) -> None:
    """Lay out the store of a plan, and mark a share of its blocks as done, without pixels."""
    from lspipe.runs import store
    from lspipe.runs.prepare import prepare
    from lspipe.workflow import Workflow

    prepared = prepare(Workflow.from_file(folder / "workflow.yaml"), folder / "run")
    plan = prepared.plan
    grids = [tile.grid for tile in plan.tiles]
    store.create(prepared.run, grids, fingerprint=plan.detection_fingerprint)
    some = plan.tiles[: round(len(plan.tiles) * share)]
    for tile in some:
        store.mark_done(prepared.run, tile.tile.name, [block.index for block in tile.blocks])
    with (prepared.run / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"time": "2018-02-01T00:00:00.000+00:00", "event": "start"}) + "\n")
        for tile in some:
            for step in range(len(tile.steps)):
                for block in tile.blocks:
                    file.write(json.dumps(_event(tile.tile.name, step, block.index)) + "\n")


def _event(tile: str, step: int, index: tuple[int, int]) -> dict[str, Any]:
    counted = {"pixels": 250_000, "outside": [0.01] * 4, "sums": [1.0e5] * 4, "squares": [1e5] * 4}
    return {
        "time": "2018-02-01T00:01:00.000+00:00", "event": "block", "tile": tile, "step": step,
        "index": list(index), "windows": 26_000, "windows_run": 26_000, "network": 61.5,
        "writing": 2.1, "inputs": None, "more": counted,
    }  # fmt: skip


def finish(folder: Path) -> None:
    """Write what a run that ended has beside its store."""
    path = folder / "run" / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    total = sum(tile["blocks"] * len(tile["steps"]) for tile in content["tiles"].values())
    outputs = {"geoparquet": "inventory.parquet", "unobserved": "unobserved.parquet"}
    for name in outputs.values():
        (folder / "run" / name).touch()
    content |= {
        "state": "finished",
        "outputs": outputs,
        "counts": {"total": total, "done": total, "skipped": 0, "failed": 0, "objects": {}},
        "observed_share": 1.0,
        "failed_reads": 0,
    }
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


# --- measured -----------------------------------------------------------------------------------


def plan(folder: Path) -> dict[str, Any]:
    """Plan, as the command does; a second time the directory decides."""
    import lspipe

    said: list[Any] = []
    made = lspipe.plan(folder / "workflow.yaml", report=said.append)
    return {
        "tiles": len(made.tiles),
        "blocks": sum(len(tile.blocks) * len(tile.steps) for tile in made.tiles),
        "windows": said[-1].estimate.windows,
        "fingerprint": made.detection_fingerprint[:12],
    }


def layout(folder: Path) -> dict[str, Any]:
    """Lay the stores out; `create_seconds` are without the plan, which is made again for it."""
    import lspipe
    from lspipe.runs import store

    made = lspipe.plan(folder / "workflow.yaml")
    began, cpu = time.perf_counter(), time.process_time()
    grids = [tile.grid for tile in made.tiles]
    store.create(folder / "run", grids, fingerprint=made.detection_fingerprint)
    return {
        "create_seconds": round(time.perf_counter() - began, 2),
        "create_cpu_seconds": round(time.process_time() - cpu, 2),
    }


def nothing(folder: Path) -> dict[str, Any]:
    """Run where all is done."""
    import lspipe

    return {"state": lspipe.run(folder / "workflow.yaml").state}


def measured(name: str, folder: Path) -> dict[str, Any]:
    """Measure one of the above in this process."""
    import lspipe.runs.pipeline  # noqa: F401  its start is not what is measured

    began, cpu = time.perf_counter(), time.process_time()
    answer = {"plan": plan, "layout": layout, "resume": plan, "nothing": nothing}[name](folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_gb": round(peak / 1e9, 2),
        **answer,
    }


def status(folder: Path) -> dict[str, Any]:
    """Measure the command `lspipe status`, with its start."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "lspipe.cli", "status", str(folder / "run")],
        check=True,
        capture_output=True,
    )
    took = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(took.ru_utime + took.ru_stime, 2),
    }


def part(*arguments: Any) -> str:
    """Run a part of this benchmark in a process of its own; return what it prints."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(count: int, folder: Path) -> dict[str, Any]:
    """Measure all of a run of so many tiles."""
    write_archive(folder, count)
    found: dict[str, Any] = {"tiles": count}

    def one(name: str) -> None:
        found[name] = json.loads(part("--one", name, folder))
        print(f"{count} tiles, {name}: {found[name]}", flush=True)

    one("plan")
    one("layout")
    part("--compute", folder, 0.5)
    one("resume")
    one("status")
    part("--compute", folder, 1)
    finish(folder)
    one("nothing")
    if found["plan"]["fingerprint"] != found["resume"]["fingerprint"]:
        raise SystemExit("resuming made another plan")
    return found


def main() -> None:
    """Measure each number of tiles, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tiles", type=int, nargs="+", help="instead of 10, 100 and 1000")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--compute", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, folder = options.one[0], Path(options.one[1])
        print(json.dumps(status(folder) if name == "status" else measured(name, folder)))
        return
    if options.compute:
        compute(Path(options.compute[0]), float(options.compute[1]))
        return
    counts = options.tiles or (COUNTS[:1] if options.quick else COUNTS)
    print(describe(machine()))
    found = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(count, Path(folder)))
    if not options.quick and not options.tiles:
        write_result("planning", {"runs": found})


if __name__ == "__main__":
    main()
