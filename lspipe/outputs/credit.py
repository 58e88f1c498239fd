"""The notice that the licence of Sentinel data asks for; every output carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lspipe.outputs import Run


def credit(run: Run) -> str:
    """Return the notice, with the years of the scenes.

    Source: Legal notice on the use of Copernicus Sentinel Data and Service Information, European
    Commission.
    """
    steps = [step for tile in run.record["tiles"].values() for step in tile["steps"]]
    years = ", ".join(sorted({str(step["time"])[:4] for step in steps}))
    return f"Contains modified Copernicus Sentinel data {years}".rstrip() + ", processed by lspipe"
