"""The objects that the report has no room for -> their pictures at full resolution, in a folder.

Two files each, `ID_before.webp` and `ID_after.webp`; the report shows them where it finds the
folder beside it. Not written by default: 20,000 objects are 150 MB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe.outputs.report.chips import FOLDER, INSIDE, chips_of, file_name
from lspipe.outputs.report.pictures import webp
from lspipe.outputs.report.rows import listed

if TYPE_CHECKING:
    from pathlib import Path

    from lspipe.outputs import Run

FILE = FOLDER

_AT_A_TIME = 300
"""Objects whose pixels are held in memory together: about 30 MB."""


def write(run: Run, path: Path) -> None:
    """Write the pictures of all objects after the first `INSIDE`; see `lspipe.outputs`.

    Without such objects, the folder stays empty.
    """
    path.mkdir()
    rest = listed(run).iloc[INSIDE:]
    for first in range(0, len(rest), _AT_A_TIME):
        some = rest.iloc[first : first + _AT_A_TIME]
        for name, chip in zip(some["id"], chips_of(run, some), strict=True):
            for role, pixels in ({} if chip is None else chip.pictures).items():
                if (file := file_name(name, role)) is not None:
                    (path / file).write_bytes(webp(pixels, quality=85))
