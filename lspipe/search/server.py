"""A question to a STAC API -> its items, page after page.

Covers: retries, tokens, and errors that do not repeat credentials.
Does not cover: following pages (`paging.py`); whether an item really matches (`find.py` checks
every one).
"""

from __future__ import annotations

import logging
import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import shapely
from shapely.geometry import mapping
from urllib3.util.retry import Retry

from lspipe.errors import CatalogError, hide_queries, without_query
from lspipe.search.addresses import locate_served
from lspipe.search.paging import Found, NoItemsError, everything
from lspipe.search.refusals import words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pystac_client import Client
    from pystac_client.item_search import ItemSearch
    from pystac_client.stac_api_io import StacApiIO

    from lspipe.search.areas import Area
    from lspipe.search.dates import DateRange
    from lspipe.search.spec import SearchSpec

logger = logging.getLogger(__name__)

RETRIES = Retry(
    total=4,
    backoff_factor=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,  # a search is POST, and asking twice changes nothing
    raise_on_status=False,
)
"""Tries of one request: five within about eight seconds, longer where the server asks for it."""

TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and to wait for an answer."""

# Loggers that write addresses as they were asked for, token included.
_TALKATIVE = ("pystac_client.stac_api_io", "urllib3.connectionpool")

WIDELY_KNOWN = {"eq", "neq", "lt", "lte", "gt", "gte"}
"""Operators that every server with conditions knows; what it finds is filtered here in any case.
Source: stac-fastapi, its query extension."""

MAX_CORNERS = 500
"""Corners of an outline that is sent to a server; its hull is sent of one with more."""


def ask(
    url: str,
    spec: SearchSpec,
    area: Area,
    dates: DateRange,
    *,
    note: Callable[[str], None] = logger.warning,
) -> Iterator[dict[str, Any]]:
    """Yield the items a STAC API returns, page after page, as dicts.

    Where the server refuses a page for its size, smaller ones are asked for.

    Args:
        url: of the API.
        spec: collection, conditions and page size.
        area: where to look.
        dates: when to look.
        note: called with a sentence where the server counts more items than it gives.

    Raises:
        CatalogError: no answer, an answer that is no STAC, or more items than `paging.MAX_ITEMS`.
    """
    from pystac.errors import STACError, STACTypeError
    from pystac_client.errors import ClientTypeError
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO
    from pystac_client.warnings import PystacClientWarning

    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(hide_queries)  # adding it again changes nothing
    # A token in the URL goes with every request, not only with the first.
    token = dict(parse_qsl(urlsplit(url).query))
    reader = StacApiIO(max_retries=RETRIES, timeout=TIMEOUT, parameters=token)
    try:
        with warnings.catch_warnings():
            # What a server does not promise is checked here and filtered afterwards.
            warnings.simplefilter("ignore", PystacClientWarning)
            client = _open(url, reader)
            found = _everything(client, reader, spec, area, dates)
    # pystac-client passes on whatever an answer of another shape leads to.
    except (
        *(APIError, ClientTypeError, STACError, STACTypeError),
        *(ValueError, LookupError, TypeError, AttributeError),
    ) as error:
        raise CatalogError(f"{without_query(url)}: {_reason(error, url)}") from error
    finally:
        reader.session.close()
    if found.lacks:
        note(f"{without_query(url)}, {spec.collection}, {dates}: {found.lacks}")
    for content in found.features:
        yield _with_absolute_hrefs(content)


def _open(url: str, reader: StacApiIO) -> Client:
    from pystac_client import Client

    client = Client.open(url.partition("?")[0], stac_io=reader)
    # A server that conforms may leave the link out, one with the link may not declare conformance.
    if not client.conforms_to("ITEM_SEARCH") and not client.get_links("search"):
        raise CatalogError(
            f"{without_query(url)}: offers no item search; expected a STAC API; of a static "
            "catalogue, download the items and give their folder"
        )
    return client


def _everything(
    client: Client, reader: StacApiIO, spec: SearchSpec, area: Area, dates: DateRange
) -> Found:
    """Read all pages; where the server refuses a condition, those without what few servers know."""
    from pystac_client.exceptions import APIError

    def found(spec: SearchSpec) -> Found:
        return everything(
            reader,
            lambda size: _question(client, spec, area, dates, size),
            page_size=spec.page_size,
        )

    known = _widely_known(spec.query)
    try:
        return found(spec)
    except APIError as error:
        if getattr(error, "status_code", None) not in (400, 422) or known == spec.query:
            raise
    logger.info("the server refused the conditions; asking with %s, the others are for here", known)
    return found(replace(spec, query=known))


def _widely_known(query: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Leave out operators that stac-fastapi, behind many servers, refuses."""
    kept = {
        name: {operator: it for operator, it in conditions.items() if operator in WIDELY_KNOWN}
        for name, conditions in query.items()
    }
    return {name: conditions for name, conditions in kept.items() if conditions}


def _question(
    client: Client, spec: SearchSpec, area: Area, dates: DateRange, size: int
) -> ItemSearch:
    first, too_late = (moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in dates.moments)
    client.add_conforms_to("ITEM_SEARCH")
    has_query = client.conforms_to("QUERY")
    return client.search(
        collections=[spec.collection],
        intersects=mapping(_outline(area)),
        datetime=f"{first}/{too_late}",
        query=spec.query if spec.query and has_query else None,
        limit=size,
    )


def _outline(area: Area) -> Any:
    """Return the area, or its hull where it has too many corners for a request."""
    if shapely.get_num_coordinates(area.geometry) <= MAX_CORNERS:
        return area.geometry
    parts = [part.convex_hull for part in getattr(area.geometry, "geoms", [area.geometry])]
    merged = shapely.union_all(parts)
    is_small = shapely.get_num_coordinates(merged) <= MAX_CORNERS
    return merged if is_small else shapely.union_all([shapely.box(*p.bounds) for p in parts])


def _with_absolute_hrefs(content: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve relative asset addresses against the item's own link."""
    links = {link.get("rel"): link.get("href") for link in content.get("links") or ()}
    base = str(links.get("self") or "")
    assets = {
        key: {**asset, "href": locate_served(str(asset["href"]), base)}
        if "href" in asset
        else asset
        for key, asset in (content.get("assets") or {}).items()
    }
    return {**content, "assets": assets}


def _reason(error: Exception, url: str) -> str:
    """Describe why a request failed, without the URL that a library's message may repeat."""
    status = getattr(error, "status_code", None)
    if status is not None:
        said = words(str(error), url)
        found = f"HTTP {status}, {said!r}" if said else f"HTTP {status}; expected a STAC API"
        return f"{found}; {_advice(status)}"
    text = str(error)
    if isinstance(error, NoItemsError):
        said = words(text, url)
        found = f"{said!r} and no items" if said else "no list of items"
        return f"the answer to the search is {found}; check the URL"
    errno = re.search(r"\[Errno -?\d+\] [^')\"]+", text)
    if errno is not None:
        return f"cannot be reached: {errno[0]}; check the network, or try again later"
    if "timed out" in text.lower():
        return f"no answer within {TIMEOUT[1]:g} s; try again later"
    if "Max retries exceeded" in text or "Connection" in text:
        return "the connection failed; check the network, or try again later"
    return f"the answer is no STAC API's ({type(error).__name__}); check the URL"


def _advice(status: int) -> str:
    """Say what to do about a status. Source: RFC 9110, section 15."""
    if status in (400, 413, 422):
        return "check what is searched, or set search.page_size"
    if status in (401, 403):
        return "check the URL and your access"
    return "try again later" if status == 429 or status >= 500 else "check the URL and your access"
