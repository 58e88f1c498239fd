"""The report: one HTML file for the person who looks at the list, without network or programs.

    page.html            its structure, a template; page.css its look
    shapes.js            outlines as they come, in the forms that map and pictures want
    style.js             what the map shows of a date, and how it looks
    map.js               the map: MapLibre GL, once for each date, and the line between them
    part.js              a part of a picture, for objects without pictures of their own
    list.js              the list: pages, order, filters
    review.js            what a person decides, kept by the browser
    page.js              connects the three, and the keyboard

    facts.py             the record of a run -> texts of the page
    rows.py              the list -> its rows in order, and its columns
    outlines.py          outlines -> small whole numbers
    pictures.py          maps of a tile -> small pictures, and the gaps in them
    chips.py             an object -> its two pictures at full resolution
    charts.py            numbers -> bars

The page has no address to load anything from, and its policy forbids it. MapLibre stands in it
whole; its worker is a part of the script (`blob:`), and pictures are part of the page (`data:`).
The same policy lets only the scripts run that are named by their hashes. Every text of the run is
escaped; what the template takes as it is (`safe`) are the files above, and JSON without a `<`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from lspipe.machine.copies import beside
from lspipe.outputs.colours import REASONS, STATUSES, as_hex
from lspipe.outputs.report import charts, facts, rows
from lspipe.outputs.report.chips import FOLDER, INSIDE, Chip, as_json, chips_of, file_name
from lspipe.outputs.report.outlines import Plane
from lspipe.outputs.report.pictures import Picture, pictures_of

if TYPE_CHECKING:
    import geopandas as gpd

    from lspipe.outputs import Run

FILE = "report.html"

ROWS = 100
"""Rows of the list on the page at a time."""

_FOLDER = Path(__file__).parent

_SCRIPTS = ("shapes.js", "style.js", "map.js", "part.js", "list.js", "review.js", "page.js")

_MAPLIBRE = "maplibre/srcjs/maplibre-gl"
"""Script and style of MapLibre GL in the package `maplibre`, without their endings."""


def write(run: Run, path: Path) -> None:
    """Write the report of a run, finished or not; see the contract in `lspipe.outputs`."""
    has_folder = (beside(path) / FOLDER).is_dir()
    path.write_text(page(run, has_folder=has_folder), encoding="utf-8")


def page(run: Run, *, has_folder: bool = False) -> str:
    """Return the report as HTML.

    Args:
        run: finished or not; without a list, the report shows what was computed so far.
        has_folder: whether the pictures of objects after the first `INSIDE` lie beside it.
    """
    listed = rows.listed(run)
    grounds = pictures_of(run)
    plane = Plane.of([one.bounds for one in grounds], listed)
    columns = rows.columns(listed, is_two_date=run.is_two_date)
    shown = [column for column in columns if column.is_shown]
    data = {
        "run": facts.key(run),
        "name": run.name,
        "columns": [column.as_json() for column in columns],
        "times": rows.times(listed),
        "outlines": plane.outlines(listed),
        "plane": {"lon": plane.lon, "lat": plane.lat},
        "pictures": [_as_json(one, plane) for one in grounds],
        "chips": [chip and as_json(chip) for chip in chips_of(run, listed.head(INSIDE))],
        "far": _far(run, listed) if has_folder else [],
        "colours": {status: as_hex(colour) for status, colour in STATUSES.items()},
        "dates": ["before", "after"] if run.is_two_date else ["after"],
        "rows": ROWS,
    }
    scripts = "\n".join((_FOLDER / name).read_text("utf-8") for name in _SCRIPTS)
    library = _of_maplibre(".js")
    style = _of_maplibre(".css") + (_FOLDER / "page.css").read_text("utf-8") + _colours()
    text: str = _template().render(
        head=facts.head(run, listed),
        facts=facts.details(run),
        columns=shown,
        id_at=next(place for place, column in enumerate(shown) if column.name == "id"),
        first=range(min(ROWS, len(listed))),
        total=len(listed),
        statuses=rows.statuses(listed),
        charts=charts.charts(listed),
        is_two_date=run.is_two_date,
        data=embedded(data),
        library=library,
        script=scripts,
        style=style,
        image_sources="data: 'self' file:" if has_folder else "data:",
        script_hash=f"{_hash(library)} {_hash(scripts)}",
        style_hash=_hash(style),
    )
    return text


def _far(run: Run, listed: gpd.GeoDataFrame) -> list[dict[str, Any] | None]:
    """Return what the page needs of the objects after the first `INSIDE`, beside their files."""
    rest = listed.iloc[INSIDE:]
    roles = ("before", "after") if run.is_two_date else ("after",)

    def one(name: str, chip: Chip | None) -> dict[str, Any] | None:
        files = {role: file_name(name, role) for role in roles}
        if chip is None or None in files.values():
            return None
        return as_json(chip) | {role: f"{FOLDER}/{file}" for role, file in files.items()}

    return list(map(one, rest["id"], chips_of(run, rest, are_seen=False)))


def _as_json(picture: Picture, plane: Plane) -> dict[str, Any]:
    """Return a picture for the page."""
    return {
        "role": picture.role,
        "day": picture.day,
        "bounds": plane.bounds(picture.bounds),
        "image": picture.image,
        "gaps": plane.outline(picture.gaps),
        "metres": picture.metres,
    }


def _of_maplibre(ending: str) -> str:
    """Return a file of MapLibre GL; its package is not imported, which would take a second."""
    path = metadata.distribution("maplibre").locate_file(_MAPLIBRE + ending)
    return Path(str(path)).read_text("utf-8").partition("\n//# sourceMappingURL=")[0]


def embedded(data: Any) -> str:
    r"""Return data as JSON that can stand between `<script>` tags, whatever texts it holds.

    >>> embedded("</script><!--")
    '"\\u003c/script\\u003e\\u003c!--"'
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _hash(text: str) -> str:
    """Return the name of an inline script or style in a content security policy."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _colours() -> str:
    """Return the colours of statuses and reasons as CSS."""
    known = {**{f"status-{name}": colour for name, colour in STATUSES.items()}}
    known |= {f"reason-{name}": colour for name, colour in REASONS.items()}
    return "".join(f".{name}{{color:{as_hex(value)}}}\n" for name, value in known.items())
