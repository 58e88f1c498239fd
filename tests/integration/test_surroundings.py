"""A run among what other programs left: their PROJ, their dask settings, warnings as errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import lspipe
from tests.worlds import environment, fingerprints, quick_world
from tests.worlds import lspipe as command_line

if TYPE_CHECKING:
    from pathlib import Path

LEFT_BY_OTHERS = {
    "PYTHONWARNINGS": "error",
    "DASK_DISTRIBUTED__WORKER__PRELOAD": "no_such_module",
    "DASK_DISTRIBUTED__SCHEDULER__PRELOAD": "no_such_module",
    "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
    "DASK_DISTRIBUTED__WORKER__LIFETIME__DURATION": "2s",
    "DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT": "1s",
    "DASK_ARRAY__CHUNK_SIZE": "1KiB",
    "DASK_TOKENIZE__ENSURE_DETERMINISTIC": "true",
    "DASK_SCHEDULER": "synchronous",
}


@pytest.mark.usefixtures("forked_workers")
def test_what_other_programs_left_changes_no_byte_of_a_run(tmp_path: Path) -> None:
    empty = tmp_path / "no data here"
    empty.mkdir()
    data = dict.fromkeys(("PROJ_DATA", "PROJ_LIB", "GDAL_DATA", "GDAL_DRIVER_PATH"), str(empty))
    world = quick_world(tmp_path, cluster={"kind": "local", "workers": 1})
    lspipe.run(world.workflow, output=tmp_path / "plain")
    done = command_line("run", world.workflow, env={**environment(), **data, **LEFT_BY_OTHERS})
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert fingerprints(world.run) == fingerprints(tmp_path / "plain")
