"""Links of a page to files outside docs/ -> the path as text, as the site has no such files.

A hook of mkdocs (`mkdocs.yml`). In the repository the links work as they are.
"""

from __future__ import annotations

import re
from typing import Any

LINK = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the page with the path of each such file in place of its link.

    >>> on_page_markdown("see [the map](../lspipe/README.md)")
    'see the map (`lspipe/README.md`)'
    >>> on_page_markdown("see [workflows/](../workflows/README.md), [here](index.md)")
    'see `workflows/README.md`, [here](index.md)'
    """
    return LINK.sub(_as_text, markdown)


def _as_text(link: re.Match[str]) -> str:
    shown, path = link.groups()
    return f"`{path}`" if shown.strip("/") in path else f"{shown} (`{path}`)"
