"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.properties import load_profile

ROOT = Path(__file__).resolve().parent.parent

load_profile()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real satellite data: `$LSPIPE_TEST_DATA`, or `shared/data` beside the project."""
    folder = Path(os.environ.get("LSPIPE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set LSPIPE_TEST_DATA to its folder")
    return folder
