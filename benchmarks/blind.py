"""What does it take to end a tile that radar saw from both orbits, and how dense is speckle alone?

Part one lays out a Sentinel-2 tile, a third of it below clouds after, with the backscatter of two
orbits as it is stored, and ends it with and without radar; its layers of radar follow. The reading
of the files of radar is not in it (benchmarks/radar.py).
Measured on 2026-11-29, one of two busy cores of an Intel Xeon, processor time: --size 5490, a
quarter of a tile: without radar 5.6 s, with radar 10.0 s; --size 3660, a ninth: 3.1 s and 4.9 s,
and layers of radar 2.8 s, 36 MB.

Part two (--real FOLDER, the real data of the tests) compares VV of three dates of April 2023 with
three later ones of the same orbits over fields in Belgium, where nothing slides: the median is
-1.30 dB, and 8.1 % of the pixels lie more than 3 dB from it (one date against one: -1.24 dB, 23 %).
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lspipe.change.blind import Median, beyond
from lspipe.cube.radar import Radar, RadarPass, to_codes
from lspipe.outputs import layers
from lspipe.outputs.cog import write_map
from lspipe.runs import backscatter, tail
from lspipe.runs.opened import Run
from lspipe.runs.record import run_json
from lspipe.runs.tail_plan import RadarAsked, tails_of
from lspipe.schema import CODE_NODATA, Quality

sys.path.insert(0, str(Path(__file__).parent.parent))  # the simulated scenes of the tests
from tests.stored import store_run
from tests.worlds import make_world

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOOKS = 4.4 * 3


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10980)
    parser.add_argument("--real", type=Path)
    asked = parser.parse_args()
    if asked.real is not None:
        _speckle(asked.real)
        return
    with tempfile.TemporaryDirectory() as folder:
        _tile(Path(folder), asked.size)


def _tile(folder: Path, size: int) -> None:
    made = make_world(folder, size=size, execution={"block": min(3660, size)})
    stored = store_run(made, folder / "run", **_maps(size))
    (plain,) = tails_of(stored.plan).values()
    passes = tuple(
        RadarPass(orbit_state=state, relative_orbit=number, sides={"before": (), "after": ()})
        for number, state in enumerate(("ascending", "descending"))
    )
    radar = RadarAsked(Radar(name="simulated", passes=passes), 3.0, 5.0, 0.2)
    with_radar = replace(plain, radar=radar)
    backscatter.read = _codes  # type: ignore[assignment]
    _timed("keep the codes", lambda: backscatter.write(stored.run, plain.grid, radar.passes))
    _timed("end without radar", lambda: tail.write(stored.run, plain))
    _timed("end with radar", lambda: tail.write(stored.run, with_radar))
    record = run_json(stored.plan, state="finished")
    record["workflow"]["radar"] = {"collection": "simulated"}
    for layer in layers.layers_of(Run(stored.run, record), plain.grid.tile):
        if layer.name.startswith(("vv_", "radar")):
            path = folder / f"{layer.name}.tif"
            _timed(
                layer.name,
                lambda layer=layer, path=path: write_map(layer.array, path, look=layer.look),
            )
            print(f"  {path.stat().st_size / 1e6:.0f} MB")


def _maps(size: int) -> dict[str, Any]:
    """A few hundred objects, and clouds over a third of the later date."""
    random = np.random.default_rng(1)
    codes = np.zeros((2, size, size), np.uint16)
    quality = np.zeros((2, size, size), np.uint8)
    for row, column in random.integers(0, size - 40, (400, 2)):
        codes[1, row : row + 30, column : column + 20] = 9000
    rows, columns = np.ogrid[:size, :size]
    for row, column in random.integers(0, size, (30, 2)):
        quality[1][(rows - row) ** 2 + (columns - column) ** 2 < (size / 16) ** 2] = Quality.CLOUD
    codes[quality != 0] = CODE_NODATA
    return {"probability": codes, "quality": quality}


def _codes(radar: Radar, geobox: Any, part: Any, names: Any, number: int) -> NDArray[np.int16]:
    """Speckle of three dates over even ground."""
    del radar, geobox
    random = np.random.default_rng(part[0].start + part[1].start + number)
    shape = tuple(span.stop - span.start for span in part)
    power = random.gamma(LOOKS, 0.1 / LOOKS, (len(names), *shape)).astype(np.float32)
    return np.stack([to_codes(one, "VV") for one in power])


def _timed(name: str, work: Any) -> None:
    start, process = time.perf_counter(), time.process_time()
    work()
    wall, used = time.perf_counter() - start, time.process_time() - process
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{name}: {used:.1f} s of processors, {wall:.1f} s; peak so far {peak:.2f} GB", flush=True
    )


def _speckle(data: Path) -> None:
    found = xr.open_dataset(data / "s1s2_timeseries_gfmap" / "cdse_sentinel1_grd.nc")
    # Stored as 20 log10 of the number less 83 dB.
    power = (found["S1-SIGMA0-VV"].to_numpy().astype(np.float64) ** 2 * 10**-8.3).astype(np.float32)
    days = [str(day)[8:10] for day in found["t"].to_numpy()]
    of = dict(zip(days, power, strict=True))
    for before, after in ((("03",), ("15",)), (("03", "05", "08"), ("15", "17", "20"))):
        sides = [
            to_codes(np.mean([of[day] for day in side], axis=0, dtype=np.float32), "VV")
            for side in (before, after)
        ]
        change = sides[1].astype(np.int32) - sides[0]
        median = Median()
        median.add(change)
        told = [f"median {median.result() * 0.002:+.2f} dB"]
        for limit in (2, 3, 4):
            share = beyond([change], [median.result()], limit * 500)[1].mean()
            told.append(f"beyond {limit} dB {share:.1%}")
        print(f"{len(before)} and {len(after)} dates:", ", ".join(told))


if __name__ == "__main__":
    main()
