"""The run directory: Zarr templates, whole-block writes, what is done, fingerprints, the lock.

    run.json         what was asked, decided and counted; rewritten atomically
    items.json       the frozen STAC items
    detections.zarr  group per tile: probability, quality, done
    evidence.zarr    group per tile: what a person wants to see beside a detection
    change.zarr      group per tile: state, gain (two-date runs)

A block is a whole number of Zarr chunks, written by one task, whose very last write is its cell of
`done`. A killed run therefore never holds a block that looks done and is not.

Covers Zarr v3 without sharding: several processes that write into one shard lose data, and GDAL
reads the sharding codec only from 3.13.
"""

from lspipe.runs.store.blocks import Layout, done, layout, read, write_block, write_change
from lspipe.runs.store.documents import (
    check_directory,
    clear,
    differences,
    peek_json,
    read_json,
    write_json,
)
from lspipe.runs.store.layers import CHANGE, DETECTIONS, EVIDENCE, NOT_PROCESSED
from lspipe.runs.store.lock import lock
from lspipe.runs.store.template import Grid, create, create_change

__all__ = [
    "CHANGE",
    "DETECTIONS",
    "EVIDENCE",
    "NOT_PROCESSED",
    "Grid",
    "Layout",
    "check_directory",
    "clear",
    "create",
    "create_change",
    "differences",
    "done",
    "layout",
    "lock",
    "peek_json",
    "read",
    "read_json",
    "write_block",
    "write_change",
    "write_json",
]
