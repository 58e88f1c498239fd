"""What does the backscatter of a tile add to reading ten bands of it?

Reads a simulated scene of ten bands (four of 10 m, six of 20 m; deflate) as a run does, and VV
before and after from some dates of each side, float32 (deflate), in turn, on one thread: on the
lattice of the tile moved by a part of a pixel, and in the next UTM zone.
Measured on 2026-11-29, 3660 x 3660 px in four blocks, one core of a quiet Intel Xeon, processor
time, least of three: ten bands 2.71 s; one date of each side (filtered) 2.08 s, 77 %, three 3.47 s,
128 %, six 6.60 s, 244 %; from the next zone three 6.30 s, six 11.83 s.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import rasterio
from affine import Affine
from pyproj import Transformer

from lspipe import catalogs
from lspipe.catalogs import GENERIC
from lspipe.cube.choice import Step
from lspipe.cube.loaders.source import Source
from lspipe.cube.opening import open_cube
from lspipe.cube.radar import Radar, RadarPass, layers
from lspipe.cube.radar_file import RadarFile, read_header
from lspipe.cube.spec import CubeSpec
from lspipe.preprocess import radiometry
from lspipe.search.acquisitions import Acquisition
from lspipe.search.grids import grid_of

sys.path.insert(0, str(Path(__file__).parent.parent))  # the simulated scenes of the tests
from tests.scenes import make_scene

if TYPE_CHECKING:
    from collections.abc import Callable

    import dask.array as da
    from odc.geo.geobox import GeoBox

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
BOTH = ("before:VV", "after:VV")
ROUNDS = 3


def write(folder: Path, geobox: GeoBox, epsg: int) -> RadarFile:
    """Write one slice that holds a tile, as Planetary Computer stores them."""
    left, bottom, right, top = geobox.extent.boundingbox
    to = Transformer.from_crs(geobox.crs.epsg, epsg, always_xy=True)
    x, y = to.transform([left, right, left, right], [bottom, bottom, top, top])
    shape = round((max(y) - min(y)) / 10) + 200, round((max(x) - min(x)) / 10) + 200
    power = np.random.default_rng(0).gamma(4.4, 0.1 / 4.4, shape).astype(np.float32)
    path = folder / f"{epsg}.tif"
    with rasterio.open(
        path, "w", driver="COG", height=shape[0], width=shape[1], count=1, dtype="float32",
        crs=epsg, transform=Affine(10, 0, min(x) - 1003.7, 0, -10, max(y) + 996.2),
        nodata=-32768, compress="deflate", blocksize=512,
    ) as file:  # fmt: skip
        file.write(power, 1)
    source = Source(
        item=path.stem, band="VV", asset="vv", href=str(path), catalog=GENERIC,
        on_read_error="fail",
    )  # fmt: skip
    return read_header(source, day="2017-01-01", platform="sentinel-1a")


def radar_of(file: RadarFile, dates: int) -> Radar:
    """Return a pass that reads one file as so many dates of each side."""
    sides = {
        side: tuple(
            RadarFile(**{**vars(file), "day": f"{year}-01-{number + 1:02d}"})
            for number in range(dates)
        )
        for side, year in (("before", 2017), ("after", 2018))
    }
    one = RadarPass(orbit_state="descending", relative_orbit=83, sides=sides, shift=(0.3, 0.2))
    return Radar(name="benchmark", passes=(one,))


def least(read: Callable[[], list[da.Array]]) -> float:
    """Return the processor seconds of the quickest round."""
    found = []
    for _ in range(ROUNDS):
        began = time.process_time()
        with dask.config.set(scheduler="synchronous"):
            dask.compute(*read())
        found.append(time.process_time() - began)
    return min(found)


def compare(folder: Path, size: int) -> None:
    """Time the bands of a scene, and the backscatter of its tile."""
    random = np.random.default_rng(0)

    def values(_: str, rows: Any, __: Any) -> Any:
        return 0.2 + 0.05 * np.sin(rows / 40) + random.normal(0, 0.01, rows.shape)

    item = make_scene(folder, size=size, bands=BANDS, values=values, baseline="05.09")
    taken = Acquisition(catalogs.sensing_time(item), (item,))
    keys, geobox = catalogs.band_assets(item), grid_of(item)
    decided = {(item.id, keys[band]): radiometry(item, keys[band]) for band in BANDS}
    chunks = ((size // 2,) * 2,) * 2

    def bands() -> list[da.Array]:
        cube = open_cube(
            Step(role="after", acquisitions=(taken,)), geobox, bands=BANDS, radiometry=decided,
            spec=CubeSpec(), chunks=chunks,
        )  # fmt: skip
        return [cube["reflectance"].data, cube["quality"].data]

    whole = least(bands)
    print(f"{len(BANDS)} bands  {whole:.2f} s")
    for epsg in (geobox.crs.epsg, geobox.crs.epsg + 1):
        file = write(folder, geobox, epsg)
        for dates in (1, 3, 6):
            radar = radar_of(file, dates)
            seconds = least(lambda radar=radar: list(layers(radar, geobox, BOTH, chunks).values()))
            share = f"{seconds / whole:.1%}"
            print(f"EPSG:{epsg}, {dates} dates of each side  {seconds:.2f} s, {share}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small part of a tile")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), 1220 if asked.quick else 3660)


if __name__ == "__main__":
    main()
