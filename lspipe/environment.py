"""Environment variables of this process, changed for a while."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@contextmanager
def kept(names: Iterable[str]) -> Iterator[None]:
    """Leave variables as they were found, whoever sets or removes them meanwhile."""
    earlier = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in earlier.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
