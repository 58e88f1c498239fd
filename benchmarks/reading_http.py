"""Does reading over a network wait for answers, or only for the line?

    pip install async-geotiff obstore
    python benchmarks/reading_http.py               three rounds; some ten minutes
    python benchmarks/reading_http.py --slower 8    where others use the machine: see below
    python benchmarks/reading_http.py --quick       seconds, and no meaning

The files of `reading.py`, ten bands and scene classes of 7320 x 7320 px, from a server that answers
each request 80 ms late and sends 100 MB a second to all together. Four blocks of 3660 px with the
halo of a window of 224 px are read onto the grid:

    lspipe         its loader, one block after the other, as a worker of one thread would
    lspipe, 2      two blocks at a time, as two workers would
    10 MB          as `lspipe`, but with the 10 MB of a file that GDAL asks for at once by itself
    async          async-geotiff and obstore, all bands of a block at once, blocks in turn
    async, all     all bands of all blocks at once: what no run could hold in memory

All end in the same pixels, which is checked: what the async reader has fetched is put on the grid
by lspipe's own code. `--slower 8` makes delay and line eight times slower, and divides the times by
eight: with processors that others use too, this is what unpacking takes on a free machine.

Expected: 1.0 to 1.2 times the async reader, as the line is the bottleneck of both. Result,
2026-11-30, two cores of an AMD EPYC of which others left a tenth, so the network was made slower,
and the times are divided again:

    --slower 8, one round      wall    processor   requests, MB
    lspipe                      9.3 s     10.3 s   153, 568
    lspipe, 2                   9.0       10.8     153, 568
    10 MB                      12.0        9.9     291, 640
    async                      10.0       10.7     137, 576

    --slower 16 --edge 3660 --block 1830, three rounds without `10 MB`
    lspipe                      3.8 to 4.1 s   4.1 s   120, 251
    lspipe, 2                   3.1 to 3.7     4.1     103, 223
    async                       4.2 to 4.6     4.1     67, 310
    async, all                  3.7 to 3.9     4.4     67, 310

So lspipe is at least as fast: reached. The line alone takes 5.7 s, and 2.2 to 3.1 s; the rest is
mostly unpacking. `10 MB` has all bands of a block in flight too; before, they were eight. The async
reader takes as much of a processor and is no faster, so it is no third loader.

Not in it: making a connection, which over a real network takes further round trips. Threads that
read stay from block to block, and with them GDAL's connections. Expected: a third of them. Found,
--slower 8 --edge 3660 --block 1830, one round: 72 -> 31 for one block at a time, 71 -> 25 for two,
the async reader 19; as many seconds, as a connection on one machine takes no time.
Rounds on a free machine were not to be had.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import pystac
from affine import Affine
from harness import Timing, describe, machine, write_result
from io_overlap import EPSG, LEFT, TOP
from odc.geo.geobox import GeoBox
from reading import BANDS, QUICK, Case, write_files

from lspipe.cube import loaders
from lspipe.cube.kernels import in_one_piece
from lspipe.cube.loaders.nested import read_onto
from lspipe.inference import windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from rasterio.windows import Window

    from lspipe.inference.windows import Block

FILES = {**{band: metres for band, (_, metres) in BANDS.items()}, "SCL": 20}
"""Names of the files and their pixel sizes, metres."""

DELAY_MS, RATE = 80.0, 100.0
"""Of each answer, and megabytes a second of all answers together."""

TARGET = 1.2
"""Time of lspipe over that of the async reader."""

PIECE = 256 * 1024
"""Bytes that the server sends at a time."""


# --- the server ---------------------------------------------------------------------------------


class Line:
    """What all answers share: so many bytes a second."""

    def __init__(self, rate: float) -> None:
        self._rate, self._free = rate, 0.0

    async def send(self, size: int) -> None:
        """Wait until there is room for some bytes."""
        now = time.perf_counter()
        self._free = max(now, self._free) + size / self._rate
        await asyncio.sleep(self._free - now)


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, folder: Path, delay: float
) -> None:
    """Answer requests of one connection: HEAD or GET /ANYTHING/NAME, whole or a range."""
    COUNTED["connections"] += 1
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            method, path, _ = head[0].split()
            await asyncio.sleep(delay)
            asked = [line.partition("=")[2] for line in head if line.lower().startswith("range:")]
            await _send(writer, folder / Path(path).name, method, asked[0] if asked else "")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _send(writer: asyncio.StreamWriter, path: Path, method: str, asked: str) -> None:
    size = path.stat().st_size
    start, _, end = asked.partition("-")
    first, last = int(start or 0), min(int(end or size), size - 1)
    place = f"Content-Range: bytes {first}-{last}/{size}\r\n" if asked else ""
    writer.write(
        f"HTTP/1.1 {'206 Partial Content' if asked else '200 OK'}\r\n{place}"
        f"Accept-Ranges: bytes\r\nContent-Length: {last + 1 - first}\r\n"
        "Last-Modified: Mon, 15 Jan 2018 14:37:51 GMT\r\n\r\n".encode()
    )
    with path.open("rb") as file:
        for at in range(first, last + 1, PIECE) if method == "GET" else ():
            piece = os.pread(file.fileno(), min(PIECE, last + 1 - at), at)
            await LINE[0].send(len(piece))
            writer.write(piece)
            await writer.drain()
            COUNTED["MB"] += len(piece) / 1e6
    COUNTED["requests"] += 1


LINE: list[Line] = []
COUNTED = {"requests": 0.0, "connections": 0.0, "MB": 0.0}


async def _serve(folder: Path, delay: float, rate: float) -> None:
    """Serve a folder; write what was asked for since the last line that came on standard input."""
    LINE.append(Line(rate))
    server = await asyncio.start_server(
        partial(_answer, folder=folder, delay=delay), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(COUNTED), flush=True)
            COUNTED.update(dict.fromkeys(COUNTED, 0))


@dataclass
class Served:
    """A server in a process of its own."""

    address: str
    process: subprocess.Popen[str]

    def counted(self) -> dict[str, float]:
        """Return requests and megabytes since this was asked last."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found: dict[str, float] = json.loads(self.process.stdout.readline())
        return found


@contextmanager
def served(folder: Path, slower: float) -> Iterator[Served]:
    """Serve a folder until the block ends."""
    asked = [str(folder), str(DELAY_MS * slower / 1000), str(RATE * 1e6 / slower)]
    with subprocess.Popen(
        [sys.executable, __file__, "--serve", *asked],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield Served(f"http://127.0.0.1:{int(process.stdout.readline())}", process)
        finally:
            process.terminate()


# --- the ways of reading ------------------------------------------------------------------------


def tile_and_blocks(case: Case) -> tuple[GeoBox, list[Block]]:
    """Return the grid of the tile, and its blocks."""
    shape = (case.edge, case.edge)
    grid = GeoBox(shape, Affine(10, 0, LEFT, 0, -10, TOP), f"EPSG:{EPSG}")
    return grid, windows.blocks(shape, case.block, case.window)


def by_lspipe(address: str, case: Case, *, at_once: int) -> list[str]:
    """Read all blocks by the default loader; return a hash of each."""
    item = pystac.Item("scene", None, [0, 0, 1, 1], datetime(2018, 1, 15, tzinfo=UTC), {})
    for name in FILES:
        item.add_asset(name, pystac.Asset(f"{address}/{name}.tif"))
    tile, blocks = tile_and_blocks(case)

    def read(block: Block) -> str:
        grid = tile[block.outer]
        opened = loaders.loader("odc")(
            item,
            {name: name for name in FILES},
            grid,
            chunk=tuple((length,) for length in grid.shape),
            resampling={name: _resampling(name) for name in FILES},
            on_read_error="fail",
        )
        return _hash(in_one_piece(opened.data))

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(read, blocks))


@dataclass(frozen=True)
class Fetched:
    """A part of a file that is in memory; what `read_onto` needs of a dataset of rasterio."""

    metres: int
    edge: int
    row: int
    column: int
    pixels: NDArray[np.uint16]

    @property
    def transform(self) -> Affine:
        return Affine(self.metres, 0, LEFT, 0, -self.metres, TOP)

    @property
    def shape(self) -> tuple[int, int]:
        return self.edge, self.edge

    def read(
        self, _band: int, *, window: Window, out: NDArray[np.uint16] | None = None
    ) -> NDArray[np.uint16]:
        row, column = int(window.row_off) - self.row, int(window.col_off) - self.column
        part = self.pixels[row : row + int(window.height), column : column + int(window.width)]
        if out is None:
            return part
        out[:] = part
        return out


async def by_async(address: str, case: Case, *, is_all: bool) -> list[str]:
    """Read all blocks by async-geotiff; return a hash of each."""
    from async_geotiff import GeoTIFF, Window
    from obstore.store import HTTPStore

    store = HTTPStore.from_url(address, client_options={"allow_http": True, "timeout": "1h"})
    opened = await asyncio.gather(*(GeoTIFF.open(f"{name}.tif", store=store) for name in FILES))
    tile, blocks = tile_and_blocks(case)

    async def fill(out: NDArray[np.uint16], name: str, file: Any, block: Block) -> None:
        times = FILES[name] // 10
        edge = case.edge // times
        # Bilinear needs a pixel around.
        rows, columns = (
            slice(max(span.start // times - 1, 0), min(-(-span.stop // times) + 1, edge))
            for span in block.outer
        )
        window = Window(
            col_off=columns.start,
            row_off=rows.start,
            width=columns.stop - columns.start,
            height=rows.stop - rows.start,
        )
        pixels = np.asarray((await file.read(window=window)).data)[0]
        part: Any = Fetched(FILES[name], edge, rows.start, columns.start, pixels)
        grid, resampling = tile[block.outer], _resampling(name)
        await asyncio.to_thread(read_onto, grid, part, resampling=resampling, out=out)

    async def read(block: Block) -> str:
        found = np.empty((len(FILES), *tile[block.outer].shape), np.uint16)
        named = zip(FILES, opened, strict=True)
        await asyncio.gather(*(fill(found[at], *one, block) for at, one in enumerate(named)))
        return await asyncio.to_thread(_hash, found)

    if is_all:
        return list(await asyncio.gather(*map(read, blocks)))
    return [await read(block) for block in blocks]


WAYS: dict[str, Callable[[str, Case], list[str]]] = {
    "lspipe": partial(by_lspipe, at_once=1),
    "lspipe, 2": partial(by_lspipe, at_once=2),
    "10 MB": partial(by_lspipe, at_once=1),
    "async": lambda *what: asyncio.run(by_async(*what, is_all=False)),
    "async, all": lambda *what: asyncio.run(by_async(*what, is_all=True)),
}

BY_ITSELF = {"GDAL_MAX_RAW_BLOCK_CACHE_SIZE": str(10 * 2**20)}
"""Of GDAL, where nobody sets it."""


def _resampling(name: str) -> str:
    return "nearest" if name == "SCL" else "bilinear"


def _hash(pixels: NDArray[np.uint16]) -> str:
    return hashlib.blake2b(pixels, digest_size=16).hexdigest()


@dataclass(frozen=True)
class Way:
    """What one way of reading took."""

    timing: Timing
    hashes: tuple[str, ...]
    requests: float
    connections: float
    MB: float


def timed(way: str, server: Served, number: int, case: Case, slower: float) -> Way:
    """Read by one way, from addresses that were not read before."""
    server.counted()
    with patch.dict(os.environ, BY_ITSELF if way == "10 MB" else {}):
        wall, cpu = time.perf_counter(), time.process_time()
        hashes = WAYS[way](f"{server.address}/{number}", case)
        timing = Timing((time.perf_counter() - wall) / slower, time.process_time() - cpu)
    return Way(timing, tuple(hashes), **server.counted())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way takes its turn")
    parser.add_argument("--slower", type=float, default=1, help="times that the network is slower")
    parser.add_argument("--edge", type=int, help="edge of the tile, pixels")
    parser.add_argument("--block", type=int, help="edge of a block, pixels")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    sizes = {name: size for name in ("edge", "block") if (size := vars(asked)[name])}
    case = replace(QUICK if asked.quick else Case(), **sizes)
    if asked.serve:
        folder, delay, rate = asked.serve
        asyncio.run(_serve(Path(folder), float(delay), float(rate)))
        return
    # Imports are not timed.
    for module in ("async_geotiff", "obstore.store"):
        importlib.import_module(module)
    with tempfile.TemporaryDirectory(prefix="lspipe-reading-http-") as name:
        write_files(Path(name), case)
        with served(Path(name), asked.slower) as server:
            rounds = [_round(server, number, case, asked.slower) for number in range(asked.rounds)]
    print(describe(machine()))
    # A smoke run leaves no result behind.
    facts = _facts(rounds, case, asked.slower)
    print("\n".join(f"{name}: {value}" for name, value in facts.items() if name != "rounds"))
    if not asked.quick:
        print(f"result in {write_result('reading_http', facts)}")


def _round(server: Served, number: int, case: Case, slower: float) -> dict[str, Way]:
    """Let each way take its turn; every second round in reverse order."""
    found: dict[str, Way] = {}
    for turn, way in enumerate(list(WAYS)[:: -1 if number % 2 else 1]):
        one = timed(way, server, number * len(WAYS) + turn, case, slower)
        found[way] = one
        print(
            f"  round {number + 1}: {way}: {one.timing.wall:.2f} s wall, "
            f"{one.timing.cpu:.2f} s processor, {one.requests:.0f} requests, "
            f"{one.connections:.0f} connections, {one.MB:.0f} MB",
            flush=True,
        )
    assert len({one.hashes for one in found.values()}) == 1, "ways differ in their pixels"
    return found


def _facts(rounds: list[dict[str, Way]], case: Case, slower: float) -> dict[str, Any]:
    def over(way: str, other: str) -> dict[str, float]:
        ratios = [one[way].timing.wall / one[other].timing.wall for one in rounds]
        return {
            "median": round(statistics.median(ratios), 3),
            "from": round(min(ratios), 3),
            "to": round(max(ratios), 3),
        }

    return {
        "edge_px": case.edge,
        "block_px": case.block,
        "delay_ms": DELAY_MS,
        "line_mb_per_s": RATE,
        "slower": slower,
        "target": TARGET,
        "lspipe over async": over("lspipe", "async"),
        "lspipe, 2 over async, all": over("lspipe, 2", "async, all"),
        "10 MB over async": over("10 MB", "async"),
        "rounds": [
            {
                name: {
                    "wall": round(way.timing.wall, 2),
                    "cpu": round(way.timing.cpu, 2),
                    "requests": round(way.requests),
                    "connections": round(way.connections),
                    "MB": round(way.MB),
                }
                for name, way in ways.items()
            }
            for ways in rounds
        ],
    }


if __name__ == "__main__":
    main()
