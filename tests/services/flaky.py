"""A proxy before an object store that refuses what a test wants it to refuse."""

from __future__ import annotations

import http.client
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Flaky:
    """Its address, and how it answers."""

    url: str = ""
    refuses: Callable[[str, str], int | None] = lambda *_: None
    """Method and path -> the status to answer with; None = the request is handed on."""
    drops: tuple[str, ...] = ()
    """Headers that are not handed on."""
    refused: list[str] = field(default_factory=list)
    """Method and path of what was refused."""
    lock: Lock = field(default_factory=Lock)


@contextmanager
def flaky(store: str) -> Iterator[Flaky]:
    """Stand before an object store until the block ends."""
    made = Flaky()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made, urlsplit(store).netloc))
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(made: Flaky, store: str) -> type[BaseHTTPRequestHandler]:
    def drops() -> set[str]:
        return {name.lower() for name in made.drops}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _hand_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with made.lock:
                status = made.refuses(self.command, self.path)
                if status is not None:
                    made.refused.append(f"{self.command} {self.path}")
            if status is not None:
                self._answer(status, [], b"")
                return
            link = http.client.HTTPConnection(store, timeout=60)
            headers = {name: it for name, it in self.headers.items() if name.lower() not in drops()}
            link.request(self.command, self.path, body, headers)
            answer = link.getresponse()
            self._answer(answer.status, answer.getheaders(), answer.read())
            link.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _hand_on  # noqa: N815 names of http.server

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in {"content-length", "connection", "transfer-encoding"} or (
                    self.command == "HEAD" and name.lower() == "content-length"
                ):
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
