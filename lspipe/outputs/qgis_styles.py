"""How QGIS shows the layers of a run: elements of its style files (QML) and projects.

Read by QGIS 3.22 and newer. Source of the format: what QGIS itself writes for such a style.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from lspipe.outputs import colours
from lspipe.schema.columns import (
    COLUMNS,
    RADAR_CELLS,
    REASONS,
    STATUSES,
    UNOBSERVED,
    UNOBSERVED_BY_RADAR,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lspipe.outputs.colours import Colour
    from lspipe.schema.columns import Column

ANSWERS = {"": "not decided", "true": "a landslide", "false": "no landslide", "unsure": "unsure"}
"""What a person may choose in the column `reviewed`, and how the form calls it."""

TIP = """<b>[% "status" %]</b>, [% format_number("area_m2" / 10000, 2) %] ha<br/>
confidence [% format_number("confidence", 2) %]<br/>
[% format_date("date_before", 'yyyy-MM-dd') %] to [% format_date("date_after", 'yyyy-MM-dd') %]<br/>
<i>[% "id" %]</i>"""
"""What the list shows under the pointer: an HTML text with expressions of QGIS."""

GAP_TIP = """<b>not observed: [% "reason" %]</b>, [% "date" %]<br/>
[% format_number("area_m2" / 10000, 1) %] ha"""


CELL_TIP = """<b>radar: [% format_number(100 * "radar_density", 0) %] % changed</b><br/>
of [% "n_px" %] pixels that optics missed; of the cell it missed
[% format_number(100 * "hidden_share", 0) %] %"""


def list_style(columns: Sequence[str]) -> list[ET.Element]:
    """Return the style of the list: outlines by status, names, a drop-down, a map tip.

    Args:
        columns: of the layer, in order.
    """
    symbols = {name: _outline(colours.STATUSES[name]) for name in STATUSES}
    return [
        categories("status", symbols),
        *_fields(columns, COLUMNS, {"reviewed": _drop_down(ANSWERS)}),
        _text("previewExpression", '"id"'),
        _text("mapTip", TIP),
    ]


def gaps_style(columns: Sequence[str]) -> list[ET.Element]:
    """Return the style of what was not observed: hatched by reason."""
    symbols = {name: _hatched(colours.REASONS[name]) for name in REASONS}
    return [
        categories("reason", symbols),
        *_fields(columns, UNOBSERVED | UNOBSERVED_BY_RADAR, {}),
        _text("mapTip", GAP_TIP),
    ]


def cells_style(columns: Sequence[str]) -> list[ET.Element]:
    """Return the style of the cells in which radar saw change: darker where more did."""
    return [
        graduated("radar_density", _DENSITIES),
        *_fields(columns, RADAR_CELLS, {}),
        _text("mapTip", CELL_TIP),
    ]


_DENSITIES = (
    (0.0, 0.2, "#fde0dd"), (0.2, 0.4, "#fa9fb5"), (0.4, 0.6, "#c51b8a"), (0.6, 1.0, "#7a0177"),
)  # fmt: skip
"""From, to, colour. Source: ColorBrewer, RdPu; no colour of a status."""


def classes(look: Mapping[int, Colour], names: Mapping[int, str]) -> ET.Element:
    """Return the renderer of a map of classes; a class without a name is not in the legend."""
    renderer = ET.Element("rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1")
    palette = ET.SubElement(renderer, "colorPalette")
    for value, name in names.items():
        entry = {"value": str(value), "label": name, "color": colours.as_hex(look[value])}
        ET.SubElement(palette, "paletteEntry", entry | {"alpha": str(look[value][3])})
    return renderer


def picture() -> ET.Element:
    """Return the renderer of a picture in true colour, whose brightness is not changed."""
    return ET.Element(
        "rasterrenderer", type="multibandcolor", opacity="1", alphaBand="-1",
        redBand="1", greenBand="2", blueBand="3",
    )  # fmt: skip


def probability() -> ET.Element:
    """Return the renderer of a map of probabilities: nothing below 0.05, then yellow to dark red.

    Source of the colours: ColorBrewer, YlOrRd; safe for people with any kind of colour vision.
    """
    return _ramp(
        ("0", "#ffffb2", "0"), ("0.05", "#ffffb2", "0"), ("0.3", "#fecc5c", "160"),
        ("0.5", "#fd8d3c", "220"), ("0.75", "#f03b20", "240"), ("1", "#bd0026", "255"),
    )  # fmt: skip


def density() -> ET.Element:
    """Return the renderer of the share of changed ground: nothing at 0, in the colours of cells."""
    stops = [("0", _DENSITIES[0][2], "0")]
    return _ramp(*stops, *((f"{high:g}", colour, "200") for _, high, colour in _DENSITIES))


def backscatter() -> ET.Element:
    """Return the renderer of a change of backscatter: blue where darker, red where brighter, dB.

    Source of the colours: ColorBrewer, RdBu; safe for people with any kind of colour vision.
    """
    return _ramp(
        ("-6", "#0571b0", "255"), ("-3", "#92c5de", "255"), ("0", "#f7f7f7", "255"),
        ("3", "#f4a582", "255"), ("6", "#ca0020", "255"),
    )  # fmt: skip


def slope() -> ET.Element:
    """Return the renderer of slopes in degrees: white where flat, brown and black where steep."""
    return _ramp(
        ("0", "#ffffff", "255"), ("10", "#e8dcc8", "255"), ("20", "#c9a66b", "255"),
        ("35", "#8c510a", "255"), ("60", "#1a0d00", "255"),
    )  # fmt: skip


def _ramp(*stops: tuple[str, str, str]) -> ET.Element:
    """Return the renderer of a number: (value, colour, opacity) from the lowest on."""
    low, high = stops[0][0], stops[-1][0]
    renderer = ET.Element(
        "rasterrenderer", type="singlebandpseudocolor", band="1", opacity="1", alphaBand="-1",
        classificationMin=low, classificationMax=high,
    )  # fmt: skip
    shader = ET.SubElement(renderer, "rastershader")
    ramp = ET.SubElement(
        shader, "colorrampshader", colorRampType="INTERPOLATED", classificationMode="1", clip="0",
        minimumValue=low, maximumValue=high,
    )  # fmt: skip
    for value, colour, alpha in stops:
        ET.SubElement(ramp, "item", value=value, label=value, color=colour, alpha=alpha)
    return renderer


def as_qml(elements: Iterable[ET.Element]) -> str:
    """Return a style file of a vector layer."""
    root = ET.Element("qgis", version="3.22", styleCategories="AllStyleCategories")
    root.extend(elements)
    return ET.tostring(root, encoding="unicode")


# --- symbols ------------------------------------------------------------------------------------


def categories(
    column: str, symbols: Mapping[str, ET.Element], *, labels: Mapping[str, str] | None = None
) -> ET.Element:
    """Return a renderer with a symbol for each value of a column, called by labels or itself."""
    renderer = ET.Element("renderer-v2", type="categorizedSymbol", attr=column)
    listed = ET.SubElement(renderer, "categories")
    drawn = ET.SubElement(renderer, "symbols")
    for number, (name, symbol) in enumerate(symbols.items()):
        label = (labels or {}).get(name, name.replace("_", " "))
        told = {"value": name, "label": label, "symbol": str(number), "render": "true"}
        ET.SubElement(listed, "category", told)
        symbol.set("name", str(number))
        drawn.append(symbol)
    return renderer


def graduated(column: str, steps: Sequence[tuple[float, float, str]]) -> ET.Element:
    """Return a renderer of a number: squares filled with the colour of each step from low to high.

    Args:
        column: of the layer.
        steps: lowest value, highest value, colour.
    """
    renderer = ET.Element(
        "renderer-v2", type="graduatedSymbol", attr=column, graduatedMethod="GraduatedColor",
        symbollevels="0", forceraster="0", enableorderby="0",
    )  # fmt: skip
    ranges = ET.SubElement(renderer, "ranges")
    drawn = ET.SubElement(renderer, "symbols")
    for number, (low, high, colour) in enumerate(steps):
        told = {"lower": f"{low:g}", "upper": f"{high:g}", "label": f"{low:.0%} to {high:.0%}"}
        ET.SubElement(ranges, "range", told | {"symbol": str(number), "render": "true"})
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        symbol = _fill({
            "style": "solid", "color": _rgba((red, green, blue, 150)),
            "outline_color": _rgba((red, green, blue, 255)), "outline_width": "0.3",
        })  # fmt: skip
        symbol.set("name", str(number))
        drawn.append(symbol)
    return renderer


def _outline(colour: Colour) -> ET.Element:
    """A coloured line around what remains to be seen inside."""
    return _fill({"style": "no", "outline_color": _rgba(colour), "outline_width": "0.6"})


def filled(colour: Colour) -> ET.Element:
    """Return a symbol of polygons: a line, and a breath of its colour inside."""
    line = {"outline_color": _rgba(colour), "outline_width": "0.5"}
    return _fill({"style": "solid", "color": _rgba((*colour[:3], 80)), **line})


def _hatched(colour: Colour) -> ET.Element:
    line = {"outline_color": _rgba(colour), "outline_width": "0.2"}
    return _fill({"style": "b_diagonal", "color": _rgba(colour), **line})


def _fill(settings: Mapping[str, str]) -> ET.Element:
    symbol = ET.Element("symbol", type="fill", alpha="1", clip_to_extent="1", force_rhr="0")
    layer = ET.SubElement(
        symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"}
    )
    layer.append(_options({"outline_style": "solid", "joinstyle": "bevel", **settings}))
    return symbol


def _rgba(colour: Colour) -> str:
    return ",".join(map(str, colour))


# --- columns ------------------------------------------------------------------------------------


def _fields(
    columns: Sequence[str], known: Mapping[str, Column], widgets: Mapping[str, ET.Element]
) -> Iterable[ET.Element]:
    """Return names with units for people, and how a form edits each column: only `reviewed`."""
    forms, aliases = ET.Element("fieldConfiguration"), ET.Element("aliases")
    editable = ET.Element("editable")
    for number, name in enumerate(columns):
        field = ET.SubElement(forms, "field", name=name, configurationFlags="None")
        if name in widgets:
            field.append(widgets[name])
        unit = known[name].unit if name in known else ""
        alias = f"{name}, {unit}" if unit in _TOLD_UNITS else ""
        ET.SubElement(aliases, "alias", field=name, index=str(number), name=alias)
        is_open = name in widgets or name not in known
        ET.SubElement(editable, "field", name=name, editable=str(int(is_open)))
    return forms, aliases, editable


_TOLD_UNITS = {"m²", "m", "degree", "0 to 1", "-1 to 1", "pixels"}
"""Units that are worth their place in the head of a column."""


def _drop_down(answers: Mapping[str, str]) -> ET.Element:
    widget = ET.Element("editWidget", type="ValueMap")
    config = ET.SubElement(widget, "config")
    whole = ET.SubElement(config, "Option", type="Map")
    listed = ET.SubElement(whole, "Option", name="map", type="List")
    for value, name in answers.items():
        one = ET.SubElement(listed, "Option", type="Map")
        ET.SubElement(one, "Option", name=name, value=value or _NULL, type="QString")
    return widget


_NULL = "{2839923C-8B7D-419E-B84B-CA2FE9B80EC7}"
"""What QGIS itself writes for an empty value in a drop-down."""


def _options(values: Mapping[str, str]) -> ET.Element:
    options = ET.Element("Option", type="Map")
    for name, value in values.items():
        ET.SubElement(options, "Option", name=name, value=value, type="QString")
    return options


def _text(tag: str, text: str) -> ET.Element:
    element = ET.Element(tag)
    element.text = text
    return element
