"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# The same examples on every machine, so that a red run can be repeated; seeds are printed.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real satellite data: `$LSPIPE_TEST_DATA`, or `shared/data` beside the project."""
    folder = Path(os.environ.get("LSPIPE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set LSPIPE_TEST_DATA to its folder")
    return folder
