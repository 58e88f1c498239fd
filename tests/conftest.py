"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest

from tests.properties import load_profile

ROOT = Path(__file__).resolve().parent.parent

load_profile()

# All that is imported while tests are collected stays; to look for garbage among it takes a sixth
# of the collection. Not frozen afterwards: Hypothesis 6.100 then calls its first test flaky.
gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage from now on."""
    gc.enable()


# Groups that take longest, in this order; two processes that share the tests then end together.
LONGEST_FIRST = (
    "test_interruptions", "compiled", "test_every_key", "test_run", "test_radar_runs",
    "test_kinds_of_clusters", "test_review", "test_architectures", "demo", "test_model_train",
    "test_networks", "test_reviewing_a_run", "test_recipes_fed", "test_terrain_runs", "test_docs",
    "test_overlapped_reading", "test_pairs", "test_bad_input", "test_inn_pair", "test_inference",
    "test_radar_runs_blind", "test_export", "test_faults_of_peers", "test_tiles", "test_report",
    "test_plan", "test_registered_runs", "test_loaders", "test_learning", "test_run_directory",
    "test_declared_files", "test_listing", "test_detect", "test_surroundings", "test_blind",
    "test_front_door", "test_stream", "test_ended", "test_evaluate_run", "test_new_users",
    "test_masked_runs", "test_pairs_on_slopes", "test_radar", "test_clusters", "test_inventory",
    "test_cold_springs", "test_cube", "test_halved", "test_terrain", "test_openvino",
    "test_samples_runs", "test_between", "test_plan_tiles", "test_chip_files",
    "test_evidence_columns", "test_raster_file", "test_worker", "test_layered",
)  # fmt: skip

# The second takes the compiled kernels that the first one keeps; one archive serves both.
TOGETHER = {
    "test_compiled": "compiled", "test_models_runtimes": "compiled",
    "test_demo": "demo", "test_demo_runs": "demo",
}  # fmt: skip


def group_of(file: Path) -> str:
    """Return the group of a file: it alone, or with those that share what they set up."""
    return TOGETHER.get(file.stem, file.stem)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the groups that take longest first."""
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(group_of(item.path), len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each group to one process, as what it sets up serves all its tests.

    Not by the mark `xdist_group`: pytest-xdist 3.8 hands it on in a name that pytest 9.2 does not
    let it change, and then deals out test by test.
    """
    # Here, as a machine that only has a GPU may lack it.
    from xdist.scheduler import LoadFileScheduling

    class ByGroup(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(Path(super()._split_scope(nodeid)))

    return ByGroup(config, log)


@pytest.fixture(scope="session")
def demo_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the demo's archive, to be read only: to make one takes seven seconds."""
    # Here, as `demo` imports all that writes scenes.
    from lspipe.demo import write_archive

    folder = tmp_path_factory.mktemp("demo")
    assert write_archive(folder) == folder / "demo.yaml"
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real satellite data: `$LSPIPE_TEST_DATA`, or `shared/data` beside the project."""
    folder = Path(os.environ.get("LSPIPE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set LSPIPE_TEST_DATA to its folder")
    return folder
