"""GeoTIFFs of one grid spacing -> one VRT that shows them as one map; no pixel is copied."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import rasterio
from rasterio.enums import ColorInterp

from lspipe.outputs.categories import category_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rasterio.io import DatasetReader

    from lspipe.outputs.colours import Colour

_NOTHING = (0, 0, 0, 0)

_TYPES = {"uint8": "Byte", "uint16": "UInt16", "int16": "Int16", "float32": "Float32"}


def write_mosaic(
    files: Sequence[Path],
    path: Path,
    *,
    colours: Mapping[int, Colour] | None = None,
    names: Mapping[int, str] | None = None,
) -> Path:
    """Write a VRT, whose paths are relative: the folder can be moved as a whole.

    Where files overlap, the last one that has data is shown.

    Args:
        files: GeoTIFFs of one CRS, pixel size and dtype, in the folder of `path`, whose pixels
            coincide, as those of Sentinel-2 tiles of one UTM zone do.
        path: of the VRT.
        colours: of classes; a GeoTIFF keeps them without their opacity.
        names: of classes.

    Returns:
        `path`.

    Raises:
        ValueError: they differ.

    Source of the format: https://gdal.org/en/stable/drivers/raster/vrt.html.
    """
    opened = [rasterio.open(file) for file in files]
    try:
        root = _dataset(opened, files, colours or {})
        if names:
            root.findall("VRTRasterBand")[0].append(category_names(names))
        path.write_text(ET.tostring(root, encoding="unicode"), encoding="utf-8")
    finally:
        for file in opened:
            file.close()
    return path


def _dataset(
    opened: Sequence[DatasetReader], files: Sequence[Path], colours: Mapping[int, Colour]
) -> ET.Element:
    first = opened[0]
    kinds = {(file.crs, file.res, file.dtypes, file.nodatavals) for file in opened}
    if len(kinds) > 1:
        raise ValueError(f"{files[0].name} and others differ in CRS, pixel size or kind")
    west, north = min(f.bounds.left for f in opened), max(f.bounds.top for f in opened)
    east, south = max(f.bounds.right for f in opened), min(f.bounds.bottom for f in opened)
    size = first.res[0]
    root = ET.Element(
        "VRTDataset",
        rasterXSize=str(round((east - west) / size)),
        rasterYSize=str(round((north - south) / size)),
    )
    ET.SubElement(root, "SRS", dataAxisToSRSAxisMapping="1,2").text = first.crs.to_wkt()
    ET.SubElement(root, "GeoTransform").text = f"{west}, {size}, 0, {north}, 0, {-size}"
    for number in range(1, first.count + 1):
        band = _band(root, first, number, colours)
        for file, name in zip(opened, files, strict=True):
            corner = ((file.bounds.left - west) / size, (north - file.bounds.top) / size)
            _source(band, file, name.name, number, corner)
    return root


def _band(
    root: ET.Element, first: DatasetReader, number: int, colours: Mapping[int, Colour]
) -> ET.Element:
    kind = _TYPES[first.dtypes[number - 1]]
    band = ET.SubElement(root, "VRTRasterBand", dataType=kind, band=str(number))
    ET.SubElement(band, "NoDataValue").text = f"{first.nodata:g}"
    interpretation = first.colorinterp[number - 1]
    ET.SubElement(band, "ColorInterp").text = interpretation.name.capitalize()
    if first.scales[number - 1] != 1:
        ET.SubElement(band, "Scale").text = repr(first.scales[number - 1])
    if interpretation is ColorInterp.palette:
        table = ET.SubElement(band, "ColorTable")
        for value in range(max(colours, default=-1) + 1):
            parts = zip(("c1", "c2", "c3", "c4"), colours.get(value, _NOTHING), strict=True)
            ET.SubElement(table, "Entry", {name: str(part) for name, part in parts})
    return band


def _source(
    band: ET.Element, file: DatasetReader, name: str, number: int, corner: tuple[float, float]
) -> None:
    source = ET.SubElement(band, "ComplexSource")
    ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = name
    ET.SubElement(source, "SourceBand").text = str(number)
    size = {"xSize": str(file.width), "ySize": str(file.height)}
    ET.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **size})
    ET.SubElement(source, "DstRect", _offset(*corner) | size)
    ET.SubElement(source, "NODATA").text = f"{file.nodata:g}"


def _offset(x: float, y: float) -> dict[str, str]:
    return {"xOff": str(round(x)), "yOff": str(round(y))}
