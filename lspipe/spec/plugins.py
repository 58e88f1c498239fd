"""A name, or "package.module:thing", to an object.

Sockets (loaders, outputs, clusters, architectures) keep a table of names; `resolve` looks a name up
there or imports the dotted path. Nothing is imported before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lspipe.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


def resolve(name: str, known: Mapping[str, str], *, kind: str, extra: str = "") -> Any:
    """Return the object behind a name of `known`, or behind a dotted "package.module:thing".

    Args:
        name: what the user wrote.
        known: names to dotted paths.
        kind: what is being looked up, for messages ("loader", "output", ...).
        extra: the optional dependency set that provides it, for the message when an import fails.

    Raises:
        UsageError: the name is not known, or the module has no such attribute.
        MissingExtra: the module needs a package that is not installed.
    """
    path = known.get(name, name)
    module_name, colon, attribute = path.partition(":")
    if not colon:
        raise UsageError(
            f"unknown {kind} {name!r}: expected one of {', '.join(sorted(known))}, "
            'or "package.module:thing"'
        )
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        # Only part of the path that exists was found, so the user's own module is what is missing.
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"{kind} {name!r}: no module {error.name!r} on this machine"
            ) from error
        install = f"pip install 'lspipe[{extra}]'" if extra else f"pip install {error.name}"
        raise MissingExtra(f"{kind} {name!r} needs {error.name!r}: {install}") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise UsageError(f"{kind} {name!r}: {module_name} has no {attribute!r}") from error
