"""Tests that need a CUDA GPU; run by name: `pytest tests/gpu`. They skip where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="no CUDA GPU: torch.cuda.is_available() is False")
    # The hook is given the tests of all folders.
    for item in (item for item in items if HERE in item.path.parents):
        item.add_marker(pytest.mark.gpu)
        if not torch.cuda.is_available():
            item.add_marker(skip)
