"""The list of parts of a set, `splits.json` -> which patch is trained on, watched and tested on.

The list is that of Sen12Landslides: patches under "train", "val" and "test", each with its `id` and
`inventory`, or as the path of its file.

    {"train": [{"id": "italy_6982", "s2": "s2/italy_s2_6982.nc", "inventory": "italy"}], ...}

Source: github.com/PaulH97/Sen12Landslides (tasks/*/S12LS-LD).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from lspipe.errors import SamplesError, first_few

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lspipe.samples import Samples

TRAIN, WATCHED, TEST = PARTS = ("train", "val", "test")
"""To train on, to choose the epoch on, and never to train on."""

PLACES = ("splits.json", "splits_aligned.json", "s2/splits.json")
"""Where a list may lie in a folder of patches; one of them is expected at most."""

_SENSOR = re.compile(r"_(s1asc|s1dsc|s2)(?=_|$)")


@dataclass(frozen=True)
class Parts:
    """What a list says of its patches."""

    file: Path
    part: Mapping[str, str]
    """Part of each patch, one of `PARTS`."""
    region: Mapping[str, str]
    """Region of each patch that has one."""


def name_of(file: str) -> str:
    """Return the name of a patch from that of one of its files, which names a sensor too.

    >>> name_of("s2/italy_s2_6982.nc")
    'italy_6982'
    """
    return _SENSOR.sub("", PurePosixPath(file).name.removesuffix(".nc"), count=1)


def read_parts(folder: Path) -> Parts | None:
    """Read the list of a folder; None if it has none.

    Raises:
        SamplesError: several lists; not such a list; a patch in two parts, by name.
    """
    found = [folder / place for place in PLACES if (folder / place).exists()]
    if not found:
        return None
    if len(found) > 1:
        raise SamplesError(
            f"{folder}: found {' and '.join(str(each.relative_to(folder)) for each in found)}: "
            "expected one list of parts"
        )
    listed = {part: _patches(found[0], part, given) for part, given in _content(found[0]).items()}
    _check_apart(found[0], listed)
    return Parts(
        file=found[0],
        part={name: part for part, patches in listed.items() for name in patches},
        region={
            name: region
            for patches in listed.values()
            for name, region in patches.items()
            if region
        },
    )


def in_part(samples: Samples, part: str) -> Samples:
    """Return the patches of a part; all of them if no parts are known.

    Args:
        samples: of a folder.
        part: one of `PARTS`.
    """
    return samples if samples.parts is None else samples.of_part(part)


def _content(file: Path) -> dict[str, list[Any]]:
    try:
        content: dict[str, list[Any]] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SamplesError(f"{file}: not a readable list of parts ({error})") from error
    is_list = isinstance(content, dict) and all(isinstance(each, list) for each in content.values())
    if not is_list or not content or set(content) - set(PARTS):
        named = ", ".join(map(str, content)) if isinstance(content, dict) else "no object"
        raise SamplesError(
            f"{file}: found {named or 'nothing'}: expected lists of patches under "
            f"{', '.join(PARTS)}"
        )
    return content


def _patches(file: Path, part: str, given: list[Any]) -> dict[str, str]:
    """Return the patches of a part with their regions ("" = not said)."""
    found: dict[str, str] = {}
    for number, entry in enumerate(given):
        fields = entry if isinstance(entry, dict) else {"id": name_of(str(entry))}
        name = fields.get("id")
        if not isinstance(name, str) or not name:
            raise SamplesError(f"{file}: {part}, entry {number}: no id: expected that of a patch")
        if name in found:
            raise SamplesError(f"{file}: {part}: {name} is listed twice")
        found[name] = str(fields.get("inventory", ""))
    return found


def _check_apart(file: Path, listed: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse a patch in two parts: a score of what was trained on is none."""
    for one, other in combinations(listed, 2):
        shared = [name for name in listed[one] if name in listed[other]]
        if shared:
            raise SamplesError(
                f"{file}: {first_few(shared)}: under {one} and under {other} ({len(shared)} "
                "patches): expected each in one part"
            )
