"""Google's object store as far as lspipe asks it: S3 of moto, with Google's conditions and numbers.

No package holds a server of Google's XML API, which is that of S3 but for some headers: writes have
`x-goog-if-generation-match` (0 = there is no such object yet), and answers `x-goog-generation`, a
number that each write raises. These are kept here; objects, lists and parts are moto's.

Source: Google, Cloud Storage, XML API, reference of headers; request preconditions.
"""

from __future__ import annotations

import http.client
import itertools
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from tests.services.servers import answering

if TYPE_CHECKING:
    from collections.abc import Iterator

CONDITION, NUMBER = "x-goog-if-generation-match", "x-goog-generation"

REFUSED = b"<?xml version='1.0'?><Error><Code>PreconditionFailed</Code></Error>"


@contextmanager
def google_store(s3: str) -> Iterator[str]:
    """Stand before an object store of S3 until the block ends; yields the URL."""
    with answering(_handler(urlsplit(s3).netloc)) as url:
        yield url


def _handler(s3: str) -> type[BaseHTTPRequestHandler]:
    numbers, next_number, one_at_a_time = dict[str, int](), itertools.count(1), Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            path, _, query = self.path.partition("?")
            name = unquote(path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with one_at_a_time:
                wanted = self.headers.get(CONDITION)
                if wanted is not None and int(wanted) != numbers.get(name, 0):
                    self._send(412, [], REFUSED)
                    return
                status, headers, content = self._ask(f"{quote(name)}?{query}", body)
                if status < 300 and _is_new(self.command, query):
                    numbers[name] = next(next_number)
                if status < 300 and self.command == "DELETE" and not query:
                    numbers.pop(name, None)
                if name in numbers:
                    headers.append((NUMBER, str(numbers[name])))
            self._send(status, headers, content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815 names of http.server

        def _ask(self, path: str, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            link = http.client.HTTPConnection(s3, timeout=60)
            headers = {
                name.lower().replace("x-goog-copy", "x-amz-copy"): value
                for name, value in self.headers.items()
                if name.lower() != CONDITION
            }
            # Of moto, who asks without is a stranger.
            headers.setdefault("authorization", "Bearer none")
            link.request(self.command, path, body, headers)
            answer = link.getresponse()
            found = answer.status, answer.getheaders(), answer.read()
            link.close()
            return found

        def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            is_head = self.command == "HEAD"
            for name, value in headers:
                is_length = name.lower() == "content-length"
                if name.lower() not in {"connection", "transfer-encoding"} and (
                    is_head or not is_length
                ):
                    self.send_header(name, value)
            if not is_head:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if not is_head:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _is_new(method: str, query: str) -> bool:
    """Whether a request stores an object: at once, or as the last of its parts."""
    return (method, query) == ("PUT", "") or (method == "POST" and query.startswith("uploadId="))
