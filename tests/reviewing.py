"""What a person does to a list, in a process of its own as QGIS is."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_EDIT = """
import json, sqlite3, sys
path, statements, journal = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
file = sqlite3.connect(path)
# The triggers of a GeoPackage call these.
for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
    file.create_function(name, 1, lambda geometry: 0)
file.execute(f"PRAGMA journal_mode={journal}")
for statement, values in statements:
    file.execute(statement, values)
file.commit()
print("saved", flush=True)
if sys.argv[4] == "stay":
    sys.stdin.readline()
file.close()
"""


def sql(path: Path, *statements: tuple[str, list[Any]], journal: str = "DELETE") -> None:
    """Run statements on a GeoPackage, and close it."""
    words = [sys.executable, "-c", _EDIT, str(path), json.dumps(statements), journal, "go"]
    subprocess.run(words, check=True, capture_output=True)


def held_open(path: Path, *statements: tuple[str, list[Any]]) -> subprocess.Popen[str]:
    """Run statements and keep the file open with a write-ahead log, until a line comes."""
    words = [sys.executable, "-c", _EDIT, str(path), json.dumps(statements), "WAL", "stay"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "saved\n"
    return process


def statements(answers: Mapping[str, Any]) -> list[tuple[str, list[Any]]]:
    """SQL that decides about objects by id."""
    update = "UPDATE inventory SET reviewed = ? WHERE id = ?"
    return [(update, [answer, name]) for name, answer in answers.items()]


def decide(path: Path, answers: Mapping[str, Any]) -> None:
    """Fill `reviewed` of a GeoPackage, or of a GeoJSON, by id."""
    if path.suffix == ".gpkg":
        sql(path, *statements(answers))
        return
    content = json.loads(path.read_text(encoding="utf-8"))
    for feature in content["features"]:
        facts = feature["properties"]
        facts["reviewed"] = answers.get(facts["id"], facts["reviewed"])
    path.write_text(json.dumps(content), encoding="utf-8")
