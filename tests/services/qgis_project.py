"""Open the project of a run in QGIS, without a window, as a person would with a double click.

    python3 qgis_project.py RUN PICTURES

prints JSON: what QGIS finds of each layer; draws the project, and the list alone, into PICTURES.
Runs in the Python that QGIS brings along.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from qgis.core import (
    QgsApplication,
    QgsMapLayer,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProject,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize


def describe(layer: QgsMapLayer) -> dict:
    """What QGIS found of a layer."""
    facts = {
        "name": layer.name(),
        "valid": layer.isValid(),
        "crs": layer.crs().authid(),
        "source": layer.source(),
        "rights": layer.metadata().rights(),
    }
    if isinstance(layer, QgsVectorLayer):
        facts |= look(layer)
    return facts


def look(layer: QgsVectorLayer) -> dict:
    """How it shows a layer of polygons."""
    fields, renderer = layer.fields(), layer.renderer()
    is_categorised = renderer.type() == "categorizedSymbol"
    reviewed = layer.editorWidgetSetup(fields.indexFromName("reviewed"))
    return {
        "rows": layer.featureCount(),
        "colours": {
            category.value(): [
                category.symbol().symbolLayer(0).strokeColor().name(),
                category.symbol().symbolLayer(0).brushStyle(),
            ]
            for category in (renderer.categories() if is_categorised else [])
        },
        "column": renderer.classAttribute() if is_categorised else None,
        "aliases": {field.name(): field.alias() for field in fields},
        "answers": reviewed.config() if reviewed.type() == "ValueMap" else None,
        "read_only": [
            field.name()
            for number, field in enumerate(fields)
            if layer.editFormConfig().readOnly(number)
        ],
        "tip": layer.mapTipTemplate(),
    }


def draw(layers: list[QgsMapLayer], over: QgsMapLayer, path: Path) -> None:
    """Draw layers over the extent of one of them."""
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(over.crs())
    settings.setExtent(over.extent())
    settings.setOutputSize(QSize(720, 720))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(str(path))


def main(run: Path, pictures: Path) -> None:
    """Print what QGIS finds, and draw it."""
    application = QgsApplication([], False)
    application.initQgis()
    told: list[str] = []
    application.messageLog().messageReceived.connect(lambda text, *_: told.append(text))
    project = QgsProject.instance()
    opened = project.read(str(run / "project.qgz"))
    nodes = project.layerTreeRoot().findLayers()
    by_name = {node.layer().name(): node.layer() for node in nodes}
    over = by_name["after"]
    for name, layers in {
        "default": [node.layer() for node in nodes if node.isVisible()],
        "inventory": [by_name["inventory"]],
        "change": [by_name["change"]],
    }.items():
        draw(layers, over, pictures / f"{name}.png")
    alone = QgsVectorLayer(f"{run / 'inventory.gpkg'}|layername=inventory", "alone", "ogr")
    facts = {
        "opened": opened,
        "title": project.title(),
        "crs": project.crs().authid(),
        "layers": [describe(node.layer()) for node in nodes],
        "on": [node.layer().name() for node in nodes if node.isVisible()],
        "alone": look(alone),
        "told": told,
    }
    print(json.dumps(facts), flush=True)  # noqa: T201
    # QGIS 3.22 may crash while it cleans up.
    os._exit(0)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
