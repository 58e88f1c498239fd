"""One page with the first landslides of the list, before and after: to print and to send.

A PDF that holds one picture, A4: any program shows it, and it is small enough for a letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lspipe.outputs.colours import STATUSES
from lspipe.outputs.credit import notice
from lspipe.outputs.report import facts, rows
from lspipe.outputs.report.chips import chips_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.outputs import Run
    from lspipe.outputs.colours import Colour
    from lspipe.outputs.report.chips import Chip

FILE = "sheet.pdf"

COLUMNS, LINES = 4, 5
"""Of landslides on the page."""

DPI = 200

PAGE = round(8.27 * DPI), round(11.69 * DPI)
"""A4, pixels."""

_MARGIN, _HEAD, _FOOT, _GAP, _BETWEEN = 80, 260, 60, 24, 8
"""Pixels; `_GAP` between landslides, `_BETWEEN` the two pictures of one."""

_WIDTH = (PAGE[0] - 2 * _MARGIN - (COLUMNS - 1) * _GAP) // COLUMNS
_EDGE = (_WIDTH - _BETWEEN) // 2
"""Of a landslide, and of each of its pictures, pixels."""

_INK, _SOFT, _ALARM, _NOTHING = (27, 33, 38), (86, 97, 107), (156, 42, 0), (230, 234, 236)


def write(run: Run, path: Path) -> None:
    """Write the sheet of a run, finished or not; see the contract in `lspipe.outputs`."""
    image = sheet(run)
    image.save(
        path, "PDF", resolution=DPI, title=run.name, subject=notice(run), producer="lspipe",
        quality=90,
    )  # fmt: skip


def sheet(run: Run) -> Image.Image:
    """Draw the sheet: RGB, `PAGE` pixels."""
    listed = rows.listed(run)
    first = listed.head(COLUMNS * LINES)
    roles = ("before", "after") if run.is_two_date else ("after",)
    page = Image.new("RGB", PAGE, "white")
    head = facts.head(run, listed)
    _draw_head(page, head, roles)
    height = (PAGE[1] - _HEAD - _FOOT - _MARGIN) // LINES
    for place, chip in enumerate(chips_of(run, first)):
        line, column = divmod(place, COLUMNS)
        corner = (_MARGIN + column * (_WIDTH + _GAP), _HEAD + line * height)
        _draw_chip(page, corner, chip, roles, STATUSES[first["status"][place]])
        _draw_facts(page, (corner[0], corner[1] + _EDGE + 8), first.iloc[place], chip)
    _write(page, (_MARGIN, PAGE[1] - _FOOT - 20), f"{head['credit']}.", 20, _SOFT)
    return page


def _draw_head(page: Image.Image, head: Mapping[str, Any], roles: Sequence[str]) -> None:
    """Write the name, the dates, the totals, and what a reader must know of them."""
    dates = "   ".join(f"{role} {day}" for role, day in head["dates"].items())
    totals = f"{head['new']} {head['newest']} landslides, {head['new_ha']} ha"
    if head["observed"] is not None:
        totals += f"; {head['observed']} % of the area observed {head['observed_on']}"
    stamps = {
        "PARTIAL: the run is not finished": head["partial"],
        "SIMULATED: the pictures are made up": head["simulated"],
    }
    sides = "left before, right after; " if len(roles) == 2 else ""
    _write(page, (_MARGIN, 56), _short(head["name"], 60), 46)
    _write(page, (_MARGIN, 118), f"{dates}   (UTC)   {totals}", 26)
    _write(
        page,
        (_MARGIN, 156),
        "    ".join(text for text, is_so in stamps.items() if is_so),
        28,
        _ALARM,
    )
    _write(page, (_MARGIN, 200), f"{sides}the first of {head['total']} objects", 20, _SOFT)


def _draw_chip(
    page: Image.Image,
    corner: tuple[int, int],
    chip: Chip | None,
    roles: Sequence[str],
    colour: Colour,
) -> None:
    """Draw the pictures of an object side by side."""
    for place, role in enumerate(roles):
        left = corner[0] + place * (_EDGE + _BETWEEN)
        box = (left, corner[1], left + _EDGE, corner[1] + _EDGE)
        ImageDraw.Draw(page).rectangle(box, _NOTHING)
        if chip is not None and role in chip.pictures:
            picture = _with_outline(chip.pictures[role], chip.rings, colour)
            page.paste(picture, box[:2], picture)


def _with_outline(
    pixels: NDArray[np.uint8], rings: Sequence[NDArray[np.float64]], colour: Colour
) -> Image.Image:
    """Enlarge a picture, and draw an outline on it."""
    picture = Image.fromarray(pixels).resize((_EDGE, _EDGE), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(picture)
    for ring in rings:
        closed = np.concatenate([ring, ring[:1]]) * _EDGE / len(pixels)
        corners = [(float(x), float(y)) for x, y in closed]
        draw.line(corners, (255, 255, 255, 255), width=5)
        draw.line(corners, colour, width=3)
    return picture


def _draw_facts(page: Image.Image, corner: tuple[int, int], one: Any, chip: Chip | None) -> None:
    pixel = "" if chip is None else f", pixels of {chip.metres} m"
    texts = (
        (22, f"{one['status']}, {one['area_m2'] / 10_000:.2f} ha"),
        (18, f"confidence {one['confidence']:.2f}{pixel}"),
        (18, f"{one['lat']:.5f}, {one['lon']:.5f}"),
        (15, _short(one["id"], 45)),
    )
    for line, (size, text) in enumerate(texts):
        _write(page, (corner[0], corner[1] + 27 * line), text, size)


def _write(
    page: Image.Image,
    corner: tuple[int, int],
    text: str,
    size: int,
    colour: tuple[int, int, int] = _INK,
) -> None:
    ImageDraw.Draw(page).text(corner, text, colour, ImageFont.load_default(size))


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
