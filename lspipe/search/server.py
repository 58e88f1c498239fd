"""A question to a STAC API -> its items, page after page.

Covers: retries, paging, tokens, and errors that do not repeat credentials.
Does not cover: whether an item really matches (`find.py` checks every one).
"""

from __future__ import annotations

import logging
import re
import warnings
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import shapely
from shapely.geometry import mapping
from urllib3.util.retry import Retry

from lspipe.errors import CatalogError, hide_queries, without_query
from lspipe.search.acquisitions import to_item

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pystac
    from pystac_client import Client
    from pystac_client.stac_api_io import StacApiIO

    from lspipe.search.areas import Area
    from lspipe.search.dates import DateRange
    from lspipe.search.spec import SearchSpec

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

MAX_ITEMS = 10_000
"""Items a search may return: a whole country for a season; more is a mistake, or a server whose
pages go round in circles."""

MAX_CORNERS = 500
"""Corners of an outline that is sent to a server; its hull is sent of one with more."""


def ask(url: str, spec: SearchSpec, area: Area, dates: DateRange) -> Iterator[pystac.Item]:
    """Yield the items a STAC API returns, page after page.

    Raises:
        CatalogError: no answer, an answer that is no STAC, or more than `MAX_ITEMS` items.
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
            pages = list(_pages(_open(url, reader), spec, area, dates))
    except (APIError, ClientTypeError, STACError, STACTypeError) as error:
        raise CatalogError(f"{without_query(url)}: {_reason(error)}") from error
    # pystac-client passes on whatever an answer of another shape leads to.
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CatalogError(f"{without_query(url)}: {_reason(error)}") from error
    finally:
        reader.session.close()
    for page in pages:
        for content in page.get("features", ()):
            yield to_item(_with_absolute_hrefs(content))


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


def _pages(
    client: Client, spec: SearchSpec, area: Area, dates: DateRange
) -> Iterator[dict[str, Any]]:
    first, too_late = (moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in dates.moments)
    client.add_conforms_to("ITEM_SEARCH")
    has_query = client.conforms_to("QUERY")
    search = client.search(
        collections=[spec.collection],
        intersects=mapping(_outline(area)),
        datetime=f"{first}/{too_late}",
        query=spec.query if spec.query and has_query else None,
        limit=100,
    )
    count = 0
    for page in search.pages_as_dicts():
        count += len(page.get("features", ()))
        if count > MAX_ITEMS:
            raise CatalogError(
                f"{spec.collection}: more than {MAX_ITEMS} items; expected fewer; narrow the area, "
                "the dates or the query"
            )
        yield page


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
        key: {**asset, "href": urljoin(base, asset["href"])} if "href" in asset else asset
        for key, asset in (content.get("assets") or {}).items()
    }
    return {**content, "assets": assets}


def _reason(error: Exception) -> str:
    """Describe why a request failed, without the URL that a library's message may repeat."""
    status = getattr(error, "status_code", None)
    if status is not None:
        return f"HTTP {status}; expected a STAC API; check the URL and your access"
    text = str(error)
    errno = re.search(r"\[Errno -?\d+\] [^')\"]+", text)
    if errno is not None:
        return f"cannot be reached: {errno[0]}; check the network, or try again later"
    if "timed out" in text.lower():
        return f"no answer within {TIMEOUT[1]:g} s; try again later"
    if "Max retries exceeded" in text or "Connection" in text:
        return "the connection failed; check the network, or try again later"
    return f"the answer is no STAC API's ({type(error).__name__}); check the URL"
