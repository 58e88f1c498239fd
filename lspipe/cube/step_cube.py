"""One time step of a tile -> its cube: whole and lazy, or a part of it, read, with equal pixels.

A part is read by itself, so that a block is read by one task. What decides a pixel may lie outside
of the part, such as a cloud whose rim reaches into it; as much is read around it, and cut off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lspipe.cube import radar, terrain
from lspipe.cube.masking import Place, reach_of
from lspipe.cube.pairs import is_baseline, open_dates
from lspipe.cube.terrain import HILLSIDE
from lspipe.preprocess.masks import sources
from lspipe.schema import CHANNELS, CUBE_NODATA, grown, relative

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from odc.geo.geobox import GeoBox

    from lspipe.cube.choice import Step
    from lspipe.cube.kernels import Layers
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
        """Open the whole tile, lazily; see `open_dates`."""
        rows, columns = self.geobox.shape
        return self._open((slice(0, int(rows)), slice(0, int(columns))), chunks)

    def part(self, part: Part) -> xr.Dataset:
        """Read rows and columns of the tile: NumPy arrays, whose pixels are those of the whole.

        Raises:
            LoadError: a read failed.
        """
        wide = grown(part, self._reach, self.geobox.shape)
        opened = self._open(wide, None)
        inner = relative(part, (wide[0].start, wide[1].start))
        return opened.isel(y=inner[0], x=inner[1])

    @property
    def _reach(self) -> int:
        """How far from a pixel lies what decides it: rims of clouds, and windows of masks."""
        masks = sources(self.spec.mask)
        return self.spec.mask.dilate_px + max(map(reach_of, masks), default=0)

    def _open(self, part: Part, chunks: Chunks | None) -> xr.Dataset:
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

    def _ground(self, part: Part, chunks: Chunks | None) -> tuple[dict[str, Layers], Layers | None]:
        """Open the channels of terrain, and where the ground is too gentle to run anything."""
        if self.terrain is None:
            return {}, None
        limit = self.min_slope_deg
        names = dict.fromkeys(self._of_model(self.layers) + (() if limit is None else (HILLSIDE,)))
        found = self._beside(terrain, self.terrain, tuple(names), part, chunks)
        left_out = None if limit is None else is_gentle(found[HILLSIDE], limit)
        return {name: found[name] for name in self._of_model(self.layers)}, left_out

    def _backscatter(self, part: Part, chunks: Chunks | None) -> dict[str, Layers]:
        """Open the channels of radar."""
        if self.radar is None:
            return {}
        names = self._of_model(self.backscatter)
        return self._beside(radar, self.radar, names, part, chunks, role=self.step.role)

    def _of_model(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return which channels are opened: none where no network runs."""
        return () if is_baseline(self.channels, self.step.role) else names

    def _beside(
        self,
        module: Any,
        source: Terrain | Radar,
        names: tuple[str, ...],
        part: Part,
        chunks: Chunks | None,
        **how: str,
    ) -> dict[str, Layers]:
        """Open channels by `terrain` or `radar`: of the whole tile lazily, of a part now."""
        if not names:
            return {}
        if chunks is None:
            codes = module.read(source, self.geobox, part, names, **how)
            return dict(zip(names, codes, strict=True))
        found: dict[str, Layers] = module.layers(source, self.geobox, names, chunks, **how)
        return found


def is_gentle(slope: Layers, min_slope_deg: float) -> Layers:
    """Return where codes of slope are known to be below a limit; bool, like `slope`."""
    limit = round(min_slope_deg / CHANNELS["slope"].step)
    return (slope != CUBE_NODATA) & (slope < limit)
