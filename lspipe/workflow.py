"""The workflow file: YAML -> `Workflow`, the sum of the stages' own settings.

Each section of the file is the spec of one module; this one only adds them up, and reports
the file and the key of an error.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, PrivateAttr, field_validator

from lspipe.change.flag_spec import FlagsSpec
from lspipe.change.spec import ChangeSpec
from lspipe.clusters import ClusterSpec, ExecutionSpec
from lspipe.cube.radar_spec import RadarSpec
from lspipe.cube.spec import CubeSpec
from lspipe.cube.terrain_spec import TerrainSpec
from lspipe.errors import UsageError, WorkflowError
from lspipe.inference.settings import InferenceSpec
from lspipe.machine import check_place
from lspipe.machine.remote import is_address, place
from lspipe.models import ModelSpec
from lspipe.outputs import OutputSpec
from lspipe.search.dates import DatesSpec
from lspipe.search.places import missing_items
from lspipe.search.spec import AreaSpec, SearchSpec
from lspipe.spec import Bounds, Named, Spec, SpecError, read, schema

NAME = Named(
    other="letters, digits, dots, dashes and underscores, the first a letter or digit",
    pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
)


# Here and not in `runs/`, which is built on workflows.
@dataclass(frozen=True, kw_only=True)
class BudgetSpec(Spec):
    """How much a run may compute; it decides no pixel."""

    gpu_hours: Annotated[float, Bounds(gt=0)] | None = None
    """Hours that the networks of all workers may take together, of GPUs where they compute; no
    limit, unless given. A plan that would take more is refused; a run that has spent it ends, and
    goes on with a larger one."""


# Here and not in `evaluate/`, which is built on runs, as runs are on workflows.
@dataclass(frozen=True, kw_only=True)
class EvaluateSpec(Spec):
    """What the list of a run is compared with; it decides nothing of the run."""

    truth: str | None = None
    """File of the landslides that are known: polygons in any format GDAL reads, with a CRS,
    relative to the workflow file. A run ends with how many of them its list has."""


class Workflow(BaseModel):
    """Everything one run is asked to do."""

    # As in `Spec`; a model of its own, as it keeps the folder that its paths start from.
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    schema_version: Literal[1] = 1
    """Version of this file's format."""
    name: Annotated[str, NAME]
    """Short name of the run: letters, digits, dot, dash, underscore."""
    aoi: AreaSpec
    """Area of interest: one of bbox, file, tiles."""
    dates: DatesSpec
    """Date ranges before and after, both ends inclusive, UTC; only `after` makes a one-date run."""
    search: SearchSpec
    """Where the scenes come from."""
    cube: CubeSpec = CubeSpec()
    """How scenes become pixels."""
    terrain: TerrainSpec = TerrainSpec()
    """Heights of the ground, where the run is to know them."""
    radar: RadarSpec = RadarSpec()
    """Backscatter before and after, where the run is to read it."""
    model: ModelSpec = ModelSpec()
    """The model item."""
    inference: InferenceSpec = InferenceSpec()
    """How the model is applied."""
    change: ChangeSpec = ChangeSpec()
    """How two dates are compared."""
    flags: FlagsSpec = FlagsSpec()
    """Which objects of the list are marked, as they may be no landslides."""
    output: OutputSpec = OutputSpec()
    """Where the results go, and in which formats."""
    cluster: ClusterSpec = ClusterSpec()
    """Who computes."""
    execution: ExecutionSpec = ExecutionSpec()
    """How the work is cut; never changes a pixel."""
    budget: BudgetSpec = BudgetSpec()
    """How much it may compute."""
    evaluate: EvaluateSpec = EvaluateSpec()
    """What the list is compared with."""

    _folder: Path = PrivateAttr(default_factory=Path)

    @field_validator("schema_version", mode="before")
    @classmethod
    def _no_flag(cls, value: Any) -> Any:
        """Refuse true, which pydantic takes for 1."""
        if isinstance(value, bool):
            raise ValueError("a version is no flag")
        return value

    @property
    def folder(self) -> Path:
        """Folder of the workflow file, which its relative paths start from."""
        return self._folder

    @property
    def run_directory(self) -> Path:
        """Where the run's results go; for an address a `remote.RemotePath`."""
        asked = self.output.path or f"runs/{self.name}"
        return place(asked) if is_address(asked) else self._folder / asked

    @property
    def truth(self) -> Path | None:
        """File of the landslides that are known; None where the workflow names none."""
        return None if self.evaluate.truth is None else self._folder / self.evaluate.truth

    @classmethod
    def from_file(cls, path: str | Path, *, overrides: tuple[str, ...] = ()) -> Workflow:
        """Read and check a workflow file.

        Args:
            path: YAML file.
            overrides: `a.b=value` each, value in YAML, applied before checking.

        Raises:
            WorkflowError: the file, a key or a value is wrong; names the place and the nearest key.

        Examples:
            >>> from pathlib import Path
            >>> import lspipe
            >>> from lspipe.workflow import TEMPLATE
            >>> _ = Path("my.yaml").write_text(TEMPLATE)  # as `lspipe init my.yaml` does
            >>> more = ("inference.preset=fast", "name=my-valley")
            >>> workflow = lspipe.Workflow.from_file("my.yaml", overrides=more)
            >>> workflow.inference.preset, workflow.name
            ('fast', 'my-valley')
        """
        path = Path(path)
        folder = path.resolve().parent
        return cls.of(_read_yaml(path), source=str(path), folder=folder, overrides=overrides)

    @classmethod
    def of(
        cls, content: dict[str, Any], *, source: str, folder: Path, overrides: tuple[str, ...] = ()
    ) -> Workflow:
        """Check the content of a workflow, as `from_file` does.

        Args:
            content: keys and plain values; overridden in place.
            source: what messages call it.
            folder: what its relative paths start from.
            overrides: as of `from_file`.

        Raises:
            WorkflowError: as `from_file`.
        """
        for override in overrides:
            _override(content, override)
        try:
            workflow = read(cls, content)
        except SpecError as error:
            raise WorkflowError(f"{source}: {error}") from error
        workflow._folder = folder
        local = _local_files(workflow)
        for key, value in {**local, **_places(workflow)}.items():
            if value is None or (folder / value).exists():
                continue
            if misfit := _foreign(value) or (_far(value) if key in local else ""):
                raise WorkflowError(f"{source}: {key}: found {value!r}: {misfit}")
        return workflow


def _local_files(workflow: Workflow) -> dict[str, str | None]:
    """Return the files that are read from this machine alone, by key."""
    return {
        "aoi.file": workflow.aoi.file,
        "model.item": workflow.model.item,
        **{f"model.items.{n}": name for n, name in enumerate(workflow.model.items or ())},
        "evaluate.truth": workflow.evaluate.truth,
        **{f"flags.layers.{n}.path": one.path for n, one in enumerate(workflow.flags.layers)},
    }


def _places(workflow: Workflow) -> dict[str, str | None]:
    """Return what may be a path or an address, by key."""
    return {
        "search.catalog": workflow.search.catalog,
        "terrain.dem": workflow.terrain.dem,
        "terrain.geoid": workflow.terrain.geoid,
        "radar.collection": workflow.radar.collection,
        "output.path": workflow.output.path,
    }


_VARIABLE = re.compile(r"\$\{?[A-Za-z_]|%[A-Za-z_]+%")
_DRIVE = re.compile(r"[A-Za-z]:[\\/](?!/)")


def _foreign(path: str) -> str:
    """Say why a path is one of a shell or of Windows, which no file here has; "" where it is not.

    Nothing is filled in: the same file must mean the same on another machine.
    """
    if "://" in path:
        return ""
    if path.startswith("~"):
        return "~ is not replaced here; write the whole path, or one relative to this file"
    if _VARIABLE.search(path):
        return "variables are not replaced here; write the whole path, or one relative to this file"
    if _DRIVE.match(path) or "\\" in path:
        return "a path of Windows; write it as this machine has it, with /"
    return ""


def _far(path: str) -> str:
    """Say why an address is no path of this machine; "" for any other text."""
    if "://" not in path:
        return ""
    return "an address; this file is read from a folder: copy it to this machine, and name the copy"


def check_paths(workflow: Workflow) -> list[str]:
    """Check the paths of a workflow that nothing else reads before a run does.

    A catalogue of files and the known landslides need not be there yet (`lspipe demo` writes them),
    so that is only reported here; a plan needs them. A folder that cannot be written would cost a
    whole run.

    Returns:
        What is not there yet, in words.

    Raises:
        WorkflowError: the results could not be written, or a catalogue is misspelt.
    """
    check_output(workflow)
    truth = workflow.truth
    missing = {
        "search.catalog": missing_items(workflow.search, workflow.folder),
        "evaluate.truth": None if truth is None or truth.is_file() else truth,
    }
    return [f"{key}: {path} is not there yet" for key, path in missing.items() if path is not None]


def check_output(workflow: Workflow) -> None:
    """Refuse an output that could not be written.

    Raises:
        WorkflowError: names the place, and says why.
    """
    asked = workflow.output.path
    try:
        check_place(asked if asked and "://" in asked else workflow.run_directory)
    except UsageError as error:
        raise WorkflowError(f"output.path: {error}") from error


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the workflow file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | (schema(Workflow))


# --- YAML ---------------------------------------------------------------------------------------


class _StrictLoader(yaml.SafeLoader):
    """YAML without duplicate keys, of which PyYAML silently keeps the last."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if key in seen:
            raise WorkflowError(
                f"{loader.name}: line {line}: key {key!r} is given twice "
                f"(first on line {seen[key]}); keep one"
            )
        seen[key] = line
    return dict(loader.construct_pairs(node, deep=True))


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


# Dates stay text: YAML would refuse an impossible one without naming its key; pydantic names it.
_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))

# YAML 1.1 takes 1e6 for a word, YAML 1.2 and a person for a number.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _load(text: str, name: str) -> Any:
    loader = _StrictLoader(text)
    loader.name = name
    try:
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        raise WorkflowError(f"{name}: {_misfit(error, text)}") from error
    except (yaml.YAMLError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise WorkflowError(f"{name}: not valid YAML: {reason}") from error
    finally:
        loader.dispose()


def _misfit(error: yaml.MarkedYAMLError, text: str) -> str:
    """Say in a line what is wrong with a text of YAML, where, and what it may be."""
    reason, mark = error.problem or "not valid YAML", error.problem_mark
    if mark is None:
        return f"not valid YAML: {reason}"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    place = f"line {mark.line + 1}"
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"{place}: found a tab, expected spaces before {line.strip()!r}"
    if "escape character" in reason:
        return f"{place}: {reason}; write paths with /, or in 'single quotes': {line.strip()}"
    if reason.startswith(("mapping values", "expected <block end>")):
        return (
            f"{place}: not valid YAML: {line.strip()!r} does not fit the lines above it; keys of "
            "one section begin in one column, and a colon has a space after it"
        )
    return f"{place}: not valid YAML: {reason}: {line.strip()}"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise WorkflowError(f"{path}: no such file; `lspipe init {path}` writes one") from error
    except IsADirectoryError as error:
        raise WorkflowError(f"{path}: found a folder, expected a workflow file in YAML") from error
    except (OSError, UnicodeDecodeError) as error:
        raise WorkflowError(
            f"{path}: cannot be read as UTF-8 text: {error}; save it as UTF-8"
        ) from error
    content = _load(text, str(path))
    if content is None:
        raise WorkflowError(
            f"{path}: is empty, expected keys and values; `lspipe init NEW.yaml` writes an example"
        )
    if not isinstance(content, dict):
        raise WorkflowError(
            f"{path}: found {_KINDS.get(type(content), 'a value')}, expected keys and values, such "
            "as name: my-valley"
        )
    return content


_KINDS: dict[type, str] = {list: "a list", str: "text"}


def _override(content: dict[str, Any], override: str) -> None:
    """Set `a.b=value` in place."""
    keys, equals, value = override.partition("=")
    if not equals or not keys:
        raise WorkflowError(f"overrides={override}: expected KEY.PATH=VALUE")
    *parents, last = keys.split(".")
    place = content
    for key in parents:
        step = place.setdefault(key, {})
        if not isinstance(step, dict):
            raise WorkflowError(f"overrides={override}: {key!r} holds a value, not keys")
        place = step
    place[last] = _load(value, f"overrides={override}")


# --- a new file ---------------------------------------------------------------------------------

SCHEMA_FILE = "lspipe.schema.json"
"""Name of the schema beside a new workflow: its first line names it, and editors read it."""


def write_new(path: Path) -> Path:
    """Write a commented workflow, and beside it the schema that its first line names.

    The schema is for editors: they complete keys and names, and mark what is wrong, offline.

    Args:
        path: of the workflow; its folder is made if absent.

    Returns:
        Path of the schema. A file of that name that is there already is kept as it is.

    Raises:
        WorkflowError: there is such a file already.
    """
    if path.exists():
        raise WorkflowError(f"{path}: exists already; choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.parent / SCHEMA_FILE
    if not beside.exists():
        beside.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")
    path.write_text(TEMPLATE, encoding="utf-8")
    return beside


TEMPLATE = (
    f"# yaml-language-server: $schema={SCHEMA_FILE}\n"
    + """\
# A workflow of lspipe: what to look at, when, and with which model.
#   lspipe validate THIS      lspipe plan THIS      lspipe run THIS
schema_version: 1
name: villa-santa-lucia-2017

# Where: one of bbox [west, south, east, north] in degrees, file (GeoJSON, GeoPackage, shapefile),
# or tiles [18GYS] (whole Sentinel-2 tiles).
aoi: {bbox: [-72.50, -43.46, -72.33, -43.33]}

# When: both ends inclusive, UTC. Same season on both sides, so that snow, shadows and leaves agree.
# Leave `before` out for a map of one date.
dates:
  before: {start: 2017-01-01, end: 2017-03-31}
  after: {start: 2018-01-01, end: 2018-03-31}

search:
  catalog: planetary-computer       # earth-search | planetary-computer | cdse | URL | path to items
  collection: sentinel-2-l2a
  query: {"eo:cloud_cover": {lt: 80}}   # coarse; what counts is the cloud over the area, by mask

cube:
  loader: odc                       # odc | stackstac
  composite: best                   # best | latest | median | each
  mask:
    source: scl                     # scl | csmask (L1C too) | none | your own, see docs/masks.md
    scl: [nodata, saturated, shadow, cloud_medium, cloud_high, cirrus, snow]
    dilate_px: 3                    # of cloud and cloud shadow, 10 m pixels
  on_read_error: fail               # nodata fills a failed read and marks it; fail is safer

terrain: {}                         # or {dem: cop-dem-glo-30}: slope and heights of each object
radar: {}                           # or {collection: sentinel-1-rtc}: VV before and after

model: {item: auto}                 # or shipped:NAME, or the path of a model item; auto is
                                    # shipped:bare-change for two dates, shipped:bare-ground for one
                                    # or {items: [a.json, b.json]}: the mean of several

inference:
  preset: balanced                  # paper | balanced | fast | preview

change:
  threshold: 0.5                    # landslide where probability > threshold; the model's if absent
  before_below: 0.3                 # new where it was at most this before
  tolerance_px: 1                   # misregistration between the dates
  min_area_m2: 900
  list: all                         # new: half the work, and no vanished or persistent ones

flags: {}                           # or {layers: [{name: roads, path: roads.gpkg, buffer_m: 30}]}

output:
  path: runs/villa-santa-lucia
  # also geojson, kml, shapefile, stac, coolr, sheet, pictures
  write: [geoparquet, gpkg, cog, qgis, report]

cluster: {kind: local, workers: auto}
execution: {block: auto, retries: 3}
budget: {}                          # or {gpu_hours: 20}

evaluate: {}                        # or {truth: known.geojson}: the list is scored at the end
"""
)
