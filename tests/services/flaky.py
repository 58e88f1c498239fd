"""A proxy before a server that refuses what a test wants it to refuse, or spoils the answer."""

from __future__ import annotations

import hashlib
import http.client
import socket
import struct
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from threading import Lock
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import urlsplit

from tests.services.servers import answering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Fault = Literal["busy", "too many", "reset", "short", "slow"]
"""503; 429 and when to come again; a connection that ends without an answer; half of the bytes that
were promised; all of it, a little at a time."""

FAULTS: tuple[Fault, ...] = get_args(Fault)

SECONDS_OF_A_SLOW_ANSWER = 0.5


@dataclass
class Flaky:
    """Its address, and how it answers."""

    url: str = ""
    refuses: Callable[[str, str], int | None] = lambda *_: None
    """Method and path -> the status to answer with; None = the request is handed on."""
    spoils: Callable[[str, str, str], Fault | None] = lambda *_: None
    """Method, path and range -> what is wrong with the answer; None = nothing."""
    spoilt: Counter[Fault] = field(default_factory=Counter)
    """How often each fault was put in."""
    served: int = 0
    """Requests that were handed on and answered as they should be."""
    drops: tuple[str, ...] = ()
    """Headers that are not handed on."""
    refused: list[str] = field(default_factory=list)
    """Method and path of what was refused."""
    lock: Lock = field(default_factory=Lock)


@contextmanager
def flaky(store: str) -> Iterator[Flaky]:
    """Stand before an object store until the block ends."""
    made = Flaky()
    with answering(_handler(made, urlsplit(store).netloc)) as made.url:
        yield made


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
                fault = made.spoils(self.command, self.path, self.headers.get("Range", ""))
                if fault is not None:
                    made.spoilt[fault] += 1
                elif status is None:
                    made.served += 1
            if status is not None:
                self._answer(status, [], b"")
                return
            if fault in {"busy", "too many", "reset"}:
                self._refuse(fault)
                return
            link = http.client.HTTPConnection(store, timeout=60)
            headers = {name: it for name, it in self.headers.items() if name.lower() not in drops()}
            link.request(self.command, self.path, body, headers)
            answer = link.getresponse()
            self._answer(answer.status, answer.getheaders(), answer.read(), fault)
            link.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _hand_on  # noqa: N815 names of http.server

        def _refuse(self, fault: str) -> None:
            if fault == "reset":
                # Not the usual end of a connection: what is under way is thrown away.
                at_once = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
                self.close_connection = True
            elif fault == "busy":
                self._answer(503, [], b"")
            else:
                self._answer(429, [("Retry-After", "1")], b"")

        def _answer(
            self,
            status: int,
            headers: list[tuple[str, str]],
            content: bytes,
            fault: str | None = None,
        ) -> None:
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
                # Who asked may have gone away.
                with suppress(BrokenPipeError, ConnectionResetError):
                    self._send(content, fault)

        def _send(self, content: bytes, fault: str | None) -> None:
            if fault == "short":
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
            elif fault == "slow":
                for part in range(10):
                    time.sleep(SECONDS_OF_A_SLOW_ANSWER / 10)
                    self.wfile.write(
                        content[part * len(content) // 10 : (part + 1) * len(content) // 10]
                    )
            else:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def now_and_then(share: float, seed: int) -> Callable[[str, str, str], Fault | None]:
    """Spoil a share of the reads, each kind of fault as often as the others.

    By what is asked for and how often it was, so that the same reads fail in each run, and a read
    that is tried again has other luck.
    """
    asked: Counter[tuple[str, str, str]] = Counter()

    def spoils(*request: str) -> Fault | None:
        asked[request] += 1
        lot = hashlib.sha256(repr((seed, request, asked[request])).encode()).digest()
        if int.from_bytes(lot[:4], "big") >= share * 2**32:
            return None
        return FAULTS[lot[4] % len(FAULTS)]

    return spoils
