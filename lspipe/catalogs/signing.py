"""An address of an asset -> one that can be read now, with a signature where its archive wants one.

Covers: Planetary Computer, whose links expire in less than an hour. A signature is asked for just
before a read, kept by the process, and never stored. Does not cover: keys of object stores, which
GDAL finds by itself.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from lspipe.errors import MissingExtra

if TYPE_CHECKING:
    from lspipe.catalogs.known import Catalog

BLOB_STORE = ".blob.core.windows.net"

TRIES = {"retry_total": 4, "retry_backoff_factor": 0.5}
"""Tries for a signature: five within about eight seconds, as for a search. The package's own ten
take seven minutes, for each read of each block."""

# Of a shared access signature: permissions, start, expiry. Source: Azure Storage, service SAS.
_SIGNED = {"sp", "st", "se"}


class UnsignedError(OSError):
    """A signature that cannot be had now; the message holds no address and no token."""


def sign(href: str, catalog: Catalog, *, refused: str | None = None) -> str:
    """Return an address that can be read now; only Planetary Computer's need a signature.

    Args:
        href: of an asset.
        catalog: of its item.
        refused: what an earlier call returned, if it could not be read: its signature is used no
            more, whatever this machine's clock says of when it expires.

    Raises:
        MissingExtra: the signing package is not installed.
        UnsignedError: the signer is out of reach, or answers with something else.
    """
    parts = urlsplit(href)
    if not catalog.signs or not parts.netloc.endswith(BLOB_STORE):
        return href
    if refused is None and _SIGNED & set(parse_qs(parts.query)):
        return href
    token = _token(parts.netloc.split(".")[0], parts.path.split("/")[1], refused)
    return f"{href.partition('?')[0]}?{token}"


@dataclass
class _Desk:
    """Where signatures of a container are asked for, by one thread at a time.

    The others use what it gets, or fail as it did: the bands of a block are read together, and the
    signer lets a machine ask only so often.
    """

    lock: Lock = field(default_factory=Lock)
    failed: float = 0.0
    """When one was last asked for in vain; 0 = none since the last that was got."""
    reason: str = ""


_desks: dict[tuple[str, str], _Desk] = {}


def _token(account: str, container: str, refused: str | None) -> str:
    """Return the query that signs all of a container; kept until it expires or was refused."""
    try:
        from planetary_computer import sas
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "Planetary Computer's images need signed links: "
            "pip install 'lspipe[planetary-computer]', or search another catalogue"
        ) from error
    began, desk = time.monotonic(), _desks.setdefault((account, container), _Desk())
    with desk.lock:
        if desk.failed > began:
            raise UnsignedError(desk.reason)
        if refused is not None:
            # Not all of them: of the bands read at once each would ask for one of its own.
            for place, kept in list(sas.TOKEN_CACHE.items()):
                if refused.endswith(f"?{kept.token}"):
                    sas.TOKEN_CACHE.pop(place, None)
        try:
            token = str(sas.get_token(account, container, **TRIES).token)
        # requests' own are OSError; of an answer that is no token pydantic's and json's are
        # ValueError.
        except (OSError, ValueError, TypeError) as error:
            desk.failed = time.monotonic()
            desk.reason = f"its link cannot be signed: {_reason(error)}"
            # Not `from error`: messages of these hold addresses, and the answer with its token.
            raise UnsignedError(desk.reason) from None
        desk.failed = 0.0
        return token


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    many = re.search(r"too many (\d+) error responses", str(error))
    if status is not None or many is not None:
        return f"the signer answers HTTP {status or many[1]}"  # type: ignore[index]
    if isinstance(error, OSError):
        return "the signer cannot be reached"
    return "the signer's answer is no token"
