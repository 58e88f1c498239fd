"""One time step of a tile -> its cube: whole and lazy, or a part of it, read, with equal pixels.

A part is read by itself, so that a block is read by one task. What decides a pixel may lie outside
of the part, such as a cloud whose rim reaches into it; as much is read around it, and cut off.

The ground belongs to no date: what two steps need of it alike may be read once, for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lspipe.cube import radar, terrain
from lspipe.cube.kernels import Unread
from lspipe.cube.masking import Place, reach_of
from lspipe.cube.pairs import is_baseline, open_dates
from lspipe.cube.terrain import HILLSIDE
from lspipe.preprocess.masks import sources
from lspipe.schema import CHANNELS, CUBE_NODATA, grown, relative

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray
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
        is_masked = self.terrain is not None and self.min_slope_deg is not None
        if chunks is not None or (is_masked and ground is None):
            ground = self._layers_of_ground(part, chunks)
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
            layers=self._beside(part, chunks, ground),
            left_out=self._left_out(ground) if is_masked and ground else None,
        )

    def _left_out(self, ground: Ground) -> Layers | None:
        """Return where the ground is too gentle to run anything."""
        limit = self.min_slope_deg
        return None if limit is None else is_gentle(ground[HILLSIDE], limit)

    def _layers_of_ground(self, part: Part, chunks: Chunks | None) -> Ground:
        names = self.ground_channels
        if self.terrain is None or not names:
            return {}
        if chunks is not None:
            return terrain.layers(self.terrain, self.geobox, names, chunks)
        return dict(zip(names, terrain.read(self.terrain, self.geobox, part, names), strict=True))

    def _beside(
        self, part: Part, chunks: Chunks | None, ground: Ground | None
    ) -> Mapping[str, Layers] | Unread:
        """Open the channels beside the scenes: of the whole tile lazily; of a part, to be read."""
        of_ground = () if self.terrain is None else self._of_model(self.layers)
        of_radar = () if self.radar is None else self._of_model(self.backscatter)
        if chunks is None:
            fill = partial(self._fill, part, ground, of_ground, of_radar)
            return Unread((*of_ground, *of_radar), fill)
        found = {name: ground[name] for name in of_ground} if ground else {}
        if self.radar is not None and of_radar:
            role = self.step.role
            found |= radar.layers(self.radar, self.geobox, of_radar, chunks, role=role)
        return found

    def _fill(
        self,
        part: Part,
        ground: Ground | None,
        of_ground: tuple[str, ...],
        of_radar: tuple[str, ...],
        out: NDArray[np.int16],
    ) -> None:
        """Read channels beside the scenes into (channel, y, x)."""
        first, second = out[: len(of_ground)], out[len(of_ground) :]
        if ground is not None:
            for layer, name in zip(first, of_ground, strict=True):
                layer[:] = ground[name]
        elif self.terrain is not None and of_ground:
            terrain.read(self.terrain, self.geobox, part, of_ground, out=first)
        if self.radar is not None and of_radar:
            radar.read(self.radar, self.geobox, part, of_radar, role=self.step.role, out=second)

    def _of_model(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return which channels are opened: none where no network runs."""
        return () if is_baseline(self.channels, self.step.role) else names


def is_gentle(slope: Layers, min_slope_deg: float) -> Layers:
    """Return where codes of slope are known to be below a limit; bool, like `slope`."""
    limit = round(min_slope_deg / CHANNELS["slope"].step)
    return (slope != CUBE_NODATA) & (slope < limit)
