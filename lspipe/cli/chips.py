"""`lspipe model chips`: a run and an inventory -> a folder of patches, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe.cli.text import counted, entry, show
from lspipe.samples.splits import FOLDS

if TYPE_CHECKING:
    import argparse

    from lspipe.samples.chip_files import Written


def chips(options: argparse.Namespace) -> int:
    """Write labelled patches of a run over an inventory."""
    from lspipe.samples.chip_files import write_chips

    written = write_chips(
        options.run,
        options.labels,
        options.to,
        layout=options.layout,
        window=options.window,
        bands=options.bands,
        background=options.background,
        seed=options.seed,
        group=options.group,
    )
    show(options, written.as_json(), lambda: _text(written))
    return 0


def _text(written: Written) -> str:
    patches = counted(written.patches, "patch", "patches")
    lines = [
        f"wrote {written.folder}",
        *entry("patches", f"{patches}, {written.with_landslides} with landslides"),
        *entry("channels", ", ".join(written.channels)),
        *entry("regions", f"{written.regions} (regions.csv)"),
    ]
    if written.outside:
        outside = counted(written.outside, "polygon lies", "polygons lie")
        lines += entry("outside", f"{outside} outside of the area of the run, and in no patch")
    if written.left_out:
        left = counted(written.left_out, "patch", "patches")
        lines += entry("left out", f"{left}: not wholly observed, or of two regions")
    apart = " --split blocks" if written.regions >= FOLDS else ""
    return "\n".join([*lines, f"next: lspipe model train --data {written.folder}{apart}"])
