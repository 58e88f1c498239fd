"""One time step of a tile -> its cube: whole and lazy, or a part of it, read, with equal pixels.

A part is read by itself, so that a block is read by one task. What decides a pixel may lie outside
of the part, such as a cloud whose rim reaches into it; as much is read around it, and cut off.

The ground belongs to no date: what two steps need of it alike may be read once, for both.
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

    Ground = Mapping[str, Layers]
    """Codes of the terrain of a part, int16 (y, x) by name."""


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

    def part(self, part: Part, ground: Ground | None = None) -> xr.Dataset:
        """Read rows and columns of the tile: NumPy arrays, whose pixels are those of the whole.

        Args:
            part: the rows and columns.
            ground: what `ground` gave of them; None = it is read.

        Raises:
            LoadError: a read failed.
        """
        wide = self._wide(part)
        opened = self._open(wide, None, ground)
        inner = relative(part, (wide[0].start, wide[1].start))
        return opened.isel(y=inner[0], x=inner[1])

    @property
    def ground_channels(self) -> tuple[str, ...]:
        """What is read of the terrain: channels of the model, and what the mask is made of."""
        if self.terrain is None:
            return ()
        mask = () if self.min_slope_deg is None else (HILLSIDE,)
        return tuple(dict.fromkeys((*self._of_model(self.layers), *mask)))

    def ground(self, part: Part) -> Ground:
        """Read what decides a part of the tile of its terrain, with what is around.

        Returns:
            By name of `ground_channels` int16 codes (y, x).

        Raises:
            LoadError: a read failed.
        """
        return self._layers_of_ground(self._wide(part), None)

    def _wide(self, part: Part) -> Part:
        return grown(part, self._reach, self.geobox.shape)

    @property
    def _reach(self) -> int:
        """How far from a pixel lies what decides it: rims of clouds, and windows of masks."""
        masks = sources(self.spec.mask)
        return self.spec.mask.dilate_px + max(map(reach_of, masks), default=0)

    def _open(self, part: Part, chunks: Chunks | None, ground: Ground | None = None) -> xr.Dataset:
        found = self._layers_of_ground(part, chunks) if ground is None else ground
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
            layers={
                **{name: found[name] for name in self._of_model(self.layers) if name in found},
                **self._backscatter(part, chunks),
            },
            left_out=self._left_out(found),
        )

    def _left_out(self, ground: Ground) -> Layers | None:
        """Return where the ground is too gentle to run anything; None where it does not matter."""
        limit = self.min_slope_deg
        return is_gentle(ground[HILLSIDE], limit) if limit is not None and ground else None

    def _layers_of_ground(self, part: Part, chunks: Chunks | None) -> Ground:
        if self.terrain is None:
            return {}
        return self._beside(terrain, self.terrain, self.ground_channels, part, chunks)

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
