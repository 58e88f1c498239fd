"""The workflow file: YAML -> `Workflow`, the sum of the stages' own settings.

Each section of the file is the spec of one module; this one only adds them up, and reports
the file and the key of an error.
"""

from __future__ import annotations

import difflib
import math
import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from lspipe.change.spec import ChangeSpec
from lspipe.clusters import ClusterSpec, ExecutionSpec
from lspipe.cube.spec import CubeSpec
from lspipe.errors import WorkflowError
from lspipe.inference.settings import InferenceSpec
from lspipe.models import ModelSpec
from lspipe.outputs import OutputSpec
from lspipe.search.dates import DatesSpec
from lspipe.search.places import missing_items
from lspipe.search.spec import AreaSpec, SearchSpec

if TYPE_CHECKING:
    from collections.abc import Iterator


class Workflow(BaseModel):
    """Everything one run is asked to do."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    """Version of this file's format."""
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Short name of the run: letters, digits, dot, dash, underscore."""
    aoi: AreaSpec
    """Area of interest: one of bbox, file, tiles."""
    dates: DatesSpec
    """Date ranges before and after, both ends inclusive, UTC; only `after` makes a one-date run."""
    search: SearchSpec
    """Where the scenes come from."""
    cube: CubeSpec = CubeSpec()
    """How scenes become pixels."""
    model: ModelSpec = ModelSpec()
    """The model item."""
    inference: InferenceSpec = InferenceSpec()
    """How the model is applied."""
    change: ChangeSpec = ChangeSpec()
    """How two dates are compared."""
    output: OutputSpec = OutputSpec()
    """Where the results go, and in which formats."""
    cluster: ClusterSpec = ClusterSpec()
    """Who computes."""
    execution: ExecutionSpec = ExecutionSpec()
    """How the work is cut; never changes a pixel."""

    _folder: Path = PrivateAttr(default_factory=Path)

    @property
    def folder(self) -> Path:
        """Folder of the workflow file, which its relative paths start from."""
        return self._folder

    @property
    def run_directory(self) -> Path:
        """Where the run's results go."""
        return self._folder / (self.output.path or f"runs/{self.name}")

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
        content = _read_yaml(path)
        for override in overrides:
            _override(content, override)
        return cls._checked(content, source=str(path), folder=path.resolve().parent)

    @classmethod
    def _checked(cls, content: dict[str, Any], *, source: str, folder: Path) -> Workflow:
        _refuse_slips(content, source)
        try:
            workflow = cls.model_validate(content)
        except ValidationError as error:
            raise WorkflowError(_explain(error, source)) from error
        workflow._folder = folder
        return workflow


def check_paths(workflow: Workflow) -> list[str]:
    """Check the paths of a workflow that nothing else reads before a run does.

    A catalogue of files need not be there yet (`make demo` writes it after the workflow), so that
    is only reported. A folder that cannot be written would cost a whole run.

    Returns:
        What is not there yet, in words.

    Raises:
        WorkflowError: the results could not be written, or a catalogue is misspelt.
    """
    place = next(path for path in _upwards(workflow.run_directory) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        reason = "cannot be written" if place.is_dir() else "is not a folder"
        raise WorkflowError(
            f"output.path: found {workflow.run_directory}, but {place} {reason}; choose another"
        )
    items = missing_items(workflow.search, workflow.folder)
    return [] if items is None else [f"search.catalog: {items} is not there yet"]


def _upwards(path: Path) -> tuple[Path, ...]:
    absolute = path.absolute()
    return (absolute, *absolute.parents)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the workflow file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | (
        Workflow.model_json_schema()
    )


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


def _load(text: str, name: str) -> Any:
    loader = _StrictLoader(text)
    loader.name = name
    try:
        return loader.get_single_data()
    except (yaml.YAMLError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise WorkflowError(f"{name}: not valid YAML: {reason}") from error
    finally:
        loader.dispose()


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise WorkflowError(f"{path}: no such file; `lspipe init {path}` writes one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise WorkflowError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    content = _load(text, str(path))
    if not isinstance(content, dict):
        raise WorkflowError(f"{path}: found {type(content).__name__}, expected keys and values")
    return content


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


# --- slips of YAML ------------------------------------------------------------------------------


def _refuse_slips(content: dict[str, Any], source: str) -> None:
    """Refuse what pydantic would take for a number: `true` as 1, and .nan or .inf.

    No key of a workflow is a switch, and none is without an end; conditions of `search.query` may
    be true or false, and are checked where they are read.
    """
    for keys, value in _values(content):
        if isinstance(value, bool) and keys[:2] != ("search", "query"):
            found, expected = str(value).lower(), "a value of its own; no key is true or false"
        elif isinstance(value, float) and not math.isfinite(value):
            found, expected = str(value), "a finite number"
        else:
            continue
        where = ".".join(map(str, keys))
        raise WorkflowError(f"{source}: {where}: found {found}, expected {expected}")


def _values(content: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every value of nested YAML with its key path."""
    if isinstance(content, dict | list):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in pairs:
            yield from _values(value, (*keys, key))
    else:
        yield keys, content


# --- messages -----------------------------------------------------------------------------------

_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
_MISSING = {"missing", "missing_argument", "missing_keyword_only_argument"}


def _explain(error: ValidationError, source: str) -> str:
    """Describe the first problem in a line, and how many more there are."""
    # One wrong value under a union gives a problem per alternative; the place is what counts.
    problems = {tuple(p["loc"]): p for p in reversed(error.errors(include_url=False))}
    first, *others = sorted(problems.values(), key=lambda p: p["type"] not in _UNKNOWN)
    where = _where(first)
    message = f"{source}: {where or 'file'}: {_say(first)}"
    rest = {_where(problem) for problem in others} - {where}
    return f"{message}\nalso wrong: {', '.join(sorted(rest))}" if rest else message


def _where(problem: Any) -> str:
    keys = _keys(problem["loc"])
    if problem["type"] in _MISSING and keys and isinstance(keys[-1], int):
        keys.pop()  # a list that is too short: its key is the place, not the number that lacks
    return ".".join(map(str, keys))


def _say(problem: Any) -> str:
    keys = _keys(problem["loc"])
    if problem["type"] in _UNKNOWN:
        known = _known_keys(keys[:-1])
        near = difflib.get_close_matches(str(keys[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key ({hint})"
    if problem["type"] in _MISSING and keys and isinstance(keys[-1], int):
        return f"too few values; found {problem['input']!r}"
    if problem["type"] in _MISSING:
        return "missing; this key is required"
    message = str(problem["msg"]).removeprefix("Value error, ")
    found = problem.get("input")
    if problem["type"] == "value_error" or isinstance(found, dict):
        return message
    return f"{message}; found {found!r}"


def _keys(location: tuple[Any, ...]) -> list[Any]:
    """Key path without the names of union members that pydantic puts into a location."""
    keys: list[Any] = []
    for part in location:
        known = _known_keys(keys)
        is_last_word = part == location[-1] and not _is_type_name(str(part))
        if isinstance(part, int) or part in known or not known or is_last_word:
            keys.append(part)
    return keys


def _is_type_name(part: str) -> bool:
    return part in {"int", "float", "str", "bool", "tuple", "none"} or "[" in part


def _known_keys(path: list[Any]) -> list[str]:
    """Names of the keys under a path of the workflow file; empty where a value is expected."""
    here: Any = Workflow
    for key in path:
        if isinstance(key, int):
            return []
        here = _spec_in(_annotations(here).get(key))
        if here is None:
            return []
    return list(_annotations(here))


def _annotations(spec: Any) -> dict[str, Any]:
    if isinstance(spec, type) and issubclass(spec, BaseModel):
        return {name: field.annotation for name, field in spec.model_fields.items()}
    hints = get_type_hints(spec)
    return {field.name: hints[field.name] for field in fields(spec)}


def _spec_in(annotation: Any) -> Any:
    """Return the spec class within an annotation such as `DateRange | None`."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and is_dataclass(candidate):
            return candidate
    return None


TEMPLATE = """\
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
    scl: [nodata, saturated, shadow, cloud_medium, cloud_high, cirrus, snow]
    dilate_px: 3                    # of cloud and cloud shadow, 10 m pixels
  on_read_error: fail               # nodata fills a failed read and marks it; fail is safer

model: {item: "shipped:bare-ground"}    # or the path of a model item

inference:
  preset: balanced                  # paper | balanced | fast | preview

change:
  threshold: 0.5                    # landslide where probability > threshold; the model's if absent
  before_below: 0.3                 # new where it was at most this before
  tolerance_px: 1                   # misregistration between the dates
  min_area_m2: 900

output:
  path: runs/villa-santa-lucia
  write: [geoparquet, gpkg]         # geoparquet | gpkg | geojson

cluster: {kind: local, workers: auto}
execution: {block: auto, retries: 3}
"""
