"""A STAC API of a few lines on 127.0.0.1, which keeps what it was asked."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

CONFORMANCE = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#query",
]


class StacServer(ThreadingHTTPServer):
    """Serves pages of features; ignores every condition, as a careless server would."""

    daemon_threads = True

    def __init__(
        self, pages, *, landing=None, next_method="POST", failures=0, status=503,
        refuse=None, next_of_last=None,
    ):  # fmt: skip
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.pages = pages
        self.next_method = next_method
        self.failures = failures
        self.status = status
        # What it refuses: a function of what is asked to status and content, or None.
        self.refuse = refuse or (lambda _asked: None)
        self.next_of_last = next_of_last  # the page that the last one links to
        self.requests: list[dict] = []
        self.landing = landing or {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "test",
            "description": "test",
            "conformsTo": CONFORMANCE,
            "links": [
                {"rel": "root", "href": self.url, "type": "application/json"},
                {"rel": "self", "href": self.url, "type": "application/json"},
                {"rel": "search", "href": f"{self.url}/search", "type": "application/geo+json"},
            ],
        }

    def page(self, number):
        """One page, with a link to the next one while there is one."""
        answer = {**self.pages[number], "links": []}
        following = number + 1 if number + 1 < len(self.pages) else self.next_of_last
        if following is not None:
            link = {"rel": "next", "method": self.next_method, "href": f"{self.url}/search"}
            if self.next_method == "POST":
                link |= {"body": {"token": following}, "merge": True}
            else:
                link["href"] += f"?token={following}"
            answer["links"].append(link)
        return answer


class _Handler(BaseHTTPRequestHandler):
    server: StacServer

    def do_GET(self):
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self._answer("GET", parts.path, query)

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self._answer("POST", urlsplit(self.path).path, json.loads(self.rfile.read(length)))

    def _answer(self, method, path, asked):
        server = self.server
        server.requests.append({"method": method, "path": path, "asked": asked, "full": self.path})
        if path == "/search" and server.failures:
            server.failures -= 1
            self._send(server.status, {"description": "not now"})
        elif path == "/search" and (refusal := server.refuse(asked)) is not None:
            self._send(*refusal)
        elif path == "/search":
            self._send(200, server.page(int(asked.get("token", 0))))
        elif path == "/":
            self._send(200, server.landing)
        else:
            self._send(404, {"description": f"no {path}?secret=hunter2"})

    def _send(self, status, content):
        body = json.dumps(content).encode() if not isinstance(content, bytes) else content
        self.send_response(status)
        self.send_header("Content-Type", "application/geo+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        """Keep quiet."""


@contextmanager
def serving(pages, **options):
    """Serve until the block ends."""
    server = StacServer(pages, **options)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
