"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.properties import load_profile

ROOT = Path(__file__).resolve().parent.parent

load_profile()

# Groups that take longest, in this order; two processes that share the tests then end together.
LONGEST_FIRST = (
    "test_interruptions", "test_review", "test_reviewing_a_run", "test_run", "test_run_directory",
    "test_networks",
    "compiled", "test_every_key", "test_earlier_runs",
    "test_bad_input", "test_model_train", "test_inn_pair", "test_learning", "test_unfamiliar",
    "test_overlapped_reading", "test_architectures", "test_tiles", "test_docs",
)  # fmt: skip

# The second takes the compiled kernels that the first one keeps.
TOGETHER = {"test_compiled": "compiled", "test_models_runtimes": "compiled"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each file to one process, as what it sets up serves all its tests; long ones first."""
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}

    def group_of(item: pytest.Item) -> str:
        return TOGETHER.get(item.path.stem, item.path.stem)

    # A machine that only has a GPU may lack it.
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            item.add_marker(pytest.mark.xdist_group(group_of(item)))
    items.sort(key=lambda item: ranks.get(group_of(item), len(ranks)))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real satellite data: `$LSPIPE_TEST_DATA`, or `shared/data` beside the project."""
    folder = Path(os.environ.get("LSPIPE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set LSPIPE_TEST_DATA to its folder")
    return folder
