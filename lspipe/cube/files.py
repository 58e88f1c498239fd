"""Files of a tile's scenes -> what each declares of its pixels, read before a run is planned."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lspipe.catalogs import band_assets
from lspipe.cube.loaders.source import look, sources_of
from lspipe.cube.loaders.together import read_together

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pystac
    from odc.geo.geobox import GeoBox

    from lspipe.cube.loaders.declared import Declared
    from lspipe.cube.spec import CubeSpec


def declared(
    items: Iterable[pystac.Item], bands: tuple[str, ...], geobox: GeoBox, spec: CubeSpec
) -> dict[tuple[str, str], Declared]:
    """Look at the headers of all files that a tile needs.

    Args:
        items: scenes of the tile.
        bands: canonical names; those that an item lacks are left out.
        geobox: the tile's grid.
        spec: what a failed read is.

    Returns:
        What each file declares, per (item id, asset key). Files that cannot be opened are left out:
        the block that needs them names them.

    Raises:
        UnfitAsset: a file holds what lspipe cannot take.
        UsageError: an item is in another CRS than the grid.
    """
    sources = [
        source
        for item in items
        for source in sources_of(
            item,
            {band: key for band, key in band_assets(item).items() if band in bands},
            geobox,
            spec.on_read_error,
        ).values()
    ]
    found = read_together(partial(look, grid=geobox), sources, (source.href for source in sources))
    return {
        (source.item, source.asset): header
        for source, header in zip(sources, found, strict=True)
        if header is not None
    }
