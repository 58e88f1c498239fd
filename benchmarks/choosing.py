"""Choosing scenes: how long does `composite: best` read before a run, several tiles at once?

Whole tiles with four candidates each, whose scene classes (5490 x 5490, 20 m, deflate) a server of
this machine sends 80 ms late. `lspipe.plan` of an empty directory, with one tile at a time, as it
was until 2026-11, and with as many as now; in turns.

    python benchmarks/choosing.py           # 8 tiles, two rounds: about two minutes
    python benchmarks/choosing.py --quick   # 2 tiles

Result, 2026-11-29, two cores of an Intel Xeon that others used: 7.55 s a tile one at a time, 4.16 s
four at a time (median of two rounds), with 2.3 and 2.6 s of processor time. The plans are the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import rasterio
import shapely

sys.path.insert(0, str(Path(__file__).parent))

from harness import describe, machine, write_result
from io_overlap import served
from planning import item, names

import lspipe
from lspipe.runs import plan
from lspipe.search.grids import tile_grid

DAYS = ("2018-01-05", "2018-01-10", "2018-01-15", "2018-01-20")
DELAY_MS = 80
EDGE = 5490


def write_classes(path: Path, tile: str) -> None:
    """Write scene classes with clouds of all sizes, as one band of a COG."""
    grid = tile_grid(tile)
    rng = np.random.default_rng(sum(map(ord, tile)))
    coarse = rng.random((61, 61)) < 0.2
    pixels = np.where(np.kron(coarse, np.ones((90, 90), bool)), 9, 4).astype(np.uint8)
    with rasterio.open(
        path, "w", driver="COG", width=EDGE, height=EDGE, count=1, dtype="uint8", nodata=0,
        crs=grid.crs.to_wkt(), compress="deflate", blocksize=512,
        transform=rasterio.Affine(20, 0, grid.transform.c, 0, -20, grid.transform.f),
    ) as file:  # fmt: skip
        file.write(pixels, 1)


def write_archive(folder: Path, tiles: list[str], address: str) -> None:
    """Write items that name the files of a server, and the workflow."""
    features = []
    for tile in tiles:
        for day in DAYS:
            content, _ = item(tile, day)
            for key, asset in content["assets"].items():
                name = f"{tile}-SCL.tif" if key == "scl" else "absent.tif"
                asset["href"] = f"{address}/{DELAY_MS}/{day}/{name}"
            features.append(content)
    lines = "".join(json.dumps(each) + "\n" for each in features)
    (folder / "items.ndjson").write_text(lines, encoding="utf-8")
    ground = shapely.union_all([shapely.geometry.shape(each["geometry"]) for each in features])
    west, south, east, north = ground.bounds
    workflow = {
        "name": "choosing",
        "aoi": {"bbox": [west, south, east, north]},
        "dates": {"after": {"start": "2018-01-01", "end": "2018-03-31"}},
        "search": {"catalog": "items.ndjson", "collection": "sentinel-2-l2a"},
        "model": {"item": "shipped:bare-ground"},
        "execution": {"block": 3660},
    }
    (folder / "workflow.yaml").write_text(json.dumps(workflow), encoding="utf-8")


def timed(folder: Path, at_once: int) -> dict[str, Any]:
    """Plan with so many tiles at once."""
    with tempfile.TemporaryDirectory() as run, patch.object(plan, "TILES_AT_ONCE", at_once):
        began, cpu = time.perf_counter(), time.process_time()
        made = lspipe.plan(folder / "workflow.yaml", output=run)
        return {
            "wall": round(time.perf_counter() - began, 2),
            "cpu": round(time.process_time() - cpu, 2),
            "fingerprint": made.detection_fingerprint,
        }


def main() -> None:
    """Plan in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    is_quick = parser.parse_args().quick
    tiles = list(islice(names(), 2 if is_quick else 8))
    ways = (1, plan.TILES_AT_ONCE)
    found: dict[int, list[dict[str, Any]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for tile in tiles:
            write_classes(folder / f"{tile}-SCL.tif", tile)
        with served(folder) as address:
            write_archive(folder, tiles, address)
            for number in range(1 if is_quick else 2):
                for way in ways[:: -1 if number % 2 else 1]:
                    found[way].append(timed(folder, way))
                    print(f"  round {number + 1}, {way} at once: {found[way][-1]}", flush=True)
    if len({one["fingerprint"] for some in found.values() for one in some}) > 1:
        raise SystemExit("the plans differ")
    print(describe(machine()))
    for way, some in found.items():
        walls, cpus = ([one[key] for one in some] for key in ("wall", "cpu"))
        print(
            f"{way} at once: {statistics.median(walls) / len(tiles):.2f} s a tile, "
            f"{statistics.median(cpus) / len(tiles):.2f} s of processor"
        )
    if not is_quick:
        write_result("choosing", {"tiles": len(tiles), "ways": found})


if __name__ == "__main__":
    main()
