"""The workflow file: errors name the file, the key and the nearest known name; its schema."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from lspipe.change.spec import ChangeSpec
from lspipe.clusters import KINDS
from lspipe.demo import workflow_text
from lspipe.errors import WorkflowError
from lspipe.models.item import SHIPPED
from lspipe.outputs import OUTPUTS
from lspipe.workflow import (
    SCHEMA_FILE,
    TEMPLATE,
    Workflow,
    check_paths,
    json_schema,
    write_new,
)

WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / "workflows").glob("*.yaml"))

MINIMAL = {
    "name": "small",
    "aoi": {"bbox": [1, 2, 3, 4]},
    "dates": {"after": {"start": "2020-01-01", "end": "2020-02-01"}},
    "search": {"catalog": "items", "collection": "sentinel-2-l2a"},
}


def written(tmp_path, text_or_dict):
    path = tmp_path / "w.yaml"
    text = text_or_dict if isinstance(text_or_dict, str) else yaml.safe_dump(text_or_dict)
    path.write_text(text, encoding="utf-8")
    return path


def changed(**sections):
    return {**MINIMAL, **sections}


def test_the_template_is_a_valid_workflow_that_names_every_section(tmp_path):
    workflow = Workflow.from_file(written(tmp_path, TEMPLATE))
    assert workflow.name == "villa-santa-lucia-2017"
    assert set(yaml.safe_load(TEMPLATE)) == set(Workflow.model_fields)


def test_a_minimal_workflow_gets_the_documented_defaults(tmp_path):
    workflow = Workflow.from_file(written(tmp_path, MINIMAL))
    assert workflow.cube.composite == "best"
    assert workflow.cube.mask.dilate_px == 3
    assert workflow.run_directory == tmp_path / "runs" / "small"
    assert workflow.dates.before is None


WRONG = [
    # (what is written, the key path, what else the message says)
    (changed(infernce={}), "infernce", 'did you mean "inference"?'),
    (changed(cube={"mask": {"dilate": 3}}), "cube.mask.dilate", 'did you mean "dilate_px"?'),
    (changed(inference={"strde": 22}), "inference.strde", 'did you mean "stride"?'),
    (changed(inference={"stride": 22.5}), "inference.stride", "22.5"),
    (changed(inference={"stride": 0}), "inference.stride", "1 or more"),
    (changed(inference={"window": 64, "stride": 65}), "inference", "stride 65"),
    (changed(cube={"composite": "bset"}), "cube.composite", "bset"),
    (changed(name="a b"), "name", "a b"),
    (changed(aoi={}), "aoi", "bbox"),
    (changed(aoi={"bbox": [3, 2, 1]}), "aoi.bbox", "[west, south, east, north]"),
    (
        changed(dates={"after": {"start": "2020-02-01", "end": "2020-01-01"}}),
        "dates.after",
        "2020-02-01",
    ),
    (
        changed(
            dates={
                "before": {"start": "2020-01-01", "end": "2020-03-01"},
                "after": {"start": "2020-02-01", "end": "2020-04-01"},
            }
        ),
        "dates",
        "overlapping",
    ),
    (changed(change={"threshold": 2}), "change.threshold", "a probability, 0 to 1"),
    (changed(change={"threshold": True}), "change.threshold", "found true"),
    (changed(change={"tolerance_px": False}), "change.tolerance_px", "found false"),
    (changed(change={"min_area_m2": float("nan")}), "change.min_area_m2", "found nan"),
    (changed(change={"min_area_m2": float("inf")}), "change.min_area_m2", "finite"),
    (changed(aoi={"bbox": [1, 2, 3, float("nan")]}), "aoi.bbox.3", "found nan"),
    (changed(inference={"screen": 0.5}), "inference.screen", "0 to below 0.5"),
    (changed(execution={"block": -1}), "execution.block", "1 or more, or auto"),
    (changed(output={"write": ["gpgk"]}), "output.write.0", 'did you mean "gpkg"?'),
    (changed(schema_version=2), "schema_version", "2"),
    (changed(schema_version=True), "schema_version", "found true, expected 1"),
    (changed(output={"write": ["gpkg", "gpkg"]}), "output.write", "none twice"),
    (changed(output={"write": "gpkg"}), "output.write", "found 'gpkg', expected a list"),
    (changed(cluster={"kind": "lokal"}), "cluster.kind", 'did you mean "local"?'),
    (changed(cluster={"workers": "many"}), "cluster.workers", "a whole number, 1 or more, or auto"),
    (changed(cluster={"memory_per_worker": "lots"}), "cluster.memory_per_worker", "as 4GiB"),
    (changed(cube={"loader": "gdal"}), "cube.loader", "odc, stackstac or"),
    (changed(cube={"mask": {"scl": ["cloud"]}}), "cube.mask.scl.0", "'cloud'"),
    (changed(cube=None), "cube", "found nothing, expected keys and values (loader"),
    (
        changed(inference={"window": "22"}),
        "inference.window",
        "found '22' (without quotes it is a number), expected a whole",
    ),
    (changed(aoi={"tiles": []}), "aoi.tiles", "1 or more of them"),
    (changed(aoi={"tiles": ["18IOS"]}), "aoi.tiles.0", "a Sentinel-2 tile such as 18GYS"),
    (changed(aoi={"bbox": [0, 0, 1, 91]}), "aoi", "expected [west, south, east, north] in degrees"),
    (changed(dates={"event": "2017-13-01"}), "dates.event", "a day such as 2018-01-31"),
    (changed(name="a\n"), "name", "letters, digits"),
    (changed(evaluate={"truth": 3}), "evaluate.truth", "found 3, expected text"),
    ({key: value for key, value in MINIMAL.items() if key != "search"}, "search", "required"),
]


@pytest.mark.parametrize(("content", "key", "says"), WRONG, ids=[case[1] for case in WRONG])
def test_a_wrong_workflow_is_refused_with_its_file_and_key(tmp_path, content, key, says):
    path = written(tmp_path, content)
    with pytest.raises(WorkflowError) as caught:
        Workflow.from_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {key}: "), message
    assert says.replace('"', "'") in message, message
    assert len(message.splitlines()) <= 2


CLOUD = "eo:cloud_cover"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({CLOUD: {"lt": "80"}}, "query.eo:cloud_cover.lt: found '80', expected a number without"),
        ({CLOUD: {"lt": True}}, "query.eo:cloud_cover.lt: found True"),
        ({CLOUD: {"lt": [80]}}, "query.eo:cloud_cover.lt: found [80]"),
        ({CLOUD: {"lt": None}}, "query.eo:cloud_cover.lt: found None"),
        ({CLOUD: {"in": 80}}, "query.eo:cloud_cover.in: found 80, expected a list"),
        ({CLOUD: {"in": []}}, "query.eo:cloud_cover.in: found [], expected a list"),
        ({CLOUD: {"in": [1, "2"]}}, "query.eo:cloud_cover.in: found [1, '2']"),
        ({CLOUD: {}}, "query.eo:cloud_cover: found no condition"),
        ({CLOUD: {"less": 80}}, "operator 'less'"),
        ({"platform": {"startsWith": 2}}, "query.platform.startsWith: found 2, expected text"),
        ({"platform": {"eq": {"a": 1}}}, "query.platform.eq: found {'a': 1}"),
        ({"created": {"gt": False}}, "query.created.gt: found False"),
    ],
)
def test_a_condition_that_nothing_could_meet_is_refused(tmp_path, query, says):
    path = written(tmp_path, changed(search={**MINIMAL["search"], "query": query}))
    with pytest.raises(WorkflowError) as caught:
        Workflow.from_file(path)
    assert str(caught.value).startswith(f"{path}: search: ")
    assert says in str(caught.value)


def test_conditions_that_make_sense_are_taken(tmp_path):
    query = {
        CLOUD: {"lt": 80, "gte": 0.5},
        "s2:processing_baseline": {"gte": "04.00", "in": ["04.00", "05.00"]},
        "platform": {"startsWith": "sentinel-2", "neq": "sentinel-2c"},
        "deprecated": {"eq": False},
    }
    path = written(tmp_path, changed(search={**MINIMAL["search"], "query": query}))
    assert Workflow.from_file(path).search.query == query


def test_nan_in_an_override_is_refused_too(tmp_path):
    with pytest.raises(WorkflowError, match=r"change\.min_area_m2: found nan"):
        Workflow.from_file(written(tmp_path, MINIMAL), overrides=("change.min_area_m2=.nan",))
    with pytest.raises(ValueError, match="min_area_m2: found nan"):
        ChangeSpec(min_area_m2=float("nan"))


# --- paths --------------------------------------------------------------------------------------


def test_items_that_are_not_there_yet_are_said_and_no_more(tmp_path):
    workflow = Workflow.from_file(written(tmp_path, MINIMAL))
    assert check_paths(workflow) == [f"search.catalog: {tmp_path / 'items'} is not there yet"]
    (tmp_path / "items").mkdir()
    assert check_paths(workflow) == []


def test_known_landslides_that_are_not_there_yet_are_reported(tmp_path):
    (tmp_path / "items").mkdir()
    workflow = Workflow.from_file(written(tmp_path, changed(evaluate={"truth": "known.geojson"})))
    assert check_paths(workflow) == [
        f"evaluate.truth: {tmp_path / 'known.geojson'} is not there yet"
    ]
    (tmp_path / "known.geojson").touch()
    assert check_paths(workflow) == []


@pytest.mark.parametrize("catalog", ["earth-search", "https://stac.example/v1"])
def test_a_server_is_no_path(tmp_path, catalog):
    content = changed(search={**MINIMAL["search"], "catalog": catalog})
    assert check_paths(Workflow.from_file(written(tmp_path, content))) == []


def test_a_misspelt_catalogue_is_refused(tmp_path):
    content = changed(search={**MINIMAL["search"], "catalog": "earth-serch"})
    with pytest.raises(WorkflowError, match=r"did you mean 'earth-search'\?"):
        check_paths(Workflow.from_file(written(tmp_path, content)))


def test_results_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "file").touch()
    content = changed(output={"path": "file/run"})
    with pytest.raises(
        WorkflowError, match=r"output\.path: .*file/run: .*file, which is not a folder"
    ):
        check_paths(Workflow.from_file(written(tmp_path, content)))
    content = changed(output={"path": "/proc/1/run"})
    with pytest.raises(WorkflowError, match=r"output\.path: /proc/1/run: cannot be written"):
        check_paths(Workflow.from_file(written(tmp_path, content)))


def test_a_duplicate_key_is_refused_with_both_lines(tmp_path):
    path = written(tmp_path, "name: a\naoi: {bbox: [1, 2, 3, 4]}\nname: b\n")
    with pytest.raises(WorkflowError, match=r"w\.yaml: line 3: key 'name' is given twice .*line 1"):
        Workflow.from_file(path)


@pytest.mark.parametrize("text", ["- a\n", "name: [\n", "", "just text"])
def test_a_file_that_is_not_keys_and_values_is_refused(tmp_path, text):
    with pytest.raises(WorkflowError, match=r"w\.yaml"):
        Workflow.from_file(written(tmp_path, text))


def test_a_missing_file_says_how_to_write_one(tmp_path):
    with pytest.raises(WorkflowError, match="lspipe init"):
        Workflow.from_file(tmp_path / "none.yaml")


def test_yaml_cannot_build_objects(tmp_path):
    text = "name: !!python/object/apply:os.system ['touch /tmp/lspipe-owned']\n"
    with pytest.raises(WorkflowError, match="not valid YAML"):
        Workflow.from_file(written(tmp_path, text))


def test_overrides_replace_keys_and_are_checked_too(tmp_path):
    path = written(tmp_path, MINIMAL)
    workflow = Workflow.from_file(path, overrides=("cube.mask.dilate_px=0", "name=other"))
    assert (workflow.cube.mask.dilate_px, workflow.name) == (0, "other")
    with pytest.raises(WorkflowError, match="cube.msk"):
        Workflow.from_file(path, overrides=("cube.msk.dilate_px=0",))
    with pytest.raises(WorkflowError, match="KEY.PATH=VALUE"):
        Workflow.from_file(path, overrides=("cube",))


def test_a_large_number_may_be_written_with_an_exponent(tmp_path):
    path = written(tmp_path, MINIMAL)
    for text in ("1e6", "1E+6", "+1.e6"):
        workflow = Workflow.from_file(path, overrides=(f"change.min_area_m2={text}",))
        assert workflow.change.min_area_m2 == 1e6


# --- the schema, for editors --------------------------------------------------------------------

VALIDATOR = jsonschema.Draft202012Validator(json_schema())
PLUG_IN = "mypackage.mymodule:thing"


def plain(text):
    """YAML as an editor sees it: days are text."""
    return json.loads(json.dumps(yaml.safe_load(text), default=str))


def complaints(content):
    """The key paths at which an editor would mark the file."""
    return {".".join(map(str, error.absolute_path)) for error in VALIDATOR.iter_errors(content)}


@pytest.mark.parametrize(
    "text",
    [TEMPLATE, workflow_text(), *(path.read_text("utf-8") for path in WORKFLOWS)],
    ids=["template", "demo", *(path.stem for path in WORKFLOWS)],
)
def test_the_schema_accepts_every_workflow_of_the_project(text):
    VALIDATOR.check_schema(VALIDATOR.schema)
    assert complaints(plain(text)) == set()


def is_marked(key):
    """Whether an editor finds it; what depends on several keys, only `validate` does."""
    return key not in {"inference", "aoi", "dates", "dates.after"}


@pytest.mark.parametrize(
    ("content", "key"),
    [
        pytest.param(content, key, id=key)
        for content, key, says in WRONG
        # JSON has no such numbers; a format and the end of a text are left out by some validators.
        if is_marked(key) and "found nan" not in says and key != "dates.event"
        and "inf" not in str(content) and content["name"] != "a\n"
    ],
)  # fmt: skip
def test_what_is_refused_is_marked_by_an_editor(content, key):
    parent = key.rpartition(".")[0]
    assert complaints(plain(yaml.safe_dump(content))) & {key, parent}


@pytest.mark.parametrize(
    ("section", "key", "names", "is_open"),
    [
        ("search", "catalog", {"earth-search", "planetary-computer", "cdse"}, True),
        ("cube", "loader", {"odc", "stackstac"}, True),
        ("cube", "composite", {"best", "latest", "median", "each"}, False),
        ("cube", "on_read_error", {"fail", "nodata"}, False),
        ("model", "item", {"auto", *(f"shipped:{name}" for name in SHIPPED)}, True),
        ("inference", "preset", {"paper", "balanced", "fast", "preview"}, False),
        ("inference", "runtime", {"auto", "eager", "compiled", "openvino", "cudagraph"}, False),
        ("change", "method", {"hysteresis", "subtract"}, False),
        ("output", "write", set(OUTPUTS), True),
        ("cluster", "kind", set(KINDS), True),
    ],
)
def test_an_editor_completes_the_names_and_takes_a_plug_in(section, key, names, is_open):
    node = VALIDATOR.schema["$defs"][VALIDATOR.schema["properties"][section]["$ref"][8:]]
    found = node["properties"][key]
    choices = [found, *found.get("anyOf", ()), *found.get("items", {}).get("anyOf", ())]
    assert set().union(*(one.get("enum", ()) for one in choices)) == names
    value = [PLUG_IN] if key == "write" else PLUG_IN
    asked = {**MINIMAL, section: {**MINIMAL.get(section, {}), key: value}}
    assert (complaints(asked) == set()) == is_open


def test_a_new_workflow_names_the_schema_beside_it(tmp_path):
    path = tmp_path / "new" / "my.yaml"
    beside = write_new(path)
    assert path.read_text().splitlines()[0] == f"# yaml-language-server: $schema={beside.name}"
    assert beside.parent == path.parent
    assert json.loads(beside.read_text()) == json_schema()


def test_nothing_that_a_person_wrote_is_overwritten_by_a_new_workflow(tmp_path):
    (tmp_path / SCHEMA_FILE).write_text("mine")
    write_new(tmp_path / "one.yaml")
    assert (tmp_path / SCHEMA_FILE).read_text() == "mine"
    (tmp_path / "two.yaml").write_text("mine")
    with pytest.raises(WorkflowError, match=r"two\.yaml: exists already"):
        write_new(tmp_path / "two.yaml")
    assert (tmp_path / "two.yaml").read_text() == "mine"
