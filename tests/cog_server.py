"""A small web server on the loopback for COGs: range requests, 404, and a log of what was asked.

It is a process of its own: rasterio holds Python's lock in some calls that wait for the network, so
that a server in the same process could never answer them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class CogServer:
    """Where it listens, and where it writes what it was asked for."""

    url: str
    log: Path

    @property
    def requests(self) -> list[str]:
        """The method and path of every request so far."""
        return self.log.read_text().splitlines()


@contextmanager
def serve(folder: Path) -> Iterator[CogServer]:
    """Serve a folder until the block ends; the log lies in it."""
    log = folder / "requests.log"
    log.touch()
    with subprocess.Popen(
        [sys.executable, __file__, str(folder), str(log)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield CogServer(f"http://127.0.0.1:{int(process.stdout.readline())}", log)
        finally:
            process.terminate()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path
    log: Path

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        with self.log.open("a") as log:
            log.write(f"{self.command} {self.path}\n")
        if "signature=expired" in self.path:
            self._send(403, b"", {})
            return
        path = self.folder / self.path.partition("?")[0].lstrip("/")
        if not path.is_file():
            self._send(404, b"", {})
            return
        content = path.read_bytes()
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span is None:
            self._send(200, content, {}, with_body=with_body)
            return
        first, last = int(span[1]), min(int(span[2] or len(content)), len(content) - 1)
        if first > last:
            self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        place = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        self._send(206, content[first : last + 1], place, with_body=with_body)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], *, with_body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in {"Accept-Ranges": "bytes", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _main() -> None:
    _Handler.folder, _Handler.log = Path(sys.argv[1]), Path(sys.argv[2])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    _main()
