"""Planetary Computer on loopback: an endpoint for tokens, and a blob store that asks for them.

The addresses of the store stay those of Azure, over http: GDAL takes this server as its proxy.
"""

from __future__ import annotations

import http.client
import json
import secrets
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.services.servers import answering

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "sentinel2l2a01.blob.core.windows.net"
CONTAINER = "sentinel2-l2"

EXPIRY = "2099-01-01T00:00:00Z"
"""What the signer says, so that it is the store that tells when a signature has expired."""


@dataclass
class Signer:
    """Where it is, how often its signatures are good, and what was asked."""

    url: str = ""
    life: int = 1_000_000
    """Requests that a signature is good for: in seconds, it would be the machine that decides."""
    short_lived: int = 1_000_000
    """How many signatures expire; those after them hold."""
    most: int = 1_000_000
    """Signatures that it gives; afterwards it refuses."""
    key: str = field(default_factory=lambda: secrets.token_hex(8))
    """In every signature."""
    given: Counter[str] = field(default_factory=Counter)
    """Signatures, and how often each was used."""
    expired: int = 0
    """Requests that came with a signature which no longer held."""
    unsigned: int = 0
    """Requests that came with none."""
    refused: int = 0
    """Signatures that were asked for in vain."""
    lock: Lock = field(default_factory=Lock)

    @property
    def root(self) -> str:
        """Address of the scenes."""
        return f"http://{HOST}/{CONTAINER}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make GDAL and the signing package ask this server."""
        return {"GDAL_HTTP_PROXY": self.url.removeprefix("http://"), "PC_SDK_SAS_URL": self.url}

    def sign(self) -> str | None:
        """Give a signature, or None."""
        with self.lock:
            if len(self.given) >= self.most:
                self.refused += 1
                return None
            signature = f"{self.key}-{len(self.given)}"
            self.given[signature] = 0
            return signature

    def admits(self, signature: str) -> bool:
        """Whether a request may be answered; it counts."""
        with self.lock:
            if signature not in self.given:
                self.unsigned += 1
                return False
            self.given[signature] += 1
            holds = list(self.given).index(signature) >= self.short_lived
            is_valid = holds or self.given[signature] <= self.life
            self.expired += not is_valid
            return is_valid


@contextmanager
def signer(web: str) -> Iterator[Signer]:
    """Stand before a web server until the block ends."""
    made = Signer()
    with answering(_handler(made, urlsplit(web).netloc)) as made.url:
        yield made


def _handler(made: Signer, web: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            if parts.netloc == HOST:
                self._blob(parts.path, parse_qs(parts.query).get("sig", [""])[0])
            else:
                self._token()

        do_GET = do_HEAD = _serve  # noqa: N815 names of http.server

        def _token(self) -> None:
            signature = made.sign()
            if signature is None:
                self._answer(403, [], b'{"message": "Access denied"}')
                return
            content = {"msft:expiry": EXPIRY, "token": f"st=now&se=then&sp=rl&sig={signature}"}
            self._answer(200, [], json.dumps(content).encode())

        def _blob(self, path: str, signature: str) -> None:
            if not made.admits(signature):
                self._answer(403, [], b"<Error><Code>AuthenticationFailed</Code></Error>")
                return
            link = http.client.HTTPConnection(web, timeout=60)
            asked = self.headers.get("Range")
            place = path.removeprefix(f"/{CONTAINER}")
            link.request(self.command, place, headers={"Range": asked} if asked else {})
            answer = link.getresponse()
            kept = [(k, v) for k, v in answer.getheaders() if k in {"Content-Range", "ETag"}]
            size = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self._answer(answer.status, kept, answer.read(), size)
            link.close()

        def _answer(
            self,
            status: int,
            headers: list[tuple[str, str]],
            content: bytes,
            size: str | None = None,
        ) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", size or str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
