"""A run directory -> its lists as tables and its maps as lazy arrays.

Covers: the results of a run, finished or not. Does not cover: the scenes they were computed from
(`frozen.py`), progress (`status.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import StoreError, UsageError
from lspipe.machine.copies import readable
from lspipe.machine.remote import place
from lspipe.runs import store
from lspipe.runs.store.lazy import open_lazily
from lspipe.schema.sampled import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import geopandas as gpd
    import xarray as xr

    from lspipe.schema import Part

SAMPLE = "sample.json"
"""Which rows of the list were drawn as a sample, for a person to decide about."""


@dataclass(frozen=True)
class Run:
    """An opened run directory: its tiles by name, its lists, its workflow and its record."""

    path: Path
    record: Mapping[str, Any]
    """Content of `run.json` when the run was opened."""
    lists: Mapping[str, gpd.GeoDataFrame] = field(default_factory=dict, repr=False, compare=False)
    """Lists that are in memory: `inventory`, `unobserved`, `radar_cells`; others are read from the
    directory."""

    @property
    def name(self) -> str:
        """Name of the workflow."""
        return str(self.record["name"])

    @property
    def state(self) -> str:
        """State of the run when it was opened: planned, running, interrupted, failed, ..."""
        return str(self.record["state"])

    @property
    def tiles(self) -> tuple[str, ...]:
        """Names of its tiles, sorted."""
        return tuple(sorted(self.record["tiles"]))

    @property
    def workflow(self) -> Mapping[str, Any]:
        """The workflow with all its defaults, as plain values."""
        workflow: Mapping[str, Any] = self.record["workflow"]
        return workflow

    @property
    def model(self) -> Mapping[str, Any]:
        """Id and hash of the model, and what it was computed with: runtime, precision, device."""
        model: Mapping[str, Any] = self.record["model"]
        return model

    @property
    def model_title(self) -> str:
        """Id of the model, with the version where it has one."""
        name, version = self.model["id"], self.model.get("version")
        return f"{name}, version {version}" if version else str(name)

    @property
    def is_two_date(self) -> bool:
        """Whether two dates are compared."""
        dates = self.workflow["dates"]
        return dates.get("before") is not None or dates.get("event") is not None

    @cached_property
    def inventory(self) -> gpd.GeoDataFrame:
        """The list: a row per landslide, `schema.INVENTORY_COLUMNS`, EPSG:4326; read once.

        Raises:
            StoreError: the run has no list yet.
        """
        return self._table("inventory")

    @cached_property
    def unobserved(self) -> gpd.GeoDataFrame:
        """What was not observed: a polygon per tile, date and reason, EPSG:4326; read once.

        Raises:
            StoreError: the run has no list yet.
        """
        return self._table("unobserved")

    @cached_property
    def radar_cells(self) -> gpd.GeoDataFrame | None:
        """Cells in which radar saw change where optics was blind, EPSG:4326; read once.

        Squares of 500 m, the densest of each tile first, `schema.columns.RADAR_CELLS`; None where
        the run reads no radar.
        """
        is_there = "radar_cells" in self.lists or (self.path / "radar_cells.parquet").exists()
        return self._table("radar_cells") if is_there else None

    @property
    def sample(self) -> Sample | None:
        """A random part of the list, and what a person decided about it; None = none was drawn.

        Raises:
            StoreError: the run has no list yet, or the record of the sample is damaged.
        """
        path = self.path / SAMPLE
        drawn = store.peek_json(path)
        if drawn is None:
            return None
        if not {"ids", "of", "seed"} <= drawn.keys():
            raise StoreError(
                f"{path}: expected ids, of and seed, as lspipe writes them; move the file away to "
                "go on without the sample"
            )
        return counted(drawn, self.inventory)

    def __getitem__(self, tile: str) -> xr.Dataset:
        """Open the maps of a tile, lazily.

        Returns:
            Dataset in dask chunks: `probability` (time, y, x) float32 0..1, NaN = not observed;
            `quality` (time, y, x) bits of `schema.Quality`, 0 = observed, 255 = not processed yet;
            `true_colour` (time, band, y, x), `ndvi`, `scl`, `acquired`; for two dates `state` and
            `gain` (y, x); where the run knows the terrain `elevation` and `slope` (y, x); where it
            reads radar `vv_before_asc` and the like (y, x), dB, and `radar_density` and
            `hidden_share` (cell_y, cell_x). Units and nodata are in the attributes of each. The
            attribute `blocks` counts the blocks that are done; the others are not observed. In an
            unfinished run, the attribute `missing` names the maps that do not exist yet.

        Raises:
            UsageError: no such tile.
            StoreError: nothing of the tile was computed yet.
        """
        self._check_tile(tile)
        opened = open_lazily(
            self.path, tile, is_two_date=self.is_two_date, sections=self._sections()
        )
        done = store.done(self.path, tile)
        total = self.record["tiles"][tile]["blocks"] * len(self.record["tiles"][tile]["steps"])
        return opened.assign_attrs(blocks=f"{int(done.sum())} of {total} done")

    def seen(self, tile: str) -> Part | None:
        """Return the smallest part of a tile that holds all its finished blocks; None = no block.

        Raises:
            UsageError: no such tile.
        """
        self._check_tile(tile)
        found = store.layout(self.path, tile)
        if found is None or not found.done.any():
            return None
        is_done = found.done.any(axis=0)
        rows, columns = (
            slice(
                int(cells.min()) * found.block,
                # The last block takes a short tail.
                (int(cells.max()) + 1) * found.block if cells.max() + 1 < count else length,
            )
            for cells, count, length in zip(
                np.nonzero(is_done), is_done.shape, found.shape, strict=True
            )
        )
        return rows, columns

    def __contains__(self, tile: object) -> bool:
        return tile in self.record["tiles"]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tiles)

    def __len__(self) -> int:
        return len(self.tiles)

    def __repr__(self) -> str:
        lists = [
            name for name in ("inventory", "unobserved") if (self.path / f"{name}.parquet").exists()
        ]
        return (
            f"<lspipe run {self.name!r} in {self.path}: {self.state}>\n"
            f"tiles: {', '.join(self.tiles)}\n"
            f"lists: {', '.join(lists) or 'none yet'}"
        )

    def _sections(self) -> list[str]:
        """Return which sections of the workflow add maps, such as those of terrain."""
        asked = {"terrain": "dem", "radar": "collection"}
        return [name for name, key in asked.items() if self.workflow.get(name, {}).get(key)]

    def _check_tile(self, tile: str) -> None:
        if tile not in self.record["tiles"]:
            raise UsageError(f"{self.path}: no tile {tile!r}; it has {', '.join(self.tiles)}")

    def _table(self, name: str) -> gpd.GeoDataFrame:
        from lspipe.search.parquet import read_geoparquet

        if name in self.lists:
            return self.lists[name]
        path = self.path / f"{name}.parquet"
        if not path.exists():
            raise StoreError(
                f"{path}: not there yet, the run is {self.state}; run its workflow to the end first"
            )
        return read_geoparquet(readable(path))


def counted(drawn: Mapping[str, Any], listed: gpd.GeoDataFrame) -> Sample:
    """Count what was decided about a sample.

    Args:
        drawn: `ids` of its rows, `of` how many they were drawn, and the `seed`.
        listed: the list as it is now.
    """
    from lspipe.change.decisions import answer_of

    rows = listed[listed["id"].isin(drawn["ids"])]
    answers = [answer_of(value) for value in rows["reviewed"]]
    return Sample(
        drawn=len(drawn["ids"]),
        of=drawn["of"],
        seed=drawn["seed"],
        true=answers.count("true"),
        false=answers.count("false"),
        unsure=answers.count("unsure"),
        gone=len(drawn["ids"]) - len(rows),
    )


def open_run(path: Path | str) -> Run:
    """Open a run directory; no pixel is read.

    Args:
        path: the run directory, or its address; the run may be unfinished.

    Raises:
        StoreError: it is no run directory, or a damaged one.

    Examples:
        >>> import lspipe
        >>> run = lspipe.open_run("runs/my-valley")  # doctest: +SKIP
        >>> run.inventory.query("status == 'new'").area_m2.sum()  # doctest: +SKIP
        41800.0
        >>> after = run["18GYS"]["probability"].isel(time=-1)  # doctest: +SKIP
        >>> after.rio.to_raster("probability.tif")  # doctest: +SKIP
    """
    path = place(path)
    record = store.read_json(path / "run.json")
    lacking = [key for key in ("name", "state", "workflow", "tiles") if key not in record]
    if lacking:
        raise StoreError(
            f"{path / 'run.json'}: has no {', '.join(lacking)}; expected what lspipe writes"
        )
    return Run(path, record)
