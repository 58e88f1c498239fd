"""Folders of Sen12Landslides: `s2/REGION_s2_N.nc`, and `s1asc/`, `s1dsc/` beside it.

Each patch gives one image: of the date after its event, or of both dates where the recipe names
them ("before:B04"). `patch_file.py` says which dates these are, and what the numbers mean. Radar is
of the ascending pass where there is one, else of the descending one. A patch without an annotated
event holds no landslide.

`splits.json` in the folder says which patches are trained on and which are tested on (`parts.py`);
patches that it does not list are left out. Chips that lspipe cuts from a run are such a folder too
(`chip_files.py`).

The height of these patches is in whole metres: a slope of it would have steps of 3 degrees, so none
is made.

Source: github.com/PaulH97/Sen12Landslides (README: Data Structure, Data Record).
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lspipe.errors import SamplesError, first_few
from lspipe.inference.observed import observed
from lspipe.models.recipes import recipe_of
from lspipe.samples import Samples
from lspipe.samples.parts import name_of, read_parts
from lspipe.samples.patch_file import PatchFile, open_patch
from lspipe.samples.units import check_scaling, in_units_of
from lspipe.schema import AFTER, IGNORED, source_of, split_channel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lspipe.models.recipes import Level, Recipe
    from lspipe.samples import Pair
    from lspipe.samples.parts import Parts

OPTICAL = "s2"

RADAR = ("s1asc", "s1dsc")
"""Folders of radar, in the order in which they are looked at."""


def folder(path: str | Path, recipe: str = "sen12") -> Samples:
    """Find the patches of a folder; of the first one it is looked which channels it has.

    Args:
        path: holds `s2/`, and `s1asc/` or `s1dsc/` where the recipe has radar.
        recipe: its channels and units are those of the result.

    Raises:
        SamplesError: no such folder, two files of one name; a recipe whose channels the patches do
            not hold, or whose scaling no patch can have; a list of parts that names patches that
            are not there, or one twice; when read: an event that is not between two dates, numbers
            of another unit, a mask of other values, files of one patch that lie elsewhere.
        UsageError: no such recipe.
        MissingExtra: h5py is not installed.
    """
    root, wanted = Path(path), recipe_of(recipe)
    check_scaling(wanted, f"{root}: patches of Sen12Landslides")
    files = {sensor: _named(root / sensor) for sensor in (OPTICAL, *RADAR)}
    parts = read_parts(root)
    names = _listed(root, files[OPTICAL], parts)
    if not names:
        return Samples(str(root), wanted, (), _nothing)

    def read(name: str) -> Pair:
        return _read(_files(name, files, wanted), wanted)

    level = _looked_at(_files(names[0], files, wanted), wanted)
    regions = {name: name.rpartition("_")[0] or name for name in names}
    return Samples(
        str(root),
        wanted,
        names,
        read,
        regions=regions if parts is None else {**regions, **_of(parts.region, names)},
        level=level,
        parts=None if parts is None else _of(parts.part, names),
    )


# --- which patches ------------------------------------------------------------------------------


def _named(folder: Path) -> dict[str, Path]:
    """Return the files of a sensor by the name of their patch; of archives, one folder down too."""
    named: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.nc")):
        name = name_of(path.name)
        if name in named:
            raise SamplesError(f"{path}: {named[name]} is of the patch {name} already")
        named[name] = path
    return named


def _listed(root: Path, found: Mapping[str, Path], parts: Parts | None) -> tuple[str, ...]:
    """Return the names of the patches, neighbours beside each other: by region, then by number."""
    wanted = found if parts is None else parts.part
    absent = [name for name in wanted if name not in found]
    if parts is not None and absent:
        raise SamplesError(
            f"{parts.file}: {first_few(absent)}: not in {root / OPTICAL} ({len(absent)} of "
            f"{len(wanted)} patches): fetch them, or take them off the list"
        )
    return tuple(sorted(wanted, key=_place))


def _place(name: str) -> tuple[str, int, str]:
    region, _, number = name.rpartition("_")
    return region, int(number) if number.isdigit() else 0, number


def _of(known: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: known[name] for name in names if name in known}


def _nothing(name: str) -> Pair:
    raise SamplesError(f"no patch {name!r}")


# --- what is in a patch -------------------------------------------------------------------------


def _files(name: str, files: Mapping[str, Mapping[str, Path]], wanted: Recipe) -> list[Path]:
    """Return the files of a patch that a recipe may need: optics, and radar if it has a channel."""
    found = [files[OPTICAL][name]]
    if any(source_of(channel) == "radar" for channel in wanted.channels):
        found += [files[sensor][name] for sensor in RADAR if name in files[sensor]][:1]
    return found


def _looked_at(paths: list[Path], wanted: Recipe) -> Level:
    """Return the level of the first patch, after a look at which channels it has."""
    with ExitStack() as stack:
        opened = [stack.enter_context(open_patch(path)) for path in paths]
        for channel in wanted.channels:
            _holder(opened, channel, wanted)
        return opened[0].level


def _holder(opened: list[PatchFile], channel: str, wanted: Recipe) -> PatchFile:
    """Return the file that holds a channel."""
    for file in opened:
        if file.has(channel):
            return file
    lacking = [each for each in wanted.channels if not any(file.has(each) for file in opened)]
    hint = (
        "take patches that have radar too (splits_aligned.json)"
        if source_of(channel) == "radar"
        else "choose a recipe without, such as sen12 or sen12-dem"
    )
    raise SamplesError(
        f"{opened[0].path}: recipe {wanted.name} needs {', '.join(lacking)}, which the patch "
        f"lacks; {hint}"
    )


def _read(paths: list[Path], wanted: Recipe) -> Pair:
    """Read an image in the units of the recipe, and its labels."""
    with ExitStack() as stack:
        opened = [stack.enter_context(open_patch(path)) for path in paths]
        _check_same_place(opened)
        optics = opened[0]
        dates = _dates(wanted)
        for date in dates:
            optics.check_offset(date)
        pixels = np.stack([_holder(opened, each, wanted).channel(each) for each in wanted.channels])
        hidden = np.any([optics.hidden(date) for date in dates], axis=0)
        labels = optics.labels()
    labels[~observed(pixels, hidden)] = IGNORED
    return in_units_of(wanted, pixels, paths[0]), labels


def _dates(wanted: Recipe) -> tuple[str, ...]:
    """Return the dates of the optical channels, "after" among them in any case."""
    named = [
        split_channel(channel)[0] or AFTER
        for channel in wanted.channels
        if source_of(channel) == "scenes"
    ]
    return tuple(dict.fromkeys([*named, AFTER]))


def _check_same_place(opened: list[PatchFile]) -> None:
    """Refuse files of one patch that lie in different places."""
    first = opened[0]
    for other in opened[1:]:
        for axis in ("x", "y"):
            ours, theirs = (file.along(axis) for file in (first, other))
            if ours.shape != theirs.shape or np.abs(ours - theirs).max(initial=0) > 1:
                raise SamplesError(
                    f"{other.path}: lies elsewhere along {axis} than {first.path}, or is of "
                    "another size: expected the same pixels"
                )
