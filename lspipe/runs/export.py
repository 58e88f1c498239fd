"""A run directory -> pictures of it for other programs: no network, no inference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lspipe.errors import StoreError, UsageError
from lspipe.machine import check_folder
from lspipe.outputs.cog import write_map
from lspipe.runs import store
from lspipe.runs.opened import open_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lspipe.runs.opened import Run

KINDS = ("cog",)
"""What a run can be exported to."""


def export(
    run: Path | str, *, to: Sequence[str] = KINDS, folder: Path | str | None = None
) -> list[Path]:
    """Write the pictures of a run: true colour before and after of every tile, as COGs.

    Args:
        run: run directory, of a run that is finished or not.
        to: names of `KINDS`.
        folder: where to write; None = `layers` in the run directory. Made if it is not there; files
            of the same names are replaced.

    Returns:
        The files, `TILE_before.tif` and `TILE_after.tif` for each tile: red, green and blue, uint8,
        0 = no data, 1 to 255 = reflectance 0 to 0.3, in the tile's own UTM zone.

    Raises:
        UsageError: another kind, or a folder that cannot be written.
        StoreError: no run directory, or nothing was computed yet.

    Examples:
        >>> from lspipe.runs.export import export
        >>> export("runs/demo")  # doctest: +SKIP
        [PosixPath('runs/demo/layers/18GYS_before.tif'), ...]
    """
    unknown = [kind for kind in to if kind not in KINDS]
    if unknown:
        raise UsageError(f"to: found {', '.join(unknown)}: expected {', '.join(KINDS)}")
    opened = open_run(run)
    check_folder(opened.path / store.LAYERS if folder is None else folder)
    target = opened.path / store.LAYERS if folder is None else Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        return [path for tile in opened.tiles for path in _pictures(opened, tile, target)]
    except OSError as error:
        raise UsageError(
            f"{target}: cannot be written: {error.strerror or error}; choose another folder"
        ) from error


def _pictures(run: Run, tile: str, target: Path) -> list[Path]:
    maps = run[tile]
    if "true_colour" not in maps:
        raise StoreError(
            f"{run.path}: holds no pictures of tile {tile} yet; run its workflow first"
        )
    written = []
    for index, step in enumerate(run.record["tiles"][tile]["steps"]):
        scenes = ", ".join(item for acquisition in step["acquisitions"] for item in acquisition)
        written.append(
            write_map(
                maps["true_colour"].isel(time=index),
                target / f"{tile}_{step['role']}.tif",
                overviews="average",
                tags={"TIFFTAG_IMAGEDESCRIPTION": f"{step['role']}: {scenes}, {step['time']}"},
            )
        )
    return written
