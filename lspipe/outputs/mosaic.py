"""GeoTIFFs of one grid spacing -> one VRT that shows them as one map; no pixel is copied.

A VRT repeats what its files say of themselves. That is taken from each file once, as a `Piece`,
which is plain values: a file that another machine wrote need not be opened again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import rasterio
from rasterio.enums import ColorInterp

from lspipe.outputs.categories import category_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lspipe.outputs.colours import Colour

_NOTHING = (0, 0, 0, 0)

_TYPES = {"uint8": "Byte", "uint16": "UInt16", "int16": "Int16", "float32": "Float32"}


@dataclass(frozen=True)
class Piece:
    """What a mosaic says of one GeoTIFF."""

    file: str
    """Its name, in the folder of the mosaic."""
    crs: str
    """WKT."""
    bounds: Sequence[float]
    """West, south, east, north."""
    resolution: Sequence[float]
    """Of a pixel, along x and y."""
    shape: Sequence[int]
    """Rows and columns."""
    dtype: str
    nodata: float
    interpretations: Sequence[str]
    """Of each band: "Red", "Palette"."""
    scales: Sequence[float]
    """Of each band."""


def piece_of(path: Path) -> Piece:
    """Read what a mosaic says of a GeoTIFF."""
    with rasterio.open(path) as file:
        return Piece(
            file=path.name,
            crs=file.crs.to_wkt(),
            bounds=list(file.bounds),
            resolution=list(file.res),
            shape=list(file.shape),
            dtype=file.dtypes[0],
            nodata=file.nodata,
            interpretations=[each.name.capitalize() for each in file.colorinterp],
            scales=list(file.scales),
        )


def write_mosaic(
    pieces: Sequence[Piece],
    path: Path,
    *,
    colours: Mapping[int, Colour] | None = None,
    names: Mapping[int, str] | None = None,
) -> Path:
    """Write a VRT, whose paths are relative: the folder can be moved as a whole.

    Where files overlap, the last one that has data is shown.

    Args:
        pieces: GeoTIFFs of one CRS, pixel size and dtype, which lie, or will lie, in the folder of
            `path`, and whose pixels coincide, as those of Sentinel-2 tiles of one UTM zone do.
        path: of the VRT.
        colours: of classes; a GeoTIFF keeps them without their opacity.
        names: of classes.

    Returns:
        `path`.

    Raises:
        ValueError: they differ.

    Source of the format: https://gdal.org/en/stable/drivers/raster/vrt.html.
    """
    root = _dataset(pieces, colours or {})
    if names:
        root.findall("VRTRasterBand")[0].append(category_names(names))
    path.write_text(ET.tostring(root, encoding="unicode"), encoding="utf-8")
    return path


def _dataset(pieces: Sequence[Piece], colours: Mapping[int, Colour]) -> ET.Element:
    first = pieces[0]
    kinds = {
        (each.crs, *each.resolution, each.dtype, each.nodata, len(each.interpretations))
        for each in pieces
    }
    if len(kinds) > 1:
        raise ValueError(f"{first.file} and others differ in CRS, pixel size or kind")
    lefts, bottoms, rights, tops = zip(*(each.bounds for each in pieces), strict=True)
    west, north = min(lefts), max(tops)
    east, south = max(rights), min(bottoms)
    size = first.resolution[0]
    root = ET.Element(
        "VRTDataset",
        rasterXSize=str(round((east - west) / size)),
        rasterYSize=str(round((north - south) / size)),
    )
    ET.SubElement(root, "SRS", dataAxisToSRSAxisMapping="1,2").text = first.crs
    ET.SubElement(root, "GeoTransform").text = f"{west}, {size}, 0, {north}, 0, {-size}"
    for number in range(len(first.interpretations)):
        band = _band(root, first, number, colours)
        for piece in pieces:
            left, _, _, top = piece.bounds
            _source(band, piece, number, ((left - west) / size, (north - top) / size))
    return root


def _band(root: ET.Element, first: Piece, number: int, colours: Mapping[int, Colour]) -> ET.Element:
    kind = _TYPES[first.dtype]
    band = ET.SubElement(root, "VRTRasterBand", dataType=kind, band=str(number + 1))
    ET.SubElement(band, "NoDataValue").text = f"{first.nodata:g}"
    interpretation = first.interpretations[number]
    ET.SubElement(band, "ColorInterp").text = interpretation
    if first.scales[number] != 1:
        ET.SubElement(band, "Scale").text = repr(first.scales[number])
    if interpretation == ColorInterp.palette.name.capitalize():
        table = ET.SubElement(band, "ColorTable")
        for value in range(max(colours, default=-1) + 1):
            parts = zip(("c1", "c2", "c3", "c4"), colours.get(value, _NOTHING), strict=True)
            ET.SubElement(table, "Entry", {name: str(part) for name, part in parts})
    return band


def _source(band: ET.Element, piece: Piece, number: int, corner: tuple[float, float]) -> None:
    source = ET.SubElement(band, "ComplexSource")
    ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = piece.file
    ET.SubElement(source, "SourceBand").text = str(number + 1)
    rows, columns = piece.shape
    size = {"xSize": str(columns), "ySize": str(rows)}
    ET.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **size})
    ET.SubElement(source, "DstRect", _offset(*corner) | size)
    ET.SubElement(source, "NODATA").text = f"{piece.nodata:g}"


def _offset(x: float, y: float) -> dict[str, str]:
    return {"xOff": str(round(x)), "yOff": str(round(y))}
