"""What does it take to read a tile, block by block?

    python benchmarks/reading.py                 four blocks of 3660 px; about a minute
    python benchmarks/reading.py --edge 10980    a whole tile, nine blocks; about two minutes
    python benchmarks/reading.py --block 1220
    python benchmarks/reading.py --delay 80      from a server that answers each request 80 ms late
    python benchmarks/reading.py --edge 10980 --dates 2 --terrain elevation slope
                                                 two dates, with channels of a DEM of 1 second
    python benchmarks/reading.py --jp2           unpack one band, as deflate COG and as JPEG 2000
    python benchmarks/reading.py --quick         seconds, and no meaning

A quarter of a Sentinel-2 tile and a bit (7320 x 7320 px), ten bands and scene classes at their own
10 and 20 m, as deflate COGs of noise on hills, which compress to 0.7 of their size. Two workers
read the blocks of one date as a run does, each with the halo of a window of 224 px and the rim of
its mask; what is read is thrown away. Printed are processor time of the workers, that of client and
scheduler, tasks of dask per block, and bytes that workers sent each other over those of the pixels.

Result, 2026-11-29, two cores of an Intel Xeon that five others used too (load 4 to 14), so only
processor time counts. Expected of reading halos again, instead of exchanging them: a sixth more
time at 3660 px, twice as much at 1220 px, as so many more pixels are read. Found, seconds of
workers, and of client and scheduler:

    block                       3660 px                       1220 px
    halos exchanged, GDAL warp  32.6 + 0.9, 27.5 tasks        38.3 + 2.3, 36.4 tasks
    halos read again, GDAL warp 33.0 + 0.7                    50.4 + 1.2
    exchanged, 20 m raised here 24.1 + 1.6, sent 1.5 to 2.0   24.6 + 3.4, sent 1.3 to 1.8
    read again, raised here     23.9 + 1.7, 2 tasks, sent 0   28.4 + 2.3, 2 tasks, sent 0

From a server whose answers come 80 ms late, 3660 px: 339 requests and 620 MB if exchanged, 347 and
635 MB if read again, as files are read by whole internal tiles of 1024 px; 66 and 70 s, then 95 and
121 s on a machine that others kept ever busier.

JPEG 2000, 2026-11-30, two cores of an AMD EPYC that others used too. Expected twenty times a
deflate COG. Found, one band of a tile of 10980 px at 10 m: 15.2 s of processor time in JPEG 2000,
1.05 s in the COG (0.8 to 1.3 in three tries). Six bands of 20 m have a quarter of the pixels each:
ten bands are 84 and 6 s.

2026-11-30, two cores of an AMD EPYC with nearly all of the machine, two runs, 3660 px: 15.6 and
16.7 s of workers, 8.2 and 8.8 s in all, 3 tasks a block, nothing sent. That is 35 to 38 s for a
whole tile of nine blocks; target 20 s, to unpack its files is 6 s of it. Then: what is made of a
band is made strip by strip, as its numbers are in the cache of the processor; and at the edges of a
file, where eight of nine blocks lie, 20 m are raised as quickly as inside. Expected 1.5 s instead
of 2.35 s for one block of many, alone; found 1.22 s. Four blocks 10.5 s. A whole tile
(--edge 10980), read and not extrapolated: 18.7 s of workers with their start, 10.3 s in all; five
more runs 18.1 to 21.0 s. Pixels are the same, bit by bit.

Then, later on that day: a third of that time was the system's, which gave memory for a second array
of all bands, and for copies of layers. Numbers become reflectance where they lie, by an addition
instead of a table where a strip has no gap, and layers are made strip by strip. Expected 12 to 14 s
for the tile instead of 19. Found 14.3 and 16.5 s, two dates 27.6 to 34.1 s in six runs (a disk was
slow in the later ones); one process alone 12 to 14 s instead of 18.7. A block peaks at 0.41 GB
instead of 0.66 (terrain.py). The same bits.

The first two lines were measured while the machine was quieter. A block of 3660 px alone, with
nothing else running on it, took 8 s before and 2.6 s now. So one way is enough: halos are read
again. Blocks of 1220 px are taken only where an area is small.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import rasterio
import torch
import yaml
from affine import Affine
from distributed import SchedulerPlugin
from harness import describe, machine, write_result
from io_overlap import EPSG, LEFT, TILE, TOP, not_written, only_read, served, timed_places

import lspipe
import lspipe.models
from lspipe import clusters
from lspipe.clusters import ClusterSpec, ExecutionSpec
from lspipe.models.pack import pack
from lspipe.runs import worker
from lspipe.runs.prepare import Prepared
from lspipe.runs.steps import tasks_of
from lspipe.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributed import Client, Scheduler

    from lspipe.runs.plan import Plan

BANDS = {
    "B02": ("blue", 10), "B03": ("green", 10), "B04": ("red", 10), "B08": ("nir", 10),
    "B05": ("rededge1", 20), "B06": ("rededge2", 20), "B07": ("rededge3", 20),
    "B8A": ("nir08", 20), "B11": ("swir16", 20), "B12": ("swir22", 20),
}  # fmt: skip
"""Bands of the model, names of their assets, and pixel sizes in metres."""

DAY, BEFORE = "2018-01-15", "2017-01-15"


@dataclass(frozen=True)
class Case:
    """How much there is to read."""

    edge: int = 7320
    """Of the tile, pixels."""
    block: int = 3660
    window: int = 224
    internal: int = 1024
    """Edge of a tile inside the files, pixels."""


QUICK = Case(edge=480, block=240, window=64, internal=128)


class _Counted(SchedulerPlugin):  # type: ignore[misc]
    """Counts tasks as they end."""

    name = "lspipe-benchmark-counted"

    def __init__(self) -> None:
        self.tasks = 0

    def transition(self, _key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
        self.tasks += (start, finish) == ("processing", "memory")


def write_files(folder: Path, case: Case) -> None:
    """Write one file for each band, and one of scene classes."""
    generator = np.random.default_rng(0)
    for name, metres in {**{band: m for band, (_, m) in BANDS.items()}, "SCL": 20}.items():
        edge = case.edge * 10 // metres
        hills = np.add.outer(*(np.sin(np.arange(edge) / length) for length in (97, 61)))
        numbers = 1500 + 500 * hills + generator.normal(0, 60, hills.shape)
        values = np.where(hills > 1.9, 9, 4) if name == "SCL" else numbers
        with rasterio.open(
            folder / f"{name}.tif",
            "w",
            driver="COG",
            height=edge,
            width=edge,
            count=1,
            dtype="uint8" if name == "SCL" else "uint16",
            crs=f"EPSG:{EPSG}",
            transform=Affine(metres, 0, LEFT, 0, -metres, TOP),
            nodata=0,
            blocksize=case.internal,
            compress="deflate",
            predictor=2,
            overviews="none",
        ) as file:
            file.write(values.astype(file.dtypes[0]), 1)


def unpacked(folder: Path, edge: int = 4096) -> dict[str, float]:
    """Return the processor time of reading a band of a tile of 10980 px, in seconds by format."""
    hills = np.add.outer(*(np.sin(np.arange(edge) / length) for length in (97, 61)))
    noise = np.random.default_rng(0).normal(0, 60, hills.shape)
    numbers = (1500 + 500 * hills + noise).astype(np.uint16)
    # JPEG 2000 as ESA writes it: without loss, in parts of 1024 px.
    formats: dict[str, dict[str, Any]] = {
        "cog": {
            "driver": "COG", "compress": "deflate", "predictor": 2, "blocksize": 1024,
            "overviews": "none",
        },
        "jp2": {
            "driver": "JP2OpenJPEG", "reversible": "yes", "quality": "100", "nbits": 15,
            "blockxsize": 1024, "blockysize": 1024,
        },
    }  # fmt: skip
    shape = {"height": edge, "width": edge, "count": 1, "dtype": "uint16"}
    place = {"crs": f"EPSG:{EPSG}", "transform": Affine(10, 0, LEFT, 0, -10, TOP)}
    found = {}
    for name, how in formats.items():
        path = folder / f"band.{name}"
        with rasterio.open(path, "w", **shape, **place, **how) as file:
            file.write(numbers, 1)
        seconds = []
        for _ in range(3):
            began = time.process_time()
            with rasterio.open(path, sharing=False) as file:
                read = file.read(1)
            seconds.append(time.process_time() - began)
            np.testing.assert_array_equal(read, numbers)
        found[name] = round(min(seconds) * (10980 / edge) ** 2, 2)
        found[f"{name}_bits_per_pixel"] = round(path.stat().st_size * 8 / edge**2, 1)
    return found


def write_heights(path: Path) -> None:
    """Write a DEM of 1 second below the tile, as Copernicus stores one."""
    west, north, second = -73.0, -43.0, 1 / 3600
    rows, columns = np.ogrid[:7200, :7200]
    heights = 1000 + 300 * np.sin(columns / 18) + 300 * np.cos(rows / 24)
    heights += np.random.default_rng(1).normal(0, 1, heights.shape)
    with rasterio.open(
        path, "w", driver="COG", height=7200, width=7200, count=1, dtype="float32", crs=4326,
        transform=Affine(second, 0, west, 0, -second, north), compress="deflate", predictor=3,
        blocksize=1024, overviews="NONE",
    ) as file:  # fmt: skip
        file.write(heights.astype(np.float32), 1)


def planned(
    folder: Path,
    case: Case,
    address: str,
    days: Sequence[str] = (DAY,),
    composite: str = "latest",
    *,
    terrain: Sequence[str] = (),
    before: str | None = None,
) -> Plan:
    """Plan a run of acquisitions that all have the files below an address.

    Args:
        folder: for its files.
        case: how much there is to read.
        address: of the files of the bands.
        days: of the acquisitions.
        composite: of them.
        terrain: channels of a DEM, which is written here.
        before: day of a date before, read from the same files; None = there is none.
    """
    (folder / "items").mkdir()
    for day in (*days, *((before,) if before else ())):
        _write_item(folder, case, address, day)
    arguments = {"filters": 2}
    channels = (*BANDS, *terrain)
    network = lspipe.models.build("ghorb-resunet", len(channels), **arguments)
    fields = {
        "id": "network", "architecture": "ghorb-resunet", "arguments": arguments,
        "bands": channels, "window": case.window, "description": "random weights",
        "not_for": "anything",
    }  # fmt: skip
    pack(network, folder / "models", item_fields=fields)
    workflow = {
        "name": "reading",
        "aoi": {"tiles": [TILE]},
        "dates": {
            **({"before": {"start": before, "end": before}} if before else {}),
            "after": {"start": days[0], "end": days[-1]},
        },
        "search": {"catalog": "items", "collection": "simulated"},
        "cube": {"composite": composite, "mask": {"scl": ["cloud_high"], "dilate_px": 3}},
        "model": {"item": "models/network.json"},
        "inference": {"window": case.window, "stride": case.window // 2, "tta": "none"},
        "execution": {"block": case.block, "retries": 0},
        "output": {"path": "run", "write": ["geoparquet"]},
    }
    if terrain:
        write_heights(folder / "dem.tif")
        workflow["terrain"] = {"dem": "dem.tif"}
    (folder / "workflow.yaml").write_text(yaml.safe_dump(workflow))
    return lspipe.plan(Workflow.from_file(folder / "workflow.yaml"))


def _write_item(folder: Path, case: Case, address: str, day: str) -> None:
    ring = [[-72.6, -44.6], [-71.0, -44.6], [-71.0, -43.2], [-72.6, -43.2], [-72.6, -44.6]]
    assets = {key: f"{address}/{band}.tif" for band, (key, _) in BANDS.items()}
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": f"S2A_{TILE}_{day.replace('-', '')}_0_L2A",
        "collection": "simulated",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [-72.6, -44.6, -71.0, -43.2],
        "properties": {
            "datetime": f"{day}T14:37:51Z",
            "platform": "sentinel-2a",
            "proj:epsg": EPSG,
            "proj:shape": [case.edge] * 2,
            "proj:transform": [10, 0, LEFT, 0, -10, TOP],
            "grid:code": f"MGRS-{TILE}",
            "s2:processing_baseline": "02.06",
        },
        "links": [],
        "assets": {
            key: {"href": href} for key, href in {**assets, "scl": f"{address}/SCL.tif"}.items()
        },
    }
    (folder / "items" / f"{day}.json").write_text(json.dumps(item))


def measured(client: Client, plan: Plan, case: Case, folder: Path) -> dict[str, float]:
    """Read all blocks, and say what it took."""
    counted = _Counted()
    client.register_plugin(counted)
    (tile,) = plan.tiles
    prepared = Prepared(folder / "run", plan, previous=None, frozen=None, done={})
    todo = {(tile.tile.name, step): list(tile.blocks) for step in range(len(tile.steps))}
    tasks, sent, own = client.run_on_scheduler(_tasks), _sent(client), time.process_time()
    with patch.multiple(worker, infer=only_read, write=not_written):
        timing, _ = timed_places(client, plan, prepared.run, list(tasks_of(prepared, todo)))
    count = len(tile.blocks) * len(tile.steps)
    pixels = case.edge**2 * (2 * len(BANDS) + 2) * len(tile.steps)
    return {
        "blocks": count,
        "workers": round(timing.cpu, 2),
        "client_and_scheduler": round(time.process_time() - own, 2),
        "wall": round(timing.wall, 2),
        "tasks_per_block": round((client.run_on_scheduler(_tasks) - tasks) / count, 1),
        "sent_over_pixels": round((_sent(client) - sent) / pixels, 2),
    }


def _tasks(dask_scheduler: Scheduler) -> int:
    found: _Counted = dask_scheduler.plugins[_Counted.name]
    return found.tasks


def _sent(client: Client) -> int:
    return sum(client.run(_received).values())


def _received(dask_worker: Any) -> int:
    return sum(entry["total"] for entry in dask_worker.transfer_incoming_log)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--edge", type=int, help="edge of the tile, pixels")
    parser.add_argument("--block", type=int, help="edge of a block, pixels")
    parser.add_argument("--delay", type=float, help="milliseconds that each request is late")
    parser.add_argument("--terrain", nargs="*", default=[], help="channels of a DEM")
    parser.add_argument("--dates", type=int, choices=[1, 2], default=1, help="dates of the tile")
    parser.add_argument("--jp2", action="store_true", help="unpack one band in two formats")
    asked = parser.parse_args()
    if asked.jp2:
        with tempfile.TemporaryDirectory(prefix="lspipe-reading-") as name:
            print(f"{describe(machine())}\none band of a tile: {unpacked(Path(name))}")
        return
    case = QUICK if asked.quick else Case()
    sizes = {"edge": asked.edge, "block": asked.block}
    case = replace(case, **{name: size for name, size in sizes.items() if size})
    torch.manual_seed(0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lspipe-reading-")))
        archive = folder / "archive"
        archive.mkdir()
        write_files(archive, case)
        address = str(archive)
        if asked.delay is not None:
            address = f"{stack.enter_context(served(archive))}/{asked.delay}/once"
        spec, execution = ClusterSpec(kind="local", workers=2), ExecutionSpec(retries=0)
        client = stack.enter_context(clusters.start(spec, execution))
        before = BEFORE if asked.dates == 2 else None
        plan = planned(folder, case, address, terrain=asked.terrain, before=before)
        found = measured(client, plan, case, folder)
    print(describe(machine()))
    print(f"blocks of {case.block} px: {found}")
    # A smoke run leaves no result behind.
    if not asked.quick:
        facts = {
            "block_px": case.block, "edge_px": case.edge, "delay_ms": asked.delay or 0,
            "terrain": asked.terrain, "dates": asked.dates,
        }  # fmt: skip
        print(f"result in {write_result('reading', {**facts, **found})}")


if __name__ == "__main__":
    main()
