"""Files that are read together: several over a network, where most is waiting; else in turn."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from lspipe.cube.loaders.raster_file import gdal_path
from lspipe.machine.ahead import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")

MOST_AT_ONCE = 16
"""Files that are read together over a network, for a block or before a run."""


def read_together(
    function: Callable[[_Item], _Found], items: Sequence[_Item], hrefs: Iterable[str]
) -> Iterator[_Found]:
    """Yield what a function reads for each item: for several at once over a network.

    Files of this machine are read in this thread.

    Args:
        function: reads.
        items: in the order of the results.
        hrefs: of what is read.

    Raises:
        Exception: what the function raised first, in the order of the items.
    """
    if len(items) > 1 and any(map(gdal_path, hrefs)):
        most = min(len(items), MOST_AT_ONCE)
        return in_order(function, items, at_once=most, kept=_reading_threads())
    return map(function, items)


@cache
def _reading_threads() -> ThreadPoolExecutor:
    """Return the threads of this process that read over a network, whichever block they read for.

    GDAL keeps connections by thread, and PROJ its database: threads that ended with a block would
    connect again for the next one, which takes several round trips.
    """
    # A worker reads two blocks at a time.
    return ThreadPoolExecutor(2 * MOST_AT_ONCE, thread_name_prefix="lspipe-read")
