"""A run directory -> the cubes of its plan, without the workflow file and without a search.

Covers: finished and planned runs. Does not cover: the results of a run (`opened.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np

from lspipe import catalogs, preprocess
from lspipe.cube import terrain
from lspipe.cube.masking import Place, reach_of
from lspipe.cube.pairs import OTHER_QUALITY, is_baseline, open_dates
from lspipe.cube.radar import layers as radar_layers
from lspipe.cube.recorded import recorded_radar, recorded_radiometry, recorded_steps
from lspipe.cube.spec import CubeSpec
from lspipe.cube.terrain import Terrain
from lspipe.errors import ModelError, SamplesError, StoreError
from lspipe.inference.observed import observed_range
from lspipe.machine.remote import place
from lspipe.models.ensemble import read_model
from lspipe.models.item import SHIPPED_PREFIX, ModelItem
from lspipe.preprocess.masks import mask_bands, sources
from lspipe.runs import store
from lspipe.runs.model import with_items_in
from lspipe.schema import BEFORE, bands_on, grown, is_pair, relative, source_of
from lspipe.search.acquisitions import thaw
from lspipe.search.areas import read_area
from lspipe.search.on_grid import AreaOnGrid
from lspipe.search.spec import AreaSpec
from lspipe.spec import SpecError
from lspipe.spec import read as read_spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.cube.choice import Step
    from lspipe.cube.radar import Radar
    from lspipe.preprocess import Radiometry
    from lspipe.schema import Part
    from lspipe.search.acquisitions import Tile
    from lspipe.search.areas import Area

_STRIP = 1024
"""Rows that are read at a time where a whole tile is read."""

FROM_AN_EARLIER_VERSION = "run.json of an earlier lspipe does not record"


@dataclass(frozen=True)
class FrozenTile:
    """One tile of a run, from its plan."""

    name: str
    geobox: GeoBox
    """10 m grid in the tile's own UTM zone."""
    area: AreaOnGrid | None
    """Pixels inside the area; None = everywhere."""
    steps: tuple[Step, ...]
    radiometry: Mapping[tuple[str, str], Radiometry]
    """Decision per (item id, asset key), for the bands that the run loads."""
    terrain: Terrain | None = None
    """Its heights; None = the run knows none."""
    radar: Radar | None = None
    """Its backscatter, of passes that both sides have; None = none, or the run reads no radar."""


@dataclass(frozen=True)
class FrozenRun:
    """The plan of an opened run directory."""

    path: Path
    name: str
    tiles: tuple[FrozenTile, ...]
    spec: CubeSpec
    model: Mapping[str, Any]
    """The model in `run.json`: id, sha256, item_sha256; of an ensemble its items likewise."""
    references: tuple[str, ...]
    """The model item, or those of an ensemble, as written in the workflow."""
    threshold: float | None
    """Of the workflow; None = the model item's."""
    folder: Path | None
    """Folder that relative paths of the workflow start from; None = not recorded."""

    @classmethod
    def of(cls, run: Path | str) -> FrozenRun:
        """Open a run directory; no pixel is read.

        Raises:
            StoreError: it is no run directory, or a damaged one.
            AreaError: the file of its area cannot be read, or has changed.
        """
        path = place(run)
        content = store.read_json(path / "run.json")
        try:
            workflow = content["workflow"]
            folder = Path(content["folder"]) if "folder" in content else None
            frozen = thaw(store.read_json(path / "items.json"))
            heights = Terrain.from_json(content["terrain"]) if "terrain" in content else None
            area = _area(path, content, folder)
            return cls(
                path=path,
                name=content["name"],
                tiles=tuple(
                    _tile(tile, content["tiles"][tile.name], area, heights)
                    for tile in frozen
                    # If only its footprint meets the area, a tile was not planned.
                    if tile.name in content["tiles"]
                ),
                spec=with_items_in(read_spec(CubeSpec, workflow["cube"]), folder or Path()),
                model=content["model"],
                references=tuple(workflow["model"].get("items") or [workflow["model"]["item"]]),
                threshold=workflow["change"]["threshold"],
                folder=folder,
            )
        except (KeyError, TypeError, SpecError) as error:
            raise StoreError(
                f"{path / 'run.json'}: not what lspipe writes ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}); expected a run of this or an earlier "
                "version"
            ) from error

    def item(self) -> ModelItem:
        """Read the model item of the run; of an ensemble all of them, as one.

        Raises:
            ModelError: an item is missing, or is not the one of the run.
        """
        for name in self.references:
            is_found_anywhere = name.startswith(SHIPPED_PREFIX) or Path(name).is_absolute()
            if not is_found_anywhere and self.folder is None:
                raise ModelError(
                    f"{self.path}: {FROM_AN_EARLIER_VERSION} the folder of the model item "
                    f"{name}: give the item (item=...)"
                )
        item = read_model(self.references, self.folder or Path())
        self.check_model(item)
        return item

    def check_model(self, item: ModelItem) -> None:
        """Refuse an item that is not the one of the run, nor one of its ensemble.

        Raises:
            ModelError: another sha256.
        """
        expected = self.model["item_sha256"]
        members = {one["item_sha256"] for one in self.model.get("items", ())}
        if item.item_sha256 not in {expected, *members}:
            raise ModelError(
                f"{item.path}: the run {self.path} was made with {self.model['id']} of sha256 "
                f"{expected[:12]}..., this item has {item.item_sha256[:12]}...; restore that item"
            )

    def read(
        self, tile: FrozenTile, step: Step, bands: Sequence[str], part: Part
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Read a part of a tile; pixels equal those of the cube of the run bit for bit.

        Only the part is read: the chunks of a run are whole blocks of hundreds of windows.

        Args:
            tile: of `tiles`.
            step: of its steps.
            bands: canonical names; a pixel without data in one of them is not observed. Where they
                name dates, the step after holds both; of the step before, the bands of that date.
            part: rows and columns inside the tile.

        Returns:
            int16 (band, y, x), value = code x step of the channel, -32768 = no data; uint8 (y, x),
            bits of `schema.Quality`, 0 = observed.

        Raises:
            SamplesError: the scenes of the run lack a band, or the run knows no terrain, or reads
                no radar.
            LoadError: a read failed.
        """
        # The rim of a cloud outside the part may lie inside; and what a mask answers depends on all
        # that its windows hold.
        masks = sources(self.spec.mask)
        reach = self.spec.mask.dilate_px + max(map(reach_of, masks), default=0)
        wide = grown(part, reach, tile.geobox.shape)
        grid = tile.geobox[wide]
        scenes = tuple(band for band in bands if source_of(band) == "scenes")
        rows, columns = grid.shape
        ground = self._ground(tile, bands, wide)
        if not is_baseline(bands, step.role):
            ground = {**ground, **self._backscatter(tile, step, bands, wide)}
        opened = open_dates(
            step,
            tile.steps,
            grid,
            channels=bands,
            bands=bands_on(bands, step.role),
            radiometry=self._radiometry(
                tile,
                tile.steps if is_pair(bands) else (step,),
                (*scenes, *mask_bands(masks)),
            ),
            spec=self.spec,
            chunks=((rows,), (columns,)),
            place=Place((wide[0].start, wide[1].start), tile.geobox.shape),
            layers=ground,
        )
        names = list(bands_on(bands, BEFORE) if is_baseline(bands, step.role) else bands)
        layers = (
            opened["reflectance"].sel(band=names),
            *(opened[name] for name in ("quality", OTHER_QUALITY) if name in opened),
        )
        pixels, *quality = dask.compute(*(layer.data for layer in layers))
        inner = relative(part, (wide[0].start, wide[1].start))
        return pixels[:, *inner], np.bitwise_or.reduce(quality)[inner]

    def _ground(self, tile: FrozenTile, bands: Sequence[str], part: Part) -> Mapping[str, da.Array]:
        """Read the channels of terrain of a part of a tile."""
        names = [band for band in bands if source_of(band) == "terrain"]
        if not names:
            return {}
        if tile.terrain is None:
            raise SamplesError(
                f"{self.path}: {', '.join(names)}: the run knows no terrain; choose a recipe or "
                "model without, or a run whose workflow has the section terrain"
            )
        return terrain.part_layers(tile.terrain, tile.geobox, part, names)

    def _backscatter(
        self, tile: FrozenTile, step: Step, bands: Sequence[str], part: Part
    ) -> Mapping[str, da.Array]:
        """Open the channels of radar of a part of a tile."""
        names = [band for band in bands if source_of(band) == "radar"]
        if not names:
            return {}
        if tile.radar is None:
            raise SamplesError(
                f"{self.path}: {', '.join(names)}: the run reads no radar on {tile.name}; choose a "
                "recipe or model without, or a run whose workflow has the section radar"
            )
        rows, columns = part
        return radar_layers(
            tile.radar,
            tile.geobox,
            names,
            ((rows.stop - rows.start,), (columns.stop - columns.start,)),
            role=step.role,
            origin=(rows.start, columns.start),
        )

    def range_of(self, tile: FrozenTile, step: Step, bands: Sequence[str]) -> NDArray[np.float32]:
        """Read a whole tile and return its range for `tile-minmax`; it equals that of the run.

        Args:
            tile: of `tiles`.
            step: of its steps.
            bands: canonical names; a pixel without data in one of them is not observed.

        Returns:
            float32 (band, 2), lowest and highest observed reflectance; NaN if nothing was observed.

        Raises:
            SamplesError: the scenes of the run lack a band.
            LoadError: a read failed.
        """
        rows, columns = tile.geobox.shape
        low, high = np.full((2, len(bands)), np.nan, np.float32)
        for first in range(0, rows, _STRIP):
            strip = slice(first, min(first + _STRIP, rows)), slice(0, columns)
            pixels, quality = self.read(tile, step, bands, strip)
            lowest, highest = observed_range(pixels, quality != 0, bands=bands).T
            low, high = np.fmin(low, lowest), np.fmax(high, highest)
        return np.stack([low, high], axis=1)

    def _radiometry(
        self, tile: FrozenTile, steps: Sequence[Step], bands: Sequence[str]
    ) -> dict[tuple[str, str], Radiometry]:
        """Return decisions for the bands, also those that the run did not load."""
        table = dict(tile.radiometry)
        for date, scene in ((step.role, scene) for step in steps for scene in step.items):
            names = bands_on(bands, date)
            assets = catalogs.band_assets(scene)
            lacking = [band for band in names if band not in assets]
            if lacking:
                raise SamplesError(
                    f"{self.path}: {', '.join(lacking)}: not in {scene.id} of tile {tile.name}, "
                    f"which has {', '.join(sorted(assets))}; choose a recipe or model without "
                    "them, or a run of a collection that has them"
                )
            for band in names:
                key = scene.id, assets[band]
                if key not in table:
                    table[key] = _decided(scene, assets[band], tile)
        return table


def _decided(scene: Any, asset: str, tile: FrozenTile) -> Radiometry:
    """Decide by metadata, else take the decision that the run made from pixels of the item.

    ESA's offset is the same for all bands of a product.
    """
    decision = preprocess.radiometry(scene, asset)
    if decision.offset is not None and not preprocess.rests_on_baseline(scene, asset):
        return decision
    for (item, _), known in sorted(tile.radiometry.items()):
        if item == scene.id:
            return known
    raise SamplesError(f"{asset} of {scene.id}: run.json has no offset of this item")


def _tile(
    tile: Tile, decided: Mapping[str, Any], area: Area, heights: Terrain | None
) -> FrozenTile:
    inside = AreaOnGrid(area, tile.geobox)
    return FrozenTile(
        name=tile.name,
        geobox=tile.geobox,
        area=None if inside.known().is_everywhere() else inside,
        steps=recorded_steps(tile, decided),
        radiometry=recorded_radiometry(decided),
        terrain=heights,
        radar=recorded_radar(decided),
    )


def _area(path: Path, content: Mapping[str, Any], folder: Path | None) -> Area:
    """Read the area of a run, and refuse it if it has changed."""
    spec = read_spec(AreaSpec, content["workflow"]["aoi"])
    if spec.file is not None and folder is None and not Path(spec.file).is_absolute():
        raise StoreError(
            f"{path}: {FROM_AN_EARLIER_VERSION} the folder of its area, "
            f"{spec.file}: plan the workflow again, into another output"
        )
    area = read_area(spec, folder or Path())
    if area.facts() != content["detection_inputs"]["area"]:
        raise StoreError(
            f"{path}: its area, {area.source}, has changed since the plan; restore "
            "that file, or plan the workflow again"
        )
    return area
