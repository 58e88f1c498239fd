"""New landslides as a table in the columns of NASA's landslide catalogue (COOLR): points.

Only what is known is filled in: what set a landslide off, its kind, and whom it harmed are not.
Source of the columns: Cooperative Open Online Landslide Repository, https://gpm.nasa.gov/landslides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from lspipe.outputs.credit import notice

if TYPE_CHECKING:
    from pathlib import Path

    from lspipe.outputs import Run

FILE = "coolr.csv"

COLUMNS = (
    "source_name", "source_link", "event_id", "event_date", "event_time", "event_title",
    "event_description", "location_description", "location_accuracy", "landslide_category",
    "landslide_trigger", "landslide_size", "landslide_setting", "fatality_count", "injury_count",
    "storm_name", "photo_link", "notes", "event_import_source", "event_import_id", "country_name",
    "country_code", "admin_division_name", "admin_division_population", "gazeteer_closest_point",
    "gazeteer_distance", "submitted_date", "created_date", "last_edited_date", "longitude",
    "latitude",
)  # fmt: skip
"""In the order, and with the spelling, of the catalogue."""


def write(run: Run, path: Path) -> None:
    """Write the table; see the contract in `lspipe.outputs`.

    The event is dated by the first scene that shows it; `event_description` has both bounds.
    """
    listed = run.inventory[run.inventory["status"].isin(["new", "grown", "detected"])]
    table = pd.DataFrame(index=listed.index, columns=list(COLUMNS), dtype="string")
    first, last = (_days(listed[name]) for name in ("event_date_min", "event_date_max"))
    table["source_name"] = "lspipe"
    table["event_date"] = listed["event_date_max"].dt.strftime("%m/%d/%Y %I:%M:%S %p")
    table["event_title"] = "landslide " + listed["id"]
    table["event_description"] = (
        "between " + first.fillna("an unknown day") + " and " + last + ", "
        + listed["area_m2"].round().astype(int).astype(str) + " m2, confidence "
        + listed["confidence"].round(2).astype(str)
    )  # fmt: skip
    table["location_accuracy"] = "exact"
    table["notes"] = notice(run)
    table["event_import_source"] = run.name
    table["event_import_id"] = listed["id"]
    table["longitude"], table["latitude"] = listed["lon"].round(6), listed["lat"].round(6)
    table.to_csv(path, index=False)


def _days(times: pd.Series[pd.Timestamp]) -> pd.Series[str]:
    return times.dt.strftime("%Y-%m-%d").astype("string")
