"""A search of a STAC API -> all of its items, over pages as large as the server takes them.

pystac-client ends at a page without items. Servers that filter after they have cut their pages send
such pages before full ones, so that pages are followed here.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from lspipe.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pystac_client.item_search import ItemSearch
    from pystac_client.stac_api_io import StacApiIO

logger = logging.getLogger(__name__)

MAX_ITEMS = 10_000
"""Items a search may return: a whole country for a season; more is a mistake, or a server whose
pages go round in circles."""

MAX_EMPTY_PAGES = 50
"""Empty pages in a row after which a search ends: some servers link to a next page for ever."""

FEW_EMPTY_PAGES = 3
"""The same where as many items came as the server counts."""

LEAST_PAGE = 10
"""Items of the smallest page that a server which gives up on larger ones is asked for."""

# How servers name the number of items of a page when they refuse it.
_NAMES_SIZE = re.compile(r"\blimit\b|page.?size|max.?items|too (?:many|large|big)", re.IGNORECASE)


class NoItemsError(ValueError):
    """An answer without a list of items, though the server called it a success; its text."""


@dataclass
class Found:
    """What a server gave so far."""

    features: list[dict[str, Any]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    """What tells the items apart: servers whose pages shift give some twice, and others never."""
    matched: int | None = None
    """How many items the server counts, the most that any page says."""
    empty_pages: int = 0
    """In a row, up to now."""
    is_circle: bool = False
    """Whether a page linked to one that was read before."""

    def take(self, page: Mapping[str, Any]) -> None:
        """Add a page."""
        self.features += page["features"]
        self.names |= set(map(_name, page["features"]))
        counted = _matched(page)
        if counted is not None:
            self.matched = max(counted, self.matched or 0)
        self.empty_pages = 0 if page["features"] else self.empty_pages + 1

    @property
    def has_all(self) -> bool:
        """Whether as many items came as the server counts; False where it does not count."""
        return self.matched is not None and len(self.names) >= self.matched

    @property
    def is_over(self) -> bool:
        """Whether so many pages were empty that no full one is to be expected."""
        return self.empty_pages >= (FEW_EMPTY_PAGES if self.has_all else MAX_EMPTY_PAGES)

    @property
    def lacks(self) -> str:
        """Say what speaks for items that were not given; "" where nothing does."""
        if self.has_all:
            return ""
        if self.matched is not None:
            found = f"the server counts {self.matched} items and gave {len(self.names)}"
        elif self.is_over:
            found = f"the server gave {self.empty_pages} empty pages in a row, and a link to more"
        elif self.is_circle and not self.empty_pages:
            found = "the pages of the server go round in circles"
        else:
            return ""
        return f"{found}; scenes may be missing; plan again later, or with another page_size"


def everything(
    reader: StacApiIO, question: Callable[[int], ItemSearch], *, page_size: int
) -> Found:
    """Read all pages of a search; where a server refuses their size, those of half of it.

    Args:
        reader: asks the server.
        question: makes the search, of a number of items per page.
        page_size: number to begin with.

    Raises:
        CatalogError: more than `MAX_ITEMS` items.
        APIError: the server refuses the search.
        NoItemsError: an answer is no list of items.
    """
    from pystac_client.exceptions import APIError

    while True:
        try:
            return _all_pages(reader, question(page_size))
        except APIError as error:
            if not _is_too_large(error, page_size):
                raise
            # From the first page on: links to further pages hold the size that was refused.
            page_size //= 2
            logger.info("the server refused a page for its size; asking for %d items", page_size)


def _is_too_large(error: Exception, size: int) -> bool:
    """Return whether a server may take a smaller page than the one that it refused."""
    status = getattr(error, "status_code", None)
    if status in (400, 422):
        return size > 1 and _NAMES_SIZE.search(str(error)) is not None
    return (status == 413 and size > 1) or (status in (502, 504) and size // 2 >= LEAST_PAGE)


def _all_pages(reader: StacApiIO, search: ItemSearch) -> Found:
    from pystac import Link

    found, asked = Found(), set[str]()
    parameters = search.get_parameters()
    page = reader.read_json(search.url, method=search.method, parameters=parameters)
    while True:
        found.take(_checked(page))
        if len(found.features) > MAX_ITEMS:
            raise CatalogError(
                f"{', '.join(parameters['collections'])}: more than {MAX_ITEMS} items; expected "
                "fewer; narrow the area, the dates or the query"
            )
        link = next((one for one in page.get("links") or () if one.get("rel") == "next"), None)
        if link is None or found.is_over:
            return found
        target = json.dumps(link, sort_keys=True)
        if target in asked:
            found.is_circle = True
            return found
        asked.add(target)
        absolute = {**link, "href": urljoin(search.url, link["href"])}
        page = reader.read_json(Link.from_dict(absolute), parameters=parameters)


def _checked(page: Any) -> dict[str, Any]:
    if not isinstance(page, dict) or not isinstance(page.get("features"), list):
        raise NoItemsError(json.dumps(page))
    return page


def _name(feature: Mapping[str, Any]) -> str:
    """Name an item by more than its id, which some archives use once per tile."""
    facts = feature.get("properties") or {}
    parts = (feature.get("collection"), feature.get("id"), facts.get("datetime"))
    return json.dumps([*parts, feature.get("bbox")], default=str)


def _matched(page: Mapping[str, Any]) -> int | None:
    """Return how many items the server counts. Source: OGC API Features; STAC API 0.9 (context)."""
    context = page.get("context")
    older = context.get("matched") if isinstance(context, dict) else None
    for count in (page.get("numberMatched"), older):
        if isinstance(count, int) and not isinstance(count, bool):
            return count
    return None
