"""What a server answered instead of items -> its own words, short, and safe to show.

Servers say why they refuse (a limit, a date, a collection) in as many shapes as there are servers.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from lspipe.errors import without_queries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST_CHARACTERS = 240
"""Characters of a server's words that are shown: about two lines of a terminal."""

_READ_CHARACTERS = 20_000  # a page of a proxy may be long; what it says stands at its beginning

# Keys under which servers say what is wrong, in this order. Source: RFC 9457 (title, detail),
# OGC API (description), FastAPI (detail, msg), AWS and others (message, error).
_KEYS = (
    "title", "description", "detail", "message", "msg", "reason", "error", "errors", "loc",
    "errorMessage", "error_description", "fault", "faultstring",
)  # fmt: skip

# Something named like a secret, and what follows it; after a colon only what is no plain word.
_NAMED_SECRET = re.compile(
    r"""([\w.-]*(?:token|key|secret|passw|credential|signature|authorization|\bsig)\w*["']?\s*)"""
    r"""(=\s*["']?[^\s"',;&]+|:\s*["']?(?=[^\s"',;]*\d)[^\s"',;&]+)""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+(?=\S*\d)\S+", re.IGNORECASE)
_JSON_WEB_TOKEN = re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*)*")


def words(body: str, url: str = "") -> str:
    """Return what a server says in the body of an answer, "" where it says nothing.

    Args:
        body: of the answer: JSON, HTML or text.
        url: that was asked; what it holds as a secret is not repeated.

    Examples:
        >>> words('{"code": "BadRequest", "description": "limit must be between 1 and 50"}')
        'limit must be between 1 and 50'
    """
    body = body[:_READ_CHARACTERS]
    try:
        found = dict.fromkeys(_said(json.loads(body)))
    except ValueError:
        found = {_without_tags(body): None}
    text = "; ".join(filter(None, map(_plain, found)))
    text = _without_secrets(text, secrets_of(url))
    is_long = len(text) > MOST_CHARACTERS
    return f"{text[: MOST_CHARACTERS - 3].rstrip()}..." if is_long else text


def secrets_of(url: str) -> list[str]:
    """Return what may be secret in a URL: user, password and the values of its query."""
    parts = urlsplit(url)
    given = [parts.username, parts.password, *(value for _, value in parse_qsl(parts.query))]
    found = {text for value in given if value for text in (value, unquote(value))}
    return sorted((text for text in found if len(text) > 3), key=len, reverse=True)


def _said(content: Any) -> Iterator[str]:
    """Yield the texts under the keys that explain, however deep they lie."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key in _KEYS:
            yield from _said(content.get(key))
    elif isinstance(content, list):
        # Of a place such as ["body", "limit"] the parts belong together.
        if content and all(isinstance(part, str) for part in content):
            yield " ".join(content)
        else:
            for part in content[:5]:
                yield from _said(part)


def _without_tags(text: str) -> str:
    """Return the text of a page of HTML; other text as it is."""
    if not re.search(r"<(?:!doctype|html|head|body|\?xml)\b", text, re.IGNORECASE):
        return text
    unseen = re.sub(r"(?is)<(script|style)\b.*?</\1\s*>", " ", text)
    return re.sub(r"<[^>]*>", " ", unseen)


def _plain(text: str) -> str:
    """Return text on one line without what a terminal would obey."""
    kept = (" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in text)
    return " ".join("".join(kept).split())


def _without_secrets(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    text = without_queries(text)
    text = _BEARER.sub(r"\1 ***", text)
    text = _JSON_WEB_TOKEN.sub("***", text)
    return _NAMED_SECRET.sub(lambda match: f"{match[1]}{match[2][0]}***", text)
