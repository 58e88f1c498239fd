"""What can go wrong, grouped by what a caller does about it.

    LspipeError                    exit 1   anything lspipe raises on purpose
    ├── UsageError                 exit 2   the person changes something and tries again
    │   ├── WorkflowError                   the workflow file: file, key path, what was expected
    │   ├── AreaError                       the area of interest cannot be used
    │   ├── RadiometryError                 an item whose pixels cannot be turned into reflectance
    │   ├── ModelError                      model item, weights, or what the network returned
    │   ├── SamplesError                    labelled patches: file, key, shape, values
    │   ├── DecisionsError                  a person's decisions: file, object, what was found
    │   ├── MissingExtra                    an optional package is not installed
    │   └── StoreError                      a run directory that is foreign, locked or damaged
    ├── CatalogError               exit 1   the server or file of items cannot be reached or read
    ├── RemoteError                exit 1   an object store cannot be reached, or refuses
    ├── ClusterError               exit 1   the cluster went away, or did not start
    ├── BlockError                 exit 3   one block failed; the others continue
    │   ├── LoadError                       a read failed: item, asset, block
    │   │   └── UnfitAsset                  a file is whole, and not what lspipe can take
    │   └── InferenceError                  the network failed: window, batch
    │       └── DeviceError                 the GPU failed, and would fail again
    └── NothingFound               exit 4   the search answered, and there was nothing

Messages name what was found, what was expected, where, and what to do. They are one or two lines,
and never hold credentials: pass every URL through `without_query`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence


class LspipeError(Exception):
    """Base of every error that lspipe raises on purpose."""

    exit_code = 1


class UsageError(LspipeError):
    """Something the person asked for cannot be done as asked."""

    exit_code = 2


class WorkflowError(UsageError):
    """A workflow file that cannot be used; the message starts with the file and the key path."""


class AreaError(UsageError):
    """An area of interest that is empty, has no CRS or cannot be read."""


class RadiometryError(UsageError):
    """An item whose digital numbers cannot be turned into reflectance with certainty."""


class ModelError(UsageError):
    """A model item, its weights or its network break their contract."""


class SamplesError(UsageError):
    """Labelled patches that cannot be trained on: a file, its key, shape or values."""


class DecisionsError(UsageError):
    """What a person decided about a list cannot be understood, or is of another list."""


class MissingExtra(UsageError):
    """An optional package is missing; the message names what to install."""


class StoreError(UsageError):
    """A run directory that is foreign, locked or damaged."""


class CatalogError(LspipeError):
    """A catalogue that cannot be reached, or whose answer cannot be read."""


class RemoteError(LspipeError, OSError):
    """An object store that cannot be reached, or refuses; also an `OSError`, as of a disk."""


class ClusterError(LspipeError):
    """The cluster cannot be started, or went away in the middle of a run."""


class BlockError(LspipeError):
    """One block could not be done; the run continues with the others and ends with exit code 3."""

    exit_code = 3


class LoadError(BlockError):
    """A read that failed.

    Carries `item`, `asset` and `reason`; the block is added by the task that asked for the pixels.
    """

    def __init__(self, item: str, asset: str, reason: str) -> None:
        super().__init__(item, asset, reason)
        self.item = item
        self.asset = asset
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.asset} of {self.item}: {self.reason}"


class UnfitAsset(LoadError):
    """A file that is whole, and yet not what lspipe can take: reading it again changes nothing."""


class InferenceError(BlockError):
    """A network that failed on a batch of windows."""


class DeviceError(InferenceError):
    """A GPU that failed: its process can compute nothing more, and other workers can."""


class NothingFound(LspipeError):
    """The search answered, and there is nothing to work on."""

    exit_code = 4


def first_few(names: Sequence[object], most: int = 5, *, between: str = ", ") -> str:
    """List the first of many names in a message, and count the others.

    Example:
        >>> first_few(["a", "b"]), first_few(range(9), 2)
        ('a, b', '0, 1, and 7 more')
    """
    listed = [str(name) for name in names[:most]]
    if len(names) > most:
        listed.append(f"and {len(names) - most} more")
    return between.join(listed)


def without_query(url: str) -> str:
    """Return a URL or path without query, fragment and user info, which may hold credentials."""
    if "://" not in url:
        return url
    # Not urllib: it sees no host in GDAL's "/vsicurl/https://user:password@host/...".
    address = re.split("[?#]", url, maxsplit=1)[0]
    return re.sub("://[^/]*@", "://", address)


def without_queries(text: str) -> str:
    """Return a message without queries and user info of the URLs in it, which may be secret."""
    return re.sub(r"://[^/\s@]*@", "://", re.sub(r"\?[^\s'\")]*", "", text))


def hide_queries(record: logging.LogRecord) -> bool:
    """Filter for the loggers of libraries that write addresses as they were asked for."""
    record.msg, record.args = without_queries(record.getMessage()), ()
    return True
