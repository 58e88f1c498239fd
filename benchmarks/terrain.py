"""What does the terrain of a tile add to reading ten bands of it, and how much ground is gentle?

Part one reads a simulated scene of ten bands (four of 10 m, six of 20 m; deflate) as a task of a
run does, and the channels of terrain from six 1-degree files as Copernicus has them, in turn, on
one thread. In one block, as a run reads a whole tile, and in four, as it reads small areas. Then it
takes the resident memory of a block.

Measured on 2026-11-30, 3660 x 3660 px, one core of an AMD EPYC with nearly all of the machine,
three runs, processor time:

    in one block    ten bands 1.48 to 1.59 s; slope 0.22 and 0.23 s, 14.5 to 15.8 %; elevation and
                    slope 0.23 to 0.28 s, 15.4 to 18.3 %; slope and total curvature 0.31 to 0.34 s,
                    19 to 23 %
    in four         ten bands 1.52 to 1.63 s; 0.30 s, 18 to 20 %; 0.33 s, 21 and 22 %; 0.40 s, 25
                    and 26 %

Later on that day the bands became twice as quick, and then by a quarter more, 0.67 to 0.70 s in one
block: of that slope is 35 to 39 %, elevation and slope 38 to 40 %, slope and curvature 51 to 54 %.
To unpack heights, the spline and Horn's formula alone are 0.15 s.

A run reads the ground of a place once for all its dates, which was expected to halve what it adds.
Two dates of a whole tile as a run reads them (nine blocks with halos, scene classes and pictures,
two workers: reading.py --edge 10980 --dates 2, in turns with --terrain slope, six runs of each):
27.6 to 34.1 s of processor time, and with slope 31.2 to 36.8 s; medians of 30.6 and 33.3 s, 9 %.
One process alone, without dask: 6 %. A single date: 14.3 and 16.5 s, with slope 17.4 and 18.0 s,
15 %. Before all of that, read for each date, it was 19.4 and 23.4 s for one, 21 %. When 15 % were
asked for, the bands of a tile and date took 70 s.

Memory: a block of ten bands raises resident memory by 403 and 419 MB (656 and 663 while bands were
copied once); a channel of 27 MB adds 17 and 25 MB, two add 50 and 66 of 54 MB, slope and curvature
46 and 65: their bytes. Between the dates of a place its ground is held once more.

Before, in turns with the first on a busy core (one block, four): slope 0.28 and 0.35 s, then 0.22
and 0.29 s; elevation and slope 0.29 and 0.37 s, then 0.23 and 0.31 s; slope and curvature 0.55 and
0.60 s, then 0.30 and 0.38 s. A channel took 40 MB, two 121 MB. Of the 8 s that a block took when
this was asked for (reading.py), slope is 3 %.

What is left of slope in one block: 0.06 s to unpack the heights, 0.05 s for the spline, 0.04 s for
Horn's formula. In four blocks squares of 1024 pixels are unpacked twice as often: 0.06 s more.
Curvature takes 0.03 s for its Gaussian (0.15 s in scipy's float64), and 0.02 s. Codes take 0.01 s
a channel. Tried without gain: buffers and flattened rows for Horn, strips for codes, a convolution
of torch, `np.correlate`, sums of shifted rows instead of matrices (five times as long).

Part two (--real FOLDER, the real data of the tests) runs `shipped:bare-ground` on the scene of Mol,
lowland in Belgium where nothing slides, with the SRTM tile. Of 405 false alarms (1088 ha) 401 are
flagged `gentle_slope` (slope_p90 below 10 degrees), 99.8 % of their area; with min_slope_deg: 5
0.1 % of the scene is run, and one false alarm is left, of less than half a hectare. By the slope of
each pixel it was 8 % of the scene, and 157 (54 ha); after a Gaussian of 30 m 1.0 %, and 36 (9 ha).

Part three (--simulated) runs the same formula on both dates of two simulated valleys. Of 30 new
objects that are landslides none is flagged, of 142 that are none 140; with min_slope_deg: 5 the 30
are listed too, and 66 of the others, 62 of them flagged.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import rasterio
from affine import Affine
from harness import peak_memory

import lspipe
from lspipe import catalogs
from lspipe.cube.choice import Step
from lspipe.cube.height_file import look_at
from lspipe.cube.spec import CubeSpec
from lspipe.cube.step_cube import StepCube
from lspipe.cube.terrain import Terrain, read
from lspipe.demo import write_archive
from lspipe.preprocess import radiometry
from lspipe.search.acquisitions import Acquisition
from lspipe.search.grids import grid_of
from lspipe.workflow import Workflow

sys.path.insert(0, str(Path(__file__).parent.parent))  # the simulated scenes of the tests
from tests.real_scenes import write_scene, write_workflow
from tests.scenes import make_scene

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lspipe.schema import Part

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
CHANNELS = (("slope",), ("elevation", "slope"), ("slope", "curvature"))
ROUNDS = 3
SEEDS = (1, 2)


def squares(folder: Path) -> Terrain:
    """Write six squares of one degree around tile 18GYS, and return their terrain."""
    random, size, files = np.random.default_rng(1), 3600, []
    for west in (-73, -72, -71):
        for south in (-44, -43):
            x, y = west + np.arange(size) / size, south + 1 - np.arange(size) / size
            ground = 1000 + 300 * np.sin(x * 200) + 300 * np.cos(y * 150)[:, None]
            ground = (ground + random.normal(0, 1, ground.shape)).astype(np.float32)
            path = folder / f"{west}_{south}.tif"
            half = 0.5 / size
            corner = Affine(1 / size, 0, west - half, 0, -1 / size, south + 1 + half)
            with rasterio.open(
                path, "w", driver="COG", height=size, width=size, count=1, dtype="float32",
                crs=4326, transform=corner, compress="deflate", predictor=3, blocksize=1024,
                overviews="NONE",
            ) as file:  # fmt: skip
                file.write(ground, 1)
            files.append(look_at(str(path), key="dem", name=path.name, unit="auto"))
    return Terrain(name="squares", files=tuple(files), is_sea_left_out=True)


def least(read: Callable[[Part], Any], parts: Sequence[Part]) -> float:
    """Return the processor seconds of the quickest round of all parts."""
    found = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for part in parts:
            read(part)
        found.append(time.process_time() - began)
    return min(found)


def ten_bands(folder: Path, size: int) -> StepCube:
    """Write a scene, and return the cube of its bands."""
    random = np.random.default_rng(0)

    def values(_: str, rows: Any, __: Any) -> Any:
        return 0.2 + 0.05 * np.sin(rows / 40) + random.normal(0, 0.01, rows.shape)

    item = make_scene(folder, size=size, bands=BANDS, values=values, baseline="05.09")
    taken = Acquisition(catalogs.sensing_time(item), (item,))
    keys, geobox = catalogs.band_assets(item), grid_of(item)
    decided = {(item.id, keys[band]): radiometry(item, keys[band]) for band in BANDS}
    step = Step(role="after", acquisitions=(taken,))
    return StepCube(
        step=step, steps=(step,), geobox=geobox, channels=BANDS, bands=BANDS, radiometry=decided,
        spec=CubeSpec(),
    )  # fmt: skip


def compare(folder: Path, size: int) -> None:
    """Time the bands of a scene, and the terrain below it; and trace the memory of a block."""
    cube, terrain = ten_bands(folder, size), squares(folder)
    for cut in (1, 2):
        spans = [slice(first, first + size // cut) for first in range(0, size, size // cut)]
        parts = list(product(spans, spans))
        whole = least(cube.part, parts)
        print(f"in {cut**2} blocks: {len(BANDS)} bands  {whole:.2f} s")
        for names in CHANNELS:
            seconds = least(partial(read, terrain, cube.geobox, names=names), parts)
            print(f"{' and '.join(names)}  {seconds:.2f} s, {seconds / whole:.1%}", flush=True)
    alone = taken(size, ())
    print(f"peak of a block: {len(BANDS)} bands  {alone / 1e6:.1f} MB")
    for names in CHANNELS:
        stored = 2 * len(names) * size**2
        more = taken(size, names) - alone
        print(f"{' and '.join(names)}  {more / 1e6:+.1f} for {stored / 1e6:.1f} MB")


def taken(size: int, names: Sequence[str]) -> int:
    """Return how far resident memory rises while a block is read, in a process of its own."""
    above: int = peak_memory("terrain:reading", size=size, names=list(names))["above"]
    return above


def reading(size: int, names: Sequence[str]) -> Callable[[], None]:
    """Write a scene and its terrain, and return the work of reading a block of both."""
    folder = tempfile.TemporaryDirectory(prefix="lspipe-terrain-")
    cube, terrain = ten_bands(Path(folder.name), size), squares(Path(folder.name))
    if names:
        cube = replace(cube, terrain=terrain, layers=tuple(names), channels=(*BANDS, *names))

    def work() -> None:
        with folder:
            cube.part((slice(0, size), slice(0, size)))

    return work


def mol(data: Path, folder: Path) -> None:
    """Run on lowland, and count what its slope throws out."""
    here, bands = data / "s2_l1c_mol_20190411", {}
    with rasterio.open(here / "ref_check_icor_S2_B02.tif") as opened:
        corner = opened.transform
    files = {name: f"ref_check_icor_S2_{name}.tif" for name in ("B02", "B03", "B04", "B08")}
    for name, file in (files | {"B11": "ref_input_S2_B11.tif"}).items():
        with rasterio.open(here / file) as opened:
            numbers = opened.read(1)
        bands[name] = np.where(numbers == 65535, 0, numbers.clip(1, 32000)).astype(np.uint16)
    write_scene(
        folder, tile="31UFS", time="2019-04-11T10:50:00Z", baseline="02.07", corner=corner,
        epsg=32631, bands=bands | {"SCL": np.full((512, 256), 4, np.uint16)},
    )  # fmt: skip
    heights = {"dem": str(here / "srtm" / "N51E005.SRTMGL1.hgt.zip")}
    for name, more in (("no mask", {}), ("5 degrees", {"min_slope_deg": 5})):
        workflow = write_workflow(
            folder / name / "mol.yaml", folder, tile="31UFS", model="shipped:bare-ground",
            dates={"after": {"start": "2019-04-01", "end": "2019-04-30"}},
            cluster={"kind": "local", "workers": 1}, terrain=heights | more,
        )  # fmt: skip
        summary = lspipe.run(Workflow.from_file(workflow))
        found = lspipe.open_run(summary.run).inventory
        gentle = found[found["gentle_slope"]]
        hectares = [table["area_m2"].sum() / 1e4 for table in (found, gentle)]
        print(
            f"{name}: {len(found)} objects, {hectares[0]:.0f} ha; gentle {len(gentle)}, "
            f"{hectares[1]:.0f} ha; {summary.observed_share:.1%} run"
        )


def simulated(folder: Path) -> None:
    """Run on simulated valleys, and count which new objects slope throws out."""
    for seed in SEEDS:
        archive = folder / str(seed)
        workflow = write_archive(archive, seed=seed)
        truth = gpd.read_file(archive / "truth.geojson").union_all()
        for name, more in (("no mask", ()), ("5 degrees", ("terrain.min_slope_deg=5",))):
            asked = ("model.item=shipped:bare-ground", "radar={}", f"output.path=run {name}", *more)
            summary = lspipe.run(Workflow.from_file(workflow, overrides=asked))
            listed = lspipe.open_run(summary.run).inventory
            found = listed[listed["status"].isin(["new", "grown"])]
            is_true = found.intersects(truth)
            counts = [
                f"{kind} {len(some)}, gentle {int(some['gentle_slope'].sum())}"
                for kind, some in (("true", found[is_true]), ("false", found[~is_true]))
            ]
            print(f"valley {seed}, {name}: {'; '.join(counts)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small part of a tile")
    parser.add_argument("--real", type=Path, help="folder of real data: part two")
    parser.add_argument("--simulated", action="store_true", help="simulated valleys: part three")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.simulated:
            simulated(Path(folder))
        elif asked.real is not None:
            mol(asked.real, Path(folder))
        else:
            compare(Path(folder), 1220 if asked.quick else 3660)


if __name__ == "__main__":
    main()
