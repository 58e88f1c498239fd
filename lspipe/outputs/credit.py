"""What every output says of itself: the notice of the data's licence, and whether it is partial."""

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


def notice(run: Run) -> str:
    """Return the credit; of a run that is not finished with the words that its list is partial."""
    state = run.record.get("state", "finished")
    if state == "finished":
        return credit(run)
    return (
        f"PARTIAL: the run is {state}; what it has not computed is among the areas that were not "
        f"observed. {credit(run)}"
    )
