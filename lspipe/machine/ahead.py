"""A function and many items -> its results in their order, a few worked on at once by threads.

For work that waits: for a network, for a disk. Only a few items are ahead of the one that is asked
for, so results do not pile up, and what follows a failure is not begun.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

T = TypeVar("T")
R = TypeVar("R")

SECONDS_BETWEEN_LOOKS = 0.5


def in_order(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    at_once: int,
    meanwhile: Callable[[], None] | None = None,
    kept: ThreadPoolExecutor | None = None,
) -> Iterator[R]:
    """Yield what a function returns for each item, in the order of the items.

    Args:
        function: called in threads of this process.
        items: taken one by one, when there is room.
        at_once: so many threads; 1 = in this thread, each item when it is asked for.
        meanwhile: called now and then while a result is waited for. What it raises ends this at
            once, without waiting for calls that go on: they may wait for what will not come.
        kept: threads that work for others too, and keep what belongs to a thread, such as GDAL's
            connections; None = new ones, which end with this.

    Raises:
        Exception: what the function raised first, in the order of the items.

    Example:
        >>> list(in_order(len, ["a", "bcd"], at_once=2))
        [1, 3]
    """
    if at_once == 1:
        yield from map(function, items)
        return
    left, waiting = iter(items), deque["Future[R]"]()
    pool = ThreadPoolExecutor(at_once) if kept is None else kept
    try:
        waiting += (pool.submit(function, item) for item in islice(left, at_once))
        while waiting:
            next_one = waiting.popleft()
            while meanwhile is not None and not wait([next_one], SECONDS_BETWEEN_LOOKS).done:
                meanwhile()
            found = next_one.result()
            waiting += (pool.submit(function, item) for item in islice(left, 1))
            yield found
    finally:
        begun = [future for future in waiting if not future.cancel()]
        if meanwhile is None:
            wait(begun)
        if kept is None:
            pool.shutdown(wait=meanwhile is None)
