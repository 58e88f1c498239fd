"""Every key of a workflow does something: with another value, a plan or a run is another one.

`ROWS` names for every key another value and what it changes. Keys are read from the specs, so that
one that is added without a row fails. Where the plan shows what changes, nothing is run; the other
rows share one small world, whose blocks are computed in this process.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import dask
import geopandas as gpd
import numpy as np
import pytest
from affine import Affine

import lspipe
from lspipe import clusters
from lspipe.clusters import address, kubernetes, local, slurm
from lspipe.cube import loaders
from lspipe.errors import LspipeError, NothingFound
from lspipe.evaluate import truth
from lspipe.models import read_item
from lspipe.models.statistics import Statistics
from lspipe.runs import pipeline, store, stream
from lspipe.runs.memory import cluster_of
from lspipe.runs.tail_plan import tails_of
from lspipe.search.parquet import read_geoparquet
from lspipe.workflow import Workflow
from tests import pixel_models, seeing_model
from tests.backscatter import add_slice
from tests.ground import write_raster
from tests.scenes import make_scene
from tests.stac_server import serving
from tests.stored import compute_here, here
from tests.worlds import add_scene, ground, make_world, plan_only

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SIZE = 64
OLD, NEW, FRESH = (10, 10, 12, 12), (40, 40, 12, 12), (40, 8, 12, 12)
NARROW = (2, 36, 4, 16)


# --- the keys -----------------------------------------------------------------------------------


def keys(spec: Any, prefix: str = "") -> Iterator[str]:
    """Every key below a spec that holds a value, `a.b.c`."""
    hints = get_type_hints(spec)
    for field in fields(spec):
        kind = hints[field.name]
        # A list of specs is one key: `ROWS` has a row for each key of its specs.
        parts = () if get_origin(kind) is tuple else get_args(kind)
        inner = [t for t in (kind, *parts) if is_dataclass(t)]
        if inner:
            yield from keys(inner[0], f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def every_key() -> list[str]:
    found = []
    for name, field in Workflow.model_fields.items():
        is_section = is_dataclass(field.annotation)
        found += keys(field.annotation, f"{name}.") if is_section else [name]
    return found


# --- what may change ----------------------------------------------------------------------------


def in_plan(see: Callable[[Any], Any]) -> Callable[[Looking], Any]:
    return lambda looking: see(looking.plan())


def in_run(*names: str) -> Callable[[Looking], Any]:
    """What a run left: arrays, the list, files, or what it was told to do."""
    return lambda looking: {name: looking.run()[name] for name in names}


@dataclass
class Looking:
    """One workflow, and what is made of it."""

    world: Any
    overrides: tuple[str, ...]
    output: Path

    def workflow(self) -> Workflow:
        return Workflow.from_file(self.world.workflow, overrides=self.overrides)

    def plan(self) -> Any:
        return plan_only(self.workflow())

    def run(self) -> dict[str, Any]:
        """Say what a run left and asked for; each workflow is run once for all rows."""
        if self.overrides not in RUNS:
            ASKED.clear()
            RUNS[self.overrides] = self.ran() | ASKED
        return RUNS[self.overrides]

    def ran(self) -> dict[str, Any]:
        """Run into a directory of its own; a refusal is an outcome too."""
        try:
            summary = lspipe.run(self.workflow(), output=self.output)
        except LspipeError as error:
            return {"refused": f"{type(error).__name__}: {error}"}
        arrays = {
            name: digest(store.read(self.output, which, "18GYS", name))
            for which, names in (
                (store.DETECTIONS, ("probability", "quality")),
                (store.CHANGE, ("state",)),
            )
            for name in names
            if (self.output / which).exists()
        }
        found = read_geoparquet(self.output / "inventory.parquet")
        return {
            "refused": None,
            "list": found[["id", "status", "n_px"]].to_numpy().tolist(),
            "columns": list(found.columns),
            **{name: found[name].tolist() for name in found if found[name].dtype == bool},
            "files": sorted(path.name for path in self.output.glob("inventory.*")),
            "items": sorted({*found["items_before"], *found["items_after"]} - {None}),
            "failed reads": summary.failed_reads,
            "measured": summary.registration,
            "warned": any(text.startswith(LIKE_TRAINING) for text in summary.warnings),
            **arrays,
        }


RUNS: dict[tuple[str, ...], dict[str, Any]] = {}


def digest(values: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(values)).hexdigest()


# --- a run whose blocks are computed here -------------------------------------------------------

ASKED: dict[str, Any] = {}
"""What was asked of the cluster and the stream of the last run."""


@contextmanager
def there(spec: Any, execution: Any) -> Iterator[Any]:
    """Another cluster without workers."""
    ASKED["there"] = True
    with here(spec, execution) as client:
        yield client


there.is_here = True  # type: ignore[attr-defined]


def computed(*arguments: Any, report: Any, **asked: Any) -> stream.Outcome:
    """Compute in this process, and remember what was asked."""
    ASKED.update(asked)
    return compute_here(*arguments, report=report)


def counted_loader(*arguments: Any, **options: Any) -> Any:
    """A loader of one's own: that of lspipe, counted."""
    ASKED["own loader"] = True
    return loaders.loader("odc")(*arguments, **options)


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setattr(pipeline.stream, "compute", computed)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two dates with several scenes, a cloud, half-covered bands of 20 m, and three models."""
    folder = tmp_path_factory.mktemp("world")
    seeing_model.write_item(folder / "seeing.json")
    seeing_model.write_item(folder / "strict.json", **{"lspipe:threshold": 0.9})
    affine = {"kind": "affine", "scale": 0.5, "offset": 0}
    seeing_model.write_item(folder / "gentle.json", **{"lspipe:scaling": affine})
    write_strange(folder / "strange.json")
    pixel_models.write_item(folder / "steep.json", pixel_models.SteepSoil, window=16)
    for name, rise in (("dem", 5.0), ("other", 4.0), ("geoid", 0.1), ("egm96", 0.2)):
        # A slope of 5 in 30 that falls to the west; as the height of a geoid, far too steep.
        heights = np.tile(900 + rise * np.arange(60, dtype=np.float32), (60, 1))
        corner = Affine(30, 0, 699960 - 600, 0, -30, 5200000 + 600)
        write_raster(folder / f"{name}.tif", heights, corner, crs=32718)
    made = make_world(
        folder,
        size=SIZE,
        before={
            "values": ground(OLD),
            "clouds": [(50, 20, 4)],
            "properties": {"eo:cloud_cover": 5},
        },
        after={"values": ground(OLD, NEW, NARROW), "clouds": [(30, 52, 6)], "scl": with_a_pond()},
        model={"item": "seeing.json"},
        inference={"window": 16, "stride": 8, "tta": "none"},
        execution={"block": SIZE, "retries": 0},
        change={"min_area_m2": 0},
        cluster={"kind": "tests.stored:here"},
    )
    # Cloudier over the area, and not over the tile as its metadata says.
    add_scene(
        folder, size=SIZE, time="2018-02-19T14:37:51Z", values=ground(OLD, NEW, FRESH),
        clouds=[(20, 40, 14)], properties={"eo:cloud_cover": 1},
    )  # fmt: skip
    add_scene(folder, size=SIZE, time="2016-01-15T14:37:51Z", values=ground())
    for state, orbit in (("ascending", 18), ("descending", 83)):
        for day in ("2017-01-03", "2017-02-03", "2018-01-03", "2018-02-03"):
            add_slice(
                folder, time=f"{day}T10:00:00Z", power=np.full((100, 100), 0.1), crs=32718,
                corner=(699960 - 180, 5200000 + 180),
                properties={"sat:orbit_state": state, "sat:relative_orbit": orbit},
            )  # fmt: skip
    other = make_scene(
        folder / "scenes", size=SIZE, time="2018-03-01T14:37:51Z", values=ground(NEW)
    )
    other.collection_id = "another"
    for name, collection in (("items", "another"), ("elsewhere", "sentinel-2-c1-l2a")):
        (folder / name).mkdir(exist_ok=True)
        content = other.to_dict(include_self_link=False) | {"collection": collection}
        (folder / name / "other.json").write_text(json.dumps(content), encoding="utf-8")
    earlier = next((folder / "items").glob("*_20170115_*")).read_text(encoding="utf-8")
    (folder / "elsewhere" / "earlier.json").write_text(earlier, encoding="utf-8")
    (folder / "items" / "earlier.json").write_text(
        json.dumps(
            json.loads(earlier) | {"id": "S2A_18GYS_20170115_1_L2A", "collection": "another"}
        ),
        encoding="utf-8",
    )
    # A damaged file, of a scene that is taken where the year of 2015 is asked for.
    broken = add_scene(folder, size=SIZE, time="2015-12-15T14:37:51Z", values=ground())
    name = json.loads(broken.read_text(encoding="utf-8"))["id"]
    (folder / "scenes" / name / "B04.tif").write_bytes(b"no picture")
    for side, west in (("west", 0), ("east", 320)):
        left, top = 699960 + west, 5200000
        part = gpd.GeoSeries.from_wkt(
            [f"POLYGON(({left} {top}, {left + 300} {top}, {left + 300} {top - 640}, "
             f"{left} {top - 640}, {left} {top}))"], crs=32718,
        )  # fmt: skip
        part.to_crs(4326).to_file(folder / f"{side}.geojson")
        part.to_file(folder / "both.gpkg", layer=side)
    # Roads through what is new.
    road = gpd.GeoSeries.from_wkt(["LINESTRING (699960 5199540, 700600 5199540)"], crs=32718)
    road.to_file(folder / "road.geojson", driver="GeoJSON", engine="pyogrio")
    return made


def with_a_pond() -> np.ndarray:
    """Scene classes of 20 m: vegetation, and water near what is new."""
    classes = np.full((SIZE // 2, SIZE // 2), 4, np.uint8)
    classes[29, 29] = 6
    return classes


def write_strange(path: Path) -> None:
    """A model that was trained on what nothing of this world is like."""
    document = json.loads(read_item("shipped:bare-ground").path.read_text("utf-8"))
    images = [np.full((4, 8, 8), 0.9) + np.linspace(0, 0.01, 64).reshape(8, 8)]
    document["properties"]["lspipe:statistics"] = Statistics.of(images).as_json()
    path.write_text(json.dumps(document), encoding="utf-8")


def steps(plan: Any) -> list[tuple[str, list[str]]]:
    return [(step.role, [i.id for i in step.items]) for tile in plan.tiles for step in tile.steps]


def passes(plan: Any) -> Any:
    """The passes of radar of each tile."""
    return [tile.radar and tile.radar.facts() for tile in plan.tiles]


def asked_of_radar(plan: Any) -> Any:
    """What the end of each tile is told, and what decides whether it is ended again."""
    return plan.change_fingerprint, [tail.radar.facts() for tail in tails_of(plan).values()]


def inside(plan: Any) -> Any:
    return [None if tile.area is None else digest(tile.area[:, :]) for tile in plan.tiles]


def workers_started(looking: Looking) -> dict[str, Any]:
    """What a local cluster would be started with."""
    asked: dict[str, Any] = {}

    def cluster(**options: Any) -> Any:
        asked.update(options, failures=dask.config.get("distributed.scheduler.allowed-failures"))
        raise StopIteration

    workflow = looking.workflow()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distributed.LocalCluster", cluster)
        with pytest.raises(RuntimeError), local.start(workflow.cluster, workflow.execution):
            pass
    return asked


A_JOB = ("cluster={kind: slurm, workers: 1, memory_per_worker: 1GiB}",)
A_POD = ("cluster={kind: kubernetes, workers: 1, memory_per_worker: 1GiB, image: 'lspipe:1'}",)


def job(looking: Looking) -> dict[str, Any]:
    """What a job of SLURM is made of."""
    workflow = looking.workflow()
    return slurm.arguments(workflow.cluster, workflow.execution)


def pod(looking: Looking) -> dict[str, Any]:
    """What Kubernetes is asked for."""
    workflow = looking.workflow()
    return kubernetes.manifest(workflow.cluster, workflow.execution, "lspipe-test")


def namespace_asked(looking: Looking) -> Any:
    """The namespace in which pods are started."""
    asked = []

    def cluster(**options: Any) -> Any:
        asked.append(options["namespace"])
        raise ValueError("asked")

    workflow = looking.workflow()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes, "KubeCluster", cluster)
        with (
            pytest.raises(LspipeError, match="asked"),
            kubernetes.start(workflow.cluster, workflow.execution),
        ):
            pass
    return asked


def address_asked(looking: Looking) -> Any:
    """The address at which a scheduler is looked for."""
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(address, "_shake_hands", refuse(asked))
        looking.run()
    return asked


def page_asked(looking: Looking) -> Any:
    """How many items a server is asked for at once."""
    with serving([{"type": "FeatureCollection", "features": []}]) as api:
        served = (*looking.overrides, f"search.catalog={api.url}")
        with pytest.raises(NothingFound):
            plan_only(Workflow.from_file(looking.world.workflow, overrides=served))
        return [one["asked"]["limit"] for one in api.requests if "limit" in one["asked"]]


def refuse(asked: list[str]) -> Callable[[str], None]:
    def shake_hands(place: str) -> None:
        asked.append(place)
        raise OSError

    return shake_hands


def asked_of_network(name: str) -> Callable[[Looking], Any]:
    """How a plan lets the network be loaded, whatever this machine has."""

    def look(looking: Looking) -> Any:
        asked = []

        def load(*_: Any, **options: Any) -> Any:
            asked.append(options[name])
            return SimpleNamespace(device="cpu", precision="fp32", name="eager")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lspipe.inference.runtimes.load", load)
            looking.plan()
        return asked

    return look


def warned_or_refused(looking: Looking) -> Any:
    found = looking.run()
    return (found["refused"] or "")[:40], found.get("warned")


def scored(looking: Looking) -> Any:
    """The list of a run compared with what its workflow names as known."""
    looking.run()
    listed = gpd.read_parquet(looking.output / "inventory.parquet")
    return truth.score_list(listed, truth.known_landslides(looking.workflow()))


@dataclass(frozen=True)
class Row:
    """Another value of a key, and where it is seen; `given` holds for both values."""

    value: str
    see: Callable[[Looking], Any]
    given: tuple[str, ...] = ()


def layer(**keys: str) -> str:
    """A layer of flags: a road, with 45 m on both sides, or with other keys."""
    content = {"name": "roads", "path": "road.geojson", "buffer_m": "45.0", **keys}
    return f"[{{{', '.join(f'{key}: {value}' for key, value in content.items())}}}]"


GROUND = ("terrain={dem: dem.tif}",)
SHIFTED = (
    "model.item=steep.json",
    "terrain={dem: dem.tif, datum: geoid, geoid: geoid.tif, shift_to: none}",
)
BACKSCATTER = ("radar={collection: sentinel-1-rtc}",)
OWN_DAYS = (
    "radar={collection: sentinel-1-rtc, before: {start: 2017-01-01, end: 2017-02-28}, "
    "after: {start: 2018-01-01, end: 2018-02-28}}",
)
AS_LAYER = (f"flags.layers={layer()}",)
AREA = "[-72.5320, -43.3370, -72.5300, -43.3300]"
EACH = ("cube.composite=each",)
LIKE_TRAINING = ("18GYS before: ", "18GYS after: ")  # how warnings of unlike pixels begin
PIXELS = in_run("probability")
SHORTER = "2018-02-01"

ROWS: dict[str, list[Row]] = {
    "schema_version": [Row("2", lambda looking: str(read(looking)))],
    "name": [Row("other", lambda looking: looking.workflow().run_directory.name,
                 given=("output={}",))],
    "aoi.bbox": [Row(AREA, in_plan(inside), given=("aoi={bbox: [-72.6, -43.5, -72.4, -43.2]}",))],
    "aoi.file": [Row("east.geojson", in_run("quality"), given=("aoi={file: west.geojson}",))],
    "aoi.layer": [Row("east", in_plan(inside), given=("aoi={file: both.gpkg, layer: west}",))],
    "aoi.tiles": [Row("[18GYS, 18GYT]", in_plan(lambda plan: plan.area.tiles))],
    "dates.before.start": [Row("2016-01-01", in_plan(steps), given=EACH)],
    "dates.before.end": [Row("2017-01-10", in_plan(steps),
                             given=("dates.before.start=2016-01-01", *EACH))],
    "dates.after.start": [Row(SHORTER, in_plan(steps), given=EACH)],
    "dates.after.end": [Row(SHORTER, in_plan(steps), given=EACH)],
    "dates.event": [Row("2016-12-01", in_plan(steps), given=("dates={event: 2018-01-01}", *EACH))],
    "search.catalog": [Row("elsewhere", in_run("list", "probability"))],
    "search.collection": [Row("another", in_plan(steps))],
    "search.query": [Row("{eo:cloud_cover: {lt: 8}}", in_plan(steps))],
    "search.exclude": [Row("[S2A_18GYS_20180120_0_L2A]", in_plan(steps))],
    "search.page_size": [Row("7", page_asked)],
    "cube.loader": [
        Row(f"{__name__}:counted_loader", lambda looking: looking.run().get("own loader")),
    ],
    "cube.composite": [Row(name, in_run("probability")) for name in ("latest", "median", "each")],
    "cube.mask.source": [
        Row(source, in_run("quality", "probability"))
        for source in ("none", "tests.mask_sources:bright", "[scl, 'tests.mask_sources:bright']")
    ],
    "cube.mask.scl": [Row("[snow]", in_run("quality", "probability"))],
    "cube.mask.dilate_px": [Row("0", in_run("quality", "probability"))],
    "cube.mask.apply": [Row("input", PIXELS)],
    "cube.on_read_error": [
        Row("nodata", in_run("refused", "quality", "failed reads"),
            given=("dates.before={start: 2015-12-01, end: 2015-12-31}",)),
    ],
    "cube.resampling": [Row("nearest", PIXELS, given=("model.item=shipped:bare-ground",))],
    "terrain.dem": [
        Row("dem.tif", in_run("columns")),
        Row("other.tif", in_plan(lambda plan: plan.change_fingerprint), given=GROUND),
    ],
    "terrain.unit": [
        Row("ft", in_plan(lambda plan: plan.terrain.files[0].metres), given=GROUND),
    ],
    "terrain.datum": [Row("ellipsoid", in_plan(lambda plan: plan.terrain.datum), given=GROUND)],
    "terrain.shift_to": [
        Row("ellipsoid", in_plan(lambda plan: plan.terrain.sign), given=SHIFTED),
    ],
    "terrain.geoid": [
        Row("egm96.tif", in_plan(lambda plan: plan.detection_fingerprint),
            given=(*SHIFTED, "terrain.shift_to=ellipsoid")),
    ],
    "terrain.min_slope_deg": [
        Row("20.0", in_run("quality", "probability"),
            given=("terrain={dem: dem.tif, min_slope_deg: 1.0}",)),
    ],
    "radar.collection": [Row("sentinel-1-rtc", in_plan(passes))],
    "radar.orbit": [Row("ascending", in_plan(passes), given=BACKSCATTER)],
    "radar.before.start": [Row("2017-01-10", in_plan(passes), given=OWN_DAYS)],
    "radar.before.end": [Row("2017-01-10", in_plan(passes), given=OWN_DAYS)],
    "radar.after.start": [Row("2018-01-10", in_plan(passes), given=OWN_DAYS)],
    "radar.after.end": [Row("2018-01-10", in_plan(passes), given=OWN_DAYS)],
    # What they do to a list: tests/unit/test_blind.py.
    "radar.change_db": [Row("6.0", in_plan(asked_of_radar), given=BACKSCATTER)],
    "radar.flat_deg": [Row("10.0", in_plan(asked_of_radar), given=BACKSCATTER)],
    "radar.dense_share": [Row("0.5", in_plan(asked_of_radar), given=BACKSCATTER)],
    "model.item": [
        Row("shipped:bare-ground", PIXELS),
        Row("strict.json", in_run("state", "list")),
    ],
    "model.items": [
        Row("[seeing.json, gentle.json]", PIXELS,
            given=("model={items: [seeing.json, strict.json]}",)),
    ],
    "inference.preset": [
        Row("fast", PIXELS, given=("inference={window: 16, preset: preview}",)),
        Row("balanced", PIXELS, given=("inference={window: 16, preset: preview}",)),
        Row("paper", PIXELS, given=("inference={window: 16, preset: preview}",)),
    ],
    "inference.overlap": [Row("0.25", PIXELS, given=("inference={window: 16, overlap: 0.5}",))],
    "inference.window": [Row("24", PIXELS)],
    "inference.stride": [Row("4", PIXELS)],
    "inference.tta": [Row("d4", PIXELS)],
    "inference.tta_merge": [Row("mean", PIXELS, given=("inference.tta=d4",))],
    "inference.tta_order": [Row("max-then-average", PIXELS, given=("inference.tta=d4",))],
    "inference.blend": [Row("hann", PIXELS)],
    "inference.spread": [Row("true", in_run("columns"), given=("inference.tta=d4",))],
    "inference.screen": [Row("0.4", PIXELS, given=("inference.stride=4",))],
    "inference.batch_size": [Row("3", in_plan(lambda plan: plan.setting.batch_size))],
    "inference.precision": [Row("bf16", PIXELS)],
    "inference.runtime": [Row("openvino", asked_of_network("runtime"))],
    "inference.device": [Row("cpu", asked_of_network("device"))],
    "inference.unfamiliar": [
        Row("warn", warned_or_refused, given=("model.item=strange.json",)),
        Row("ignore", warned_or_refused,
            given=("model.item=strange.json", "inference.unfamiliar=warn")),
    ],
    "change.method": [Row("subtract", in_run("state"), given=("change.before_below=0.2",))],
    "change.threshold": [Row("0.75", in_run("state", "list"))],
    "change.before_below": [Row("0.2", in_run("state"))],
    "change.tolerance_px": [Row("40", in_run("list"))],
    "change.min_gain": [Row("0.45", in_run("state"))],
    "change.register": [Row("none", in_run("measured"))],
    "change.min_area_m2": [Row("1e6", in_run("list"))],
    "change.list": [Row("new", in_run("probability", "quality", "list"))],
    "flags.edge_of_observation": [Row("false", in_run("columns"))],
    "flags.bare_before": [
        Row("null", in_run("columns")),
        Row("1.0", in_run("bare_before")),
    ],
    "flags.river_bank": [
        Row("null", in_run("columns")),
        Row("400.0", in_run("river_bank"), given=("flags.river_bank=0.0",)),
    ],
    "flags.elongated": [
        Row("null", in_run("columns")),
        Row("1.0", in_run("elongated"), given=("flags.elongated=1000.0",)),
    ],
    "flags.gentle_slope": [
        Row("null", in_run("columns"), given=GROUND),
        Row("80.0", in_run("gentle_slope"), given=(*GROUND, "flags.gentle_slope=1.0")),
    ],
    "flags.layers": [
        Row(layer(), in_run("columns")),
        Row(layer(name="tracks"), in_run("columns"), given=AS_LAYER),
        Row(layer(path="far.geojson"), in_run("refused"), given=AS_LAYER),
        Row(layer(buffer_m="1.0"), in_run("roads"), given=AS_LAYER),
        Row(layer(least_share="0.99"), in_run("roads"), given=AS_LAYER),
        Row(layer(path="both.gpkg", layer="east", buffer_m="0.0"), in_run("roads"),
            given=(f"flags.layers={layer(path='both.gpkg', layer='west', buffer_m='0.0')}",)),
    ],
    "output.path": [Row("another", lambda looking: looking.workflow().run_directory.name)],
    "output.write": [Row("[geoparquet, geojson]", in_run("files"))],
    "cluster.kind": [Row(f"{__name__}:there", lambda looking: looking.run().get("there"))],
    "cluster.address": [
        Row("tcp://127.0.0.1:2", address_asked,
            given=("cluster={kind: address, address: 'tcp://127.0.0.1:1'}",)),
    ],
    "cluster.workers": [
        Row("3", workers_started, given=("cluster={kind: local, workers: 1}",)),
        Row("3", in_plan(lambda plan: clusters.worker_count(cluster_of(plan))),
            given=("cluster={kind: local, workers: 1}",)),
    ],
    "cluster.memory_per_worker": [
        Row("3GiB", workers_started, given=("cluster={kind: local, workers: 1}",)),
        Row("100MB", in_run("refused")),
    ],
    "cluster.cores": [Row("3", job, given=A_JOB), Row("3", pod, given=A_POD)],
    "cluster.gpus": [Row("1", job, given=A_JOB), Row("1", pod, given=A_POD)],
    "cluster.queue": [Row("long", job, given=A_JOB)],
    "cluster.account": [Row("mine", job, given=A_JOB)],
    "cluster.walltime": [Row("'07:00:00'", job, given=A_JOB)],
    "cluster.interface": [Row("ib0", job, given=A_JOB)],
    "cluster.image": [Row("other:1", pod, given=A_POD)],
    "cluster.namespace": [Row("mine", namespace_asked, given=A_POD)],
    "cluster.volumes": [Row("{runs: /runs}", pod, given=A_POD)],
    "cluster.options": [
        Row("{job_name: mine}", job, given=A_JOB),
        Row("{pod: {nodeSelector: {gpu: a100}}}", pod, given=A_POD),
    ],
    "execution.block": [Row("32", in_plan(lambda plan: len(plan.tiles[0].blocks)))],
    "execution.retries": [
        Row("7", lambda looking: looking.run()["retries"]),
        Row("7", workers_started, given=("cluster={kind: local, workers: 1}",)),
    ],
    "budget.gpu_hours": [Row("0.0000001", in_run("refused"))],
    "evaluate.truth": [Row("east.geojson", scored, given=("evaluate={truth: west.geojson}",))],
    "execution.patience": [Row("7", lambda looking: looking.run()["crew"]._execution.patience)],
    "execution.strict": [Row("true", lambda looking: looking.run()["crew"]._execution.strict)],
    "execution.max_in_flight": [Row("2", lambda looking: looking.run()["max_in_flight"])],
}  # fmt: skip


def read(looking: Looking) -> Any:
    """What a file says, or why it is not read."""
    try:
        return looking.workflow().schema_version
    except LspipeError as error:
        return error


def test_every_key_has_a_row():
    assert sorted(ROWS) == sorted(every_key())


CASES = [pytest.param(key, row, id=f"{key}={row.value}") for key in ROWS for row in ROWS[key]]


@pytest.mark.parametrize(("key", "row"), CASES)
def test_another_value_changes_what_is_done(key, row, world, tmp_path):
    one = Looking(world, row.given, tmp_path / "one")
    other = Looking(world, (*row.given, f"{key}={row.value}"), tmp_path / "other")
    assert row.see(other) != row.see(one)
