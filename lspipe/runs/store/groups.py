"""A Zarr group of a run directory, in a folder or in an object store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import zarr
import zarr.storage

from lspipe.machine.bucket import bucket_of, told
from lspipe.machine.remote import RemotePath, is_remote

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path


def open_group(path: Path, mode: str) -> zarr.Group:
    """Open a group of Zarr v3.

    Args:
        path: of the group.
        mode: "r", "r+" or "a", of `zarr.open_group`.

    Raises:
        FileNotFoundError: there is none.
        RemoteError: the object store cannot be used.
    """
    return zarr.open_group(source(path), mode=mode, zarr_format=3)


def source(path: Path) -> Any:
    """Return what Zarr and xarray open a path from."""
    return _Objects(cast("RemotePath", path)) if is_remote(path) else path


class _Objects(zarr.storage.ObjectStore):  # type: ignore[misc]  # zarr comes without types here
    """The objects below a path; says what fails as all of lspipe does, and is sent as an address.

    An object is stored whole or not at all, so a chunk is never torn.
    """

    def __init__(self, path: RemotePath, *, read_only: bool = False) -> None:
        super().__init__(bucket_of(path.root, path.key), read_only=read_only)
        self._path = path

    def __str__(self) -> str:
        # Not what obstore says, which panics for a container of Azure (0.12.1).
        return str(self._path)

    def with_read_only(self, read_only: bool = False) -> _Objects:
        return _Objects(self._path, read_only=read_only)

    def __reduce__(self) -> tuple[Any, ...]:
        return _of, (self._path, self.read_only)

    async def get(self, key: str, *args: Any, **options: Any) -> Any:
        with told(self._path / key, "read"):
            return await super().get(key, *args, **options)

    async def exists(self, key: str) -> bool:
        with told(self._path / key, "read"):
            return bool(await super().exists(key))

    async def set(self, key: str, value: Any) -> None:
        with told(self._path / key, "written"):
            await super().set(key, value)

    async def delete_dir(self, prefix: str) -> None:
        with told(self._path / prefix, "removed"):
            await super().delete_dir(prefix)

    def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        return self._listed(prefix, super().list_dir(prefix))

    async def _listed(self, prefix: str, names: AsyncIterator[str]) -> AsyncGenerator[str, None]:
        with told(self._path / prefix, "listed"):
            async for name in names:
                yield name


def _of(path: RemotePath, read_only: bool) -> _Objects:
    return _Objects(path, read_only=read_only)
