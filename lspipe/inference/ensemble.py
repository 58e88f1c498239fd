"""One block of pixels and several networks -> the mean of their probabilities.

Each network answers as it would alone, with its own scaling, views and overlaps, and the answers
are averaged at the end. So an ensemble is the mean of single runs, and its pixels are read once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import InferenceError
from lspipe.inference.block import run_block

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lspipe.inference.runtimes import Runtime


def run_each(
    pixels: NDArray[Any],
    *,
    runtimes: Sequence[Runtime],
    report: Callable[[int, int], None] | None = None,
    **arguments: Any,
) -> NDArray[np.float32]:
    """Turn the pixels of one block into the mean of what each network says of its core.

    Args:
        pixels: as of `run_block`.
        runtimes: one network, whose answer is returned bit for bit, or several.
        report: called once, as by `run_block`; of several networks with the most windows that one
            of them ran.
        arguments: the others of `run_block`.

    Returns:
        float32 of the core's shape, 0..1, NaN = not observed.

    Raises:
        InferenceError: a network failed; of several, says which.
        ValueError: as `run_block`.
    """
    if len(runtimes) == 1:
        return run_block(pixels, runtime=runtimes[0], report=report, **arguments)
    counts: list[tuple[int, int]] = []

    def answer(number: int) -> NDArray[np.float32]:
        try:
            return run_block(
                pixels,
                runtime=runtimes[number],
                report=lambda *windows: counts.append(windows),
                **arguments,
            )
        except InferenceError as error:
            raise InferenceError(f"network {number + 1} of {len(runtimes)}: {error}") from error

    # A float64 holds the sum exactly, so the order of the networks does not matter.
    total = answer(0).astype(np.float64)
    for number in range(1, len(runtimes)):
        total += answer(number)
    if report is not None:
        report(*max(counts))
    return (total / len(runtimes)).astype(np.float32)
