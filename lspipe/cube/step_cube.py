"""One time step of a tile -> its lazy cube: whole, in chunks, or a part of it with equal pixels.

A part is read by itself, so that a block is read by one task. What decides a pixel may lie outside
of the part, such as a cloud whose rim reaches into it; as much is read around it, and cut off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lspipe.cube.masking import Place, reach_of
from lspipe.cube.pairs import open_dates
from lspipe.cube.radar import layers as radar_layers
from lspipe.cube.terrain import HILLSIDE
from lspipe.cube.terrain import layers as terrain_layers
from lspipe.preprocess.masks import sources
from lspipe.schema import CHANNELS, CUBE_NODATA, grown, relative

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dask.array as da
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from lspipe.cube.choice import Step
    from lspipe.cube.radar import Radar
    from lspipe.cube.scene import Chunks
    from lspipe.cube.spec import CubeSpec
    from lspipe.cube.terrain import Terrain
    from lspipe.preprocess import Radiometry
    from lspipe.schema import Part


@dataclass(frozen=True, kw_only=True)
class StepCube:
    """All that decides the pixels of one time step of a tile; small, and travels to workers."""

    step: Step
    steps: tuple[Step, ...]
    """Those that a model sees at this step: of a pair model the step before, too."""
    geobox: GeoBox
    """The tile's grid."""
    channels: tuple[str, ...]
    """Of the model, with their dates."""
    bands: tuple[str, ...]
    """To load of the scenes of the step."""
    radiometry: Mapping[tuple[str, str], Radiometry]
    spec: CubeSpec
    terrain: Terrain | None = None
    layers: tuple[str, ...] = ()
    """Channels of terrain."""
    min_slope_deg: float | None = None
    """Gentler ground is left out; None = none is."""
    radar: Radar | None = None
    backscatter: tuple[str, ...] = ()
    """Channels of radar."""

    def whole(self, chunks: Chunks) -> xr.Dataset:
        """Open the whole tile, see `open_dates`."""
        rows, columns = self.geobox.shape
        return self._open((slice(0, int(rows)), slice(0, int(columns))), chunks)

    def part(self, part: Part) -> xr.Dataset:
        """Open rows and columns of the tile in one chunk; pixels are those of the whole."""
        wide = grown(part, self._reach, self.geobox.shape)
        rows, columns = (span.stop - span.start for span in wide)
        opened = self._open(wide, ((rows,), (columns,)))
        inner = relative(part, (wide[0].start, wide[1].start))
        return opened.isel(y=inner[0], x=inner[1])

    @property
    def _reach(self) -> int:
        """How far from a pixel lies what decides it: rims of clouds, and windows of masks."""
        masks = sources(self.spec.mask)
        return self.spec.mask.dilate_px + max(map(reach_of, masks), default=0)

    def _open(self, part: Part, chunks: Chunks) -> xr.Dataset:
        ground, left_out = self._ground(part, chunks)
        return open_dates(
            self.step,
            self.steps,
            self.geobox[part],
            channels=self.channels,
            bands=self.bands,
            radiometry=self.radiometry,
            spec=self.spec,
            chunks=chunks,
            place=Place((part[0].start, part[1].start), self.geobox.shape),
            layers={**ground, **self._backscatter(part, chunks)},
            left_out=left_out,
        )

    def _ground(self, part: Part, chunks: Chunks) -> tuple[dict[str, da.Array], da.Array | None]:
        """Open the channels of terrain, and where the ground is too gentle to run anything."""
        if self.terrain is None:
            return {}, None
        limit = self.min_slope_deg
        wanted = self.layers if limit is None else (*self.layers, HILLSIDE)
        found = terrain_layers(
            self.terrain,
            self.geobox,
            tuple(dict.fromkeys(wanted)),
            chunks,
            origin=(part[0].start, part[1].start),
        )
        ground = {name: found[name] for name in self.layers}
        return ground, None if limit is None else is_gentle(found[HILLSIDE], limit)

    def _backscatter(self, part: Part, chunks: Chunks) -> dict[str, da.Array]:
        """Open the channels of radar."""
        if self.radar is None:
            return {}
        return radar_layers(
            self.radar,
            self.geobox,
            self.backscatter,
            chunks,
            role=self.step.role,
            origin=(part[0].start, part[1].start),
        )


def is_gentle(slope: da.Array, min_slope_deg: float) -> da.Array:
    """Return where codes of slope are known to be below a limit; bool, like `slope`."""
    limit = round(min_slope_deg / CHANNELS["slope"].step)
    return (slope != CUBE_NODATA) & (slope < limit)
