"""Paths in an object store (s3://, gs://, az://), with as much of pathlib as lspipe uses.

`place` makes a path of what a person gave: a `Path` for a folder of this machine, a `RemotePath`
for an address. An object appears whole or not at all, and there are no folders: one "exists" as
long as an object lies below it. Programs that only know files get a copy on this machine (`local`),
or write one that is stored afterwards (`stored`).

Endpoint and credentials come from the environment, as obstore reads it, and are never kept.
"""

from __future__ import annotations

import fnmatch
import io
import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from lspipe.errors import UsageError
from lspipe.machine.bucket import bucket_of, failed, library, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMES = ("s3", "gs", "az")

_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)})://([^/]+)(?:/(.*))?", re.DOTALL)


def place(text: Path | str) -> Path:
    """Return the path of a folder or file that a person named.

    Args:
        text: a path of this machine, or an address in an object store.

    Returns:
        A `Path`; for an address a `RemotePath`, which has the methods of a path that lspipe uses.

    Raises:
        UsageError: an address without a bucket, or with `..` in it.

    Example:
        >>> place("s3://my-bucket/runs/").joinpath("valley") / "run.json"
        RemotePath('s3://my-bucket/runs/valley/run.json')
    """
    if isinstance(text, RemotePath):
        return cast("Path", text)
    return cast("Path", RemotePath(str(text))) if is_address(text) else Path(text)


def is_address(text: object) -> bool:
    """Return whether a text is an address in an object store.

    Example:
        >>> is_address("s3://my-bucket/runs"), is_address("runs/s3"), is_address("https://a.org")
        (True, False, False)
    """
    return isinstance(text, str) and re.match(rf"({'|'.join(SCHEMES)})://", text) is not None


def is_remote(path: object) -> bool:
    """Return whether a path is in an object store."""
    return isinstance(path, RemotePath)


class Facts(NamedTuple):
    """What `RemotePath.stat` tells, named as by `os.stat`."""

    st_size: int
    """Bytes."""
    st_mtime: float
    """When it was stored, seconds since 1970."""


class Version(NamedTuple):
    """Which version of an object it is; stores compare one of the two, or both."""

    tag: str | None
    number: str | None
    """Where the store counts its versions: for Google's it is what decides."""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Version:
        """The version that obstore tells of."""
        return cls(facts["e_tag"], facts["version"])

    def as_mode(self) -> dict[str, str]:
        """Return it as obstore takes it, to replace this version alone."""
        known = {"e_tag": self.tag, "version": self.number}
        return {name: value for name, value in known.items() if value is not None}


class RemotePath:
    """An object, or all objects below a prefix, as a path.

    Every method asks the store anew: nothing is remembered between calls. Reading and writing raise
    `FileNotFoundError` for what is not there, and `RemoteError` for a store that cannot be used.
    """

    __slots__ = ("_key", "_root")

    def __init__(self, address: str) -> None:
        """Take an address apart; nothing is asked yet."""
        found = _ADDRESS.fullmatch(address)
        if found is None:
            raise UsageError(
                f"{address}: expected SCHEME://BUCKET/FOLDER, such as s3://maps/valley"
            )
        scheme, bucket, key = found.groups()
        self._root = f"{scheme}://{bucket}"
        self._key = PurePosixPath(*(part for part in (key or "").split("/") if part))
        if ".." in self._key.parts:
            raise UsageError(f"{address}: found .. in an address; write where it leads to")

    @classmethod
    def _of(cls, root: str, key: PurePosixPath) -> RemotePath:
        made = cls.__new__(cls)
        made._root, made._key = root, key
        return made

    # --- as text ----------------------------------------------------------------------------------

    def __str__(self) -> str:
        return f"{self._root}/{self.key}" if self.key else self._root

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return RemotePath, (str(self),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __lt__(self, other: RemotePath) -> bool:
        return (self._root, self._key) < (other._root, other._key)

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def root(self) -> str:
        """Scheme and bucket: "s3://maps"."""
        return self._root

    @property
    def key(self) -> str:
        """What the store calls the object; "" = the bucket itself."""
        return "" if self._key == PurePosixPath() else str(self._key)

    @property
    def name(self) -> str:
        """See `pathlib.PurePath`, as for all methods that ask no store."""
        return self._key.name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self._key.stem

    @property
    def suffix(self) -> str:
        """The last suffix, with its dot."""
        return self._key.suffix

    @property
    def parent(self) -> RemotePath:
        """The folder."""
        return self._of(self._root, self._key.parent)

    def __truediv__(self, other: str | PurePosixPath) -> RemotePath:
        return self._of(self._root, self._key / other)

    def joinpath(self, *others: str) -> RemotePath:
        """Return what is below it."""
        return self._of(self._root, self._key.joinpath(*others))

    def with_name(self, name: str) -> RemotePath:
        """Return what lies beside it."""
        return self._of(self._root, self._key.with_name(name))

    def relative_to(self, other: RemotePath) -> PurePosixPath:
        """Return the way to it from a folder above it."""
        if self._root != other._root:
            raise ValueError(f"{self} is not below {other}")
        return self._key.relative_to(other._key)

    def match(self, pattern: str) -> bool:
        """Return whether the name is of a pattern."""
        return fnmatch.fnmatchcase(self.name, pattern)

    def resolve(self) -> RemotePath:
        """Return the same: an address is whole."""
        return self

    # --- looking ----------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Return whether it is an object, or has objects below it."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Return whether it is an object."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Return whether objects lie below it."""
        return next(self._below(), None) is not None

    def stat(self) -> Facts:
        """Return size and time of an object."""
        with told(self, "read") as obstore:
            found = obstore.head(bucket_of(self._root), self.key)
        return Facts(found["size"], found["last_modified"].timestamp())

    def iterdir(self) -> Iterator[RemotePath]:
        """Yield what lies in it, sorted; nothing where nothing does."""
        with told(self, "listed") as obstore:
            found = obstore.list_with_delimiter(bucket_of(self._root), self.key or None)
        names = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        for name in sorted(names):
            yield self._of(self._root, PurePosixPath(name))

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """Yield what lies in it with a name of a pattern, sorted."""
        return (path for path in self.iterdir() if path.match(pattern))

    def rglob(self, pattern: str) -> Iterator[RemotePath]:
        """Yield all objects below it with a name of a pattern."""
        return (path for path in self._below() if path.match(pattern))

    def _below(self) -> Iterator[RemotePath]:
        with told(self, "listed") as obstore:
            for batch in obstore.list(bucket_of(self._root), self.key or None, chunk_size=1000):
                for found in batch:
                    yield self._of(self._root, PurePosixPath(found["path"]))

    # --- reading and writing ----------------------------------------------------------------------

    def read_bytes(self) -> bytes:
        """Return the content of an object."""
        return self.read_version()[0]

    def read_version(self) -> tuple[bytes, Version]:
        """Return the content of an object, and its present version."""
        with told(self, "read") as obstore:
            found = obstore.get(bucket_of(self._root), self.key)
            return bytes(found.bytes()), Version.of(found.meta)

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the text of an object."""
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Return the content of an object as a file to read bytes from."""
        if mode != "rb":
            raise ValueError(f"{self}: open for {mode!r}: an object can only be read")
        return io.BytesIO(self.read_bytes())

    def write_bytes(self, content: bytes) -> int:
        """Store an object; it is there whole, or not at all."""
        with told(self, "written") as obstore:
            obstore.put(bucket_of(self._root), self.key, content)
        return len(content)

    def write_text(self, text: str, encoding: str = "utf-8") -> int:
        """Store a text as an object."""
        return self.write_bytes(text.encode(encoding))

    def write_if(self, content: bytes, version: Version | None) -> Version | None:
        """Store an object unless somebody else stored one meanwhile.

        Args:
            content: of the object.
            version: that it replaces, of `read_version`; None = there is none.

        Returns:
            Its version; None where another one is there, and this was not stored.
        """
        with told(self, "written") as obstore:
            mode = "create" if version is None else version.as_mode()
            try:
                stored = obstore.put(bucket_of(self._root), self.key, content, mode=mode)
            except (
                obstore.exceptions.AlreadyExistsError,
                obstore.exceptions.PreconditionError,
                FileNotFoundError,
            ):
                return None
            return Version.of(stored)

    def upload(self, file: Path) -> None:
        """Store a file of this machine, whole or not at all; a large one in parts."""
        with told(self, "written") as obstore:
            obstore.put(bucket_of(self._root), self.key, file)

    def download(self, file: Path) -> None:
        """Copy an object to this machine, piece by piece."""
        with told(self, "read") as obstore:
            # First: of what is not there no empty file is left.
            found = obstore.get(bucket_of(self._root), self.key)
            with file.open("wb") as target:
                for piece in found:
                    target.write(piece)

    def copy_to(self, target: RemotePath) -> None:
        """Copy an object within its bucket."""
        with told(target, "written") as obstore:
            obstore.copy(bucket_of(self._root), self.key, target.key)

    def replace(self, target: RemotePath) -> RemotePath:
        """Give an object another name in its bucket; a kill in between leaves both."""
        self.copy_to(target)
        self.unlink()
        return target

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove an object."""
        try:
            with told(self, "removed") as obstore:
                obstore.delete(bucket_of(self._root), self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_all(self) -> None:
        """Remove all objects below it."""
        with told(self, "removed") as obstore:
            for batch in obstore.list(bucket_of(self._root), self.key or None, chunk_size=1000):
                obstore.delete(bucket_of(self._root), [found["path"] for found in batch])

    def mkdir(self, **_: object) -> None:
        """Do nothing: a store has no folders."""


def check(address: str) -> None:
    """Refuse an address that cannot be written, before anything is computed.

    Raises:
        UsageError: no such bucket, no right to write, or no answer.
    """
    path = cast("RemotePath", place(address)) / f".lspipe-{os.getpid()}"
    obstore = library()
    try:
        impatient = bucket_of(path.root, is_patient=False)
        obstore.put(impatient, path.key, b"")
        obstore.delete(impatient, path.key)
    except (obstore.exceptions.BaseError, OSError, ValueError) as error:
        raise UsageError(str(failed(address, "written", error))) from None
