"""The run directory: Zarr templates, whole-block writes, what is done, fingerprints, the lock.

    run.json         workflow, decisions and counts; rewritten atomically
    items.json       the frozen STAC items
    detections.zarr  group per tile: probability, quality, done
    evidence.zarr    group per tile: what a person checks a detection with
    change.zarr      group per tile: state, gain (two-date runs)
    objects/         per tile: its objects and gaps, before tiles are joined

A block is a whole number of Zarr chunks. One task writes it, and its cell of `done` last of all, so
a block that is marked as done is complete even after a kill.

Covers Zarr v3 without sharding: several processes that write into one shard lose data, and GDAL
reads the sharding codec only from 3.13.
"""

from lspipe.runs.store.blocks import (
    Layout,
    beside_done,
    copy_step,
    done,
    layout,
    mark_done,
    read,
    reopen,
    write_beside,
    write_block,
    write_change,
)
from lspipe.runs.store.documents import (
    RESERVED,
    check_directory,
    clear,
    differences,
    note_written,
    outputs_of,
    peek_json,
    plain_name,
    read_json,
    write_json,
    written,
)
from lspipe.runs.store.layers import (
    CHANGE,
    DETECTIONS,
    DOUBTED,
    EVIDENCE,
    NOT_PROCESSED,
    OBJECTS,
    SPREAD,
    TERRAIN,
    Beside,
    layers_asked,
    radar_layers,
    vv,
)
from lspipe.runs.store.locks import holder, is_locked, lock
from lspipe.runs.store.template import (
    Grid,
    create,
    create_beside,
    create_change,
    remove_partial,
    write_cells,
)

__all__ = [
    "CHANGE",
    "DETECTIONS",
    "DOUBTED",
    "EVIDENCE",
    "NOT_PROCESSED",
    "OBJECTS",
    "RESERVED",
    "SPREAD",
    "TERRAIN",
    "Beside",
    "Grid",
    "Layout",
    "beside_done",
    "check_directory",
    "clear",
    "copy_step",
    "create",
    "create_beside",
    "create_change",
    "differences",
    "done",
    "holder",
    "is_locked",
    "layers_asked",
    "layout",
    "lock",
    "mark_done",
    "note_written",
    "outputs_of",
    "peek_json",
    "plain_name",
    "radar_layers",
    "read",
    "read_json",
    "remove_partial",
    "reopen",
    "vv",
    "write_beside",
    "write_block",
    "write_cells",
    "write_change",
    "write_json",
    "written",
]
