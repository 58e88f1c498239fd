"""A STAC API on a database: stac-fastapi with pgstac on PostgreSQL and PostGIS; loopback only.

    with database() as there, stac_api(there) as url:
        load(there, collections, items)

PostgreSQL refuses to be run by root: then the user `postgres` of Debian's package runs it, in a
folder of its own. No installed cluster is touched.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.services.servers import ROOT, address, find_program, missing, running

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ENVIRONMENT = str(ROOT / ".venv-services" / "bin")

USER = "postgres"

# Nothing of it outlives a test.
CARELESS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@contextmanager
def database() -> Iterator[dict[str, str]]:
    """Run an empty pgstac until the block ends; yields the variables that its clients read."""
    programs = _programs()
    password = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as state:
        secret = Path(state, "password")
        secret.write_text(password)
        owner = _give(Path(state), secret)
        data = f"{state}/data"
        words = ["-D", data, "-U", USER, "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        made = [f"{programs}/initdb", *words, "--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run(made, check=True, capture_output=True, **owner)

        def command(port: int) -> list[str]:
            settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", *CARELESS)
            options = [word for setting in settings for word in ("-c", setting)]
            return [f"{programs}/postgres", "-D", data, "-p", str(port), *options]

        # SIGINT: it does not wait for its clients to leave.
        with running(command, end=signal.SIGINT, **owner) as port:
            there = {
                "PGHOST": "127.0.0.1",
                "PGPORT": str(port),
                "PGUSER": USER,
                "PGPASSWORD": password,
                "PGDATABASE": "postgres",
            }
            _pypgstac(there, "pgready")
            _pypgstac(there, "migrate")
            yield there


def load(
    there: Mapping[str, str], collections: Iterable[str], items: Iterable[Mapping[str, Any]]
) -> None:
    """Put items into a database, and the collections that they name."""
    documents = [_collection(name) for name in collections]
    with tempfile.TemporaryDirectory() as folder:
        for table, rows in {"collections": documents, "items": items}.items():
            file = Path(folder, f"{table}.ndjson")
            file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
            _pypgstac(there, "load", table, str(file), "--method", "upsert")


@contextmanager
def stac_api(there: Mapping[str, str], **settings: str) -> Iterator[str]:
    """Serve what is in a database until the block ends; yields the API's URL.

    Args:
        there: what `database` yields.
        settings: variables of stac-fastapi, such as ENABLED_EXTENSIONS.
    """
    uvicorn = _program("uvicorn")

    def command(port: int) -> list[str]:
        words = ["--factory", "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
        return [uvicorn, "stac_fastapi.pgstac.app:create_app", *words]

    with running(command, env={**os.environ, **there, **settings}) as port:
        yield f"http://{address(port)}"


def execute(there: Mapping[str, str], statement: str) -> None:
    """Run a statement of SQL in a database."""
    words = ["--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "-c", statement]
    subprocess.run(
        [f"{_programs()}/psql", *words],
        check=True,
        capture_output=True,
        env={**os.environ, **there},
    )


def _programs() -> Path:
    """Return the folder of the newest PostgreSQL that has PostGIS."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True):
        extension = f"/usr/share/postgresql/{folder.parent.name}/extension/postgis.control"
        if Path(extension).exists():
            return folder
    found = shutil.which("postgres")
    if found is None:
        missing(
            "no PostgreSQL with PostGIS here; install both "
            "(Debian: apt-get install postgresql postgresql-postgis)"
        )
    return Path(found).resolve().parent


def _version(folder: Path) -> float:
    return float(folder.parent.name)


def _give(*paths: Path) -> dict[str, Any]:
    """Give files to the user who may run PostgreSQL; returns options of `subprocess` for that."""
    folder = paths[0]
    if os.geteuid() != 0:
        return {"cwd": folder}
    who = pwd.getpwnam(USER)
    for path in paths:
        os.chown(path, who.pw_uid, who.pw_gid)
    return {"cwd": folder, "user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}


def _pypgstac(there: Mapping[str, str], *words: str) -> None:
    done = subprocess.run(
        [_program("pypgstac"), *words], capture_output=True, text=True, env={**os.environ, **there}
    )
    assert done.returncode == 0, done.stderr


def _program(name: str) -> str:
    return find_program(name, f"`.ci/run` installs it into {ROOT / '.venv-services'}", ENVIRONMENT)


def _collection(name: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": "items of a test",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2015-06-23T00:00:00Z", None]]},
        },
        "links": [],
    }
