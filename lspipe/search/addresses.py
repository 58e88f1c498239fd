"""The address of an asset as an item in a file writes it -> one that can be read from anywhere.

Archives are copied, moved and written by hand: their items hold relative and absolute paths, URIs
with and without percent signs, and a link to the web page that they were copied from.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from lspipe.errors import CatalogError
from lspipe.machine.remote import is_address

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pystac

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # two letters at least: "C:/" is a drive
_WINDOWS = re.compile(r"/?[A-Za-z]:[\\/]|\\\\")  # a drive, or a share


def locate(item: pystac.Item, content: Mapping[str, Any], file: Path) -> None:
    """Make the asset addresses of an item absolute, in place.

    URLs (`https:`, `s3:`) and GDAL's own (`/vsicurl/...`) stay as they are. Paths and `file:` URIs
    become paths of this machine; a relative one starts from the item's file, never from the item's
    `self` link, which a copy of a web catalogue still holds. Addresses are URIs, in which `%20` is
    a blank, but many programs write plain paths: of the two readings the one that exists is taken.

    Args:
        item: to be changed.
        content: the same as it is written; pystac replaces what belongs to Windows.
        file: the file that holds it.

    Raises:
        CatalogError: a path of Windows, or of another machine.
    """
    # A linked item may lie beside its assets, or the link may.
    folders = list(dict.fromkeys((str(file.parent.resolve()), str(file.resolve().parent))))
    for key, asset in item.assets.items():
        try:
            asset.href = _located(str(content["assets"][key]["href"]), folders)
        except ValueError as error:
            raise CatalogError(f"{key} of {item.id}: {error} ({file})") from error


def locate_served(href: str, base: str) -> str:
    """Return the absolute address of an asset of an item that a server gave.

    Servers of an institute name files of a disk that they share with whoever asks: a path of this
    machine stays one where the file is there.

    Args:
        href: as the server wrote it.
        base: address of the item.

    Raises:
        CatalogError: a `file:` URI of another machine.
    """
    if href.startswith("/vsi"):
        return href
    if href.lower().startswith("file:"):
        try:
            return _located(href, ["/"])
        except ValueError as error:
            raise CatalogError(f"{base}: {error}") from error
    readings = _readings_of_path(href)[:2] if href.startswith("/") else []
    return next(filter(os.path.exists, readings), urljoin(base, href))


def _located(href: str, folders: list[str]) -> str:
    is_file_uri = href.lower().startswith("file:")
    if href.startswith("/vsi") or (_URL.match(href) and not is_file_uri):
        return href
    if not is_file_uri and not _WINDOWS.match(href):
        href = href.replace("\\", "/")  # a relative path of Windows
    readings = _readings_of_uri(href) if is_file_uri else _readings_of_path(href)
    # As text: of thousands of items with tens of assets, paths would take most of the time.
    named = dict.fromkeys(_joined(folder, reading) for reading in readings for folder in folders)
    found = next(filter(os.path.exists, named), None)
    if found is not None:
        return found
    if _WINDOWS.match(readings[0]):
        raise ValueError(
            f"found {href!r}, a path of Windows, expected one of this machine or one relative to "
            "the item; write the items anew"
        )
    # Nothing is there, perhaps not yet: then it is the URI that it ought to be.
    return _joined(folders[0], readings[0] if is_file_uri else readings[1])


def _joined(folder: str, path: str) -> str:
    if is_address(folder) and not path.startswith("/"):
        scheme, _, rest = folder.partition("://")
        return f"{scheme}://{os.path.normpath(f'{rest}/{path}')}"
    return os.path.normpath(path if path.startswith("/") else f"{folder}/{path}")


def _readings_of_path(href: str) -> list[str]:
    """Return what a path may mean: as it is written, as a URI, without a query."""
    return [href, unquote(href), unquote(re.split(r"[?#]", href, maxsplit=1)[0])]


def _readings_of_uri(href: str) -> list[str]:
    """Return what a `file:` URI may mean: as a URI, and as somebody who knows no URIs wrote it."""
    rest = href[len("file:") :]
    host = urlsplit(href).netloc if rest.startswith("//") else ""
    if host.lower() not in {"", "localhost"} and not re.fullmatch(r"[A-Za-z]:", host):
        raise ValueError(
            f"found {href!r}, a file of the machine {host!r}, expected file:///PATH of this machine"
        )
    path = rest[2 + len(host) :] if rest.startswith("//") else rest
    path = host + path if host.endswith(":") else path  # file://C:/... lacks a slash
    return [unquote(re.split(r"[?#]", path, maxsplit=1)[0]), unquote(path), path]
