"""The workflow file: what is wrong is said with its file, its key and the nearest known key."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from lspipe.change.spec import ChangeSpec
from lspipe.errors import WorkflowError
from lspipe.workflow import TEMPLATE, Workflow, check_paths, json_schema

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
    (changed(inference={"stride": 0}), "inference", "stride 0"),
    (changed(inference={"window": 64, "stride": 65}), "inference", "stride 65"),
    (changed(cube={"composite": "bset"}), "cube.composite", "bset"),
    (changed(name="a b"), "name", "a b"),
    (changed(aoi={}), "aoi", "bbox"),
    (changed(aoi={"bbox": [3, 2, 1]}), "aoi.bbox", ""),
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
    (changed(change={"threshold": 2}), "change", "threshold"),
    (changed(change={"threshold": True}), "change.threshold", "found true"),
    (changed(change={"tolerance_px": False}), "change.tolerance_px", "found false"),
    (changed(change={"min_area_m2": float("nan")}), "change.min_area_m2", "found nan"),
    (changed(change={"min_area_m2": float("inf")}), "change.min_area_m2", "finite"),
    (changed(aoi={"bbox": [1, 2, 3, float("nan")]}), "aoi.bbox.3", "found nan"),
    (changed(inference={"screen": 0.5}), "inference", "screen 0.5"),
    (changed(execution={"block": -1}), "execution", "block"),
    (changed(output={"write": ["gpgk"]}), "output", "gpgk"),
    (changed(schema_version=2), "schema_version", "2"),
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
    with pytest.raises(ValueError, match="min_area_m2 nan"):
        ChangeSpec(min_area_m2=float("nan"))


# --- paths --------------------------------------------------------------------------------------


def test_items_that_are_not_there_yet_are_said_and_no_more(tmp_path):
    workflow = Workflow.from_file(written(tmp_path, MINIMAL))
    assert check_paths(workflow) == [f"search.catalog: {tmp_path / 'items'} is not there yet"]
    (tmp_path / "items").mkdir()
    assert check_paths(workflow) == []


@pytest.mark.parametrize("catalog", ["earth-search", "https://stac.example/v1"])
def test_a_server_is_no_path(tmp_path, catalog):
    content = changed(search={**MINIMAL["search"], "catalog": catalog})
    assert check_paths(Workflow.from_file(written(tmp_path, content))) == []


def test_a_misspelt_catalogue_is_refused(tmp_path):
    content = changed(search={**MINIMAL["search"], "catalog": "earth-serch"})
    with pytest.raises(WorkflowError, match=r"did you mean 'earth-search'\?"):
        check_paths(Workflow.from_file(written(tmp_path, content)))


def test_results_that_cannot_be_written_are_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    content = changed(output={"path": "file/run"})
    with pytest.raises(
        WorkflowError, match=r"output\.path: found .*file/run, but .*is not a folder"
    ):
        check_paths(Workflow.from_file(written(tmp_path, content)))
    monkeypatch.setattr("os.access", lambda path, _: path != tmp_path)
    with pytest.raises(WorkflowError, match=r"output\.path: found .* cannot be written"):
        check_paths(Workflow.from_file(written(tmp_path, MINIMAL)))


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


def test_the_json_schema_accepts_the_template_and_refuses_an_unknown_key():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    content = json.loads(json.dumps(yaml.safe_load(TEMPLATE), default=str))
    jsonschema.validate(content, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "infernce": {}}, schema)
