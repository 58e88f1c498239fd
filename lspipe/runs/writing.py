"""What was computed of a block -> its codes and bits in the store, with its evidence.

It takes no slot for inference: the network runs on the next block meanwhile.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.runs import store
from lspipe.runs.jobs import BlockResult
from lspipe.schema import Quality, quantise
from lspipe.schema.maps import LEFT_OUT, NOT_NEEDED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lspipe.inference.windows import Block
    from lspipe.runs.jobs import Inferred, StepJob


def write(found: Inferred, *, block: Block, job: StepJob) -> BlockResult:
    """Write a block; the only task of a run that writes one.

    Args:
        found: what is to be written; stays as it is, for another try.
        block: its place in the tile.
        job: settings that all blocks of the step share.
    """
    began = time.perf_counter()
    maps, beside = _maps(found)
    if found.is_more and found.spared is not None:
        _keep_stored(store.DETECTIONS, maps, found.spared, block=block, job=job)
        _keep_stored(store.EVIDENCE, beside, found.spared, block=block, job=job)
    store.write_block(
        job.run,
        job.tile,
        job.step,
        block.index,
        block.core,
        detections=maps,
        evidence={**found.evidence, **beside},
    )
    needed, run = found.windows
    writing = time.perf_counter() - began
    bits = maps["quality"]
    return BlockResult(
        tile=job.tile,
        step=job.step,
        index=block.index,
        windows=needed,
        windows_run=run,
        failed_reads=int(np.count_nonzero(bits & np.uint8(Quality.READ_ERROR))),
        seconds=found.seconds + writing,
        network=found.seconds,
        writing=writing,
        inputs=found.inputs,
        masks=None if found.disputed is None else _disputes(found.disputed, bits),
        worker=found.worker,
        is_more=found.is_more,
    )


def _keep_stored(
    kind: str,
    layers: Mapping[str, NDArray[Any]],
    spared: NDArray[np.bool_],
    *,
    block: Block,
    job: StepJob,
) -> None:
    """Put what is stored of a block where it is not computed now, in place."""
    for name, values in layers.items():
        stored = store.read(job.run, kind, job.tile, name, (job.step, *block.core))
        np.copyto(values, stored, where=spared)


def _maps(found: Inferred) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.uint16]]]:
    """Return the layers of the map by name, and those that explain it."""
    probability, doubt, nothing = found.probability, found.doubt, np.float32(np.nan)
    beside = {}
    if doubt is not None:
        beside["doubted"] = quantise(np.where(doubt, probability, nothing))
        probability = np.where(doubt, nothing, probability)
    if found.spread is not None:
        beside["spread"] = quantise(np.where(np.isnan(probability), nothing, found.spread))
    return {"probability": quantise(probability), "quality": _bits(found, probability)}, beside


def _bits(found: Inferred, probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the quality bits of the core, as they are stored."""
    is_left_out = (found.quality & np.uint8(Quality.OUTSIDE)) != 0
    bits = found.quality & ~np.uint8(Quality.OUTSIDE)
    # A channel may have no data where the scene class is valid: the quality bit records it. What
    # only the other date of a pair lacks is not observed either; the bits of that date say why.
    missing = np.isnan(probability) if found.lacking is None else found.lacking
    bits[missing & (bits == 0)] |= np.uint8(Quality.NODATA)
    if found.spared is not None:
        bits[found.spared & (bits == 0)] = np.uint8(NOT_NEEDED)
    bits[is_left_out] = np.uint8(LEFT_OUT)
    if found.inside is not None:
        bits[~found.inside] = np.uint8(Quality.OUTSIDE)
    return bits


def _disputes(disputed: NDArray[np.uint8], quality: NDArray[np.uint8]) -> dict[str, int]:
    """Count the pixels of the area that have data, and those that masks disagree about."""
    is_seen = (quality & np.uint8(Quality.NODATA | Quality.OUTSIDE)) == 0
    return {
        "seen": int(np.count_nonzero(is_seen)),
        "disputed": int(np.count_nonzero(is_seen & (disputed != 0))),
    }
