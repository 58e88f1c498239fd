"""A network through `torch.compile`: frozen weights, fused operations, one graph per batch shape.

Needs a C++ compiler on a CPU, Triton on a GPU. Freezing turns weights into constants, which folds
batch normalisation into the convolution before it.

Compiling takes half a minute for a ResNet-50, and seconds if the kernels are on disk already. It
happens at the first batch of a shape, in one thread of the process at a time. On a CPU threads
build the kernels, so that no helper process is left; torch uses processes for Triton only.

On a CPU a window has the same bits on every call at one thread count and one kind of processor.
On a GPU kernels are chosen by timing them (max-autotune): bits repeat within a process, and between
processes only if the same kernels are chosen. Nothing here was run on a GPU yet.

No pickle: the caches that torch writes as pickles (`fx_graph_cache`, the cache of autograd, the
profile of dynamo) are off. Kernels are kept, as sources and shared libraries, in a folder that only
this user can write to.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch

from lspipe.errors import ModelError
from lspipe.inference.runtimes.capture import capturing, casting, snapshot
from lspipe.inference.runtimes.devices import reproducible
from lspipe.machine import kept_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FOLDERS = _FOLDER, _TRITON_FOLDER = "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"

# Settings belong to a thread (in older torch to the process), the folder to the process.
_compiling = threading.Lock()


def check(device: torch.device, precision: str) -> None:  # noqa: ARG001 - both are computed
    """Raise ModelError if torch.compile finds no compiler."""
    if not hasattr(torch.compiler, "skip_all_guards_unsafe"):
        raise ModelError(
            f"needs a newer PyTorch, this is {torch.__version__} "
            "(found no torch.compiler.skip_all_guards_unsafe)"
        )
    if device.type == "cuda":
        if find_spec("triton") is None:
            raise ModelError("needs Triton, which is not installed: pip install triton")
        return
    # The same search as in torch, without the seconds it takes to import its compiler.
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        raise ModelError(
            f"needs a C++ compiler, found no {name!r}: install one (Debian: apt install g++), or "
            "name it in the environment variable CXX"
        )


def prepare(
    network: Callable[[torch.Tensor], Any], *, device: torch.device, precision: str
) -> Callable[[torch.Tensor], Any]:
    """Compile a copy of the network at the first batch of each shape.

    Takes functions too: the modules they call are compiled with them, and bf16 is autocast. Kernels
    have the number of threads of the preparing thread built in; convolutions, which stay those of
    torch, use the number of the calling thread.
    """
    is_gpu = device.type == "cuda"
    memory_format = torch.channels_last if is_gpu else torch.contiguous_format
    forward = casting(
        snapshot(network), device=device, precision=precision, memory_format=memory_format
    )
    settings = _settings(is_gpu=is_gpu, threads=torch.get_num_threads())
    ready: dict[tuple[int, ...], Callable[[torch.Tensor], Any]] = {}

    def call(batch: torch.Tensor) -> Any:
        # Only the shape may differ: compiled code has no guards that check the rest (`_compile`).
        batch = batch.float().contiguous(memory_format=memory_format)
        shape = tuple(batch.shape)
        with torch.inference_mode(), reproducible(device):
            if shape not in ready:
                with _compiling:
                    if shape not in ready:
                        ready[shape] = _compile(forward, batch, settings)
            return ready[shape](batch)

    return call


def _settings(*, is_gpu: bool, threads: int) -> dict[str, Any]:
    """Settings of torch's compiler, for this compilation only.

    Source: torch/_inductor/config.py; the two of a GPU are its mode "max-autotune-no-cudagraphs".
    """
    settings: dict[str, Any] = {
        "freezing": True,
        "fx_graph_cache": False,
        "fx_graph_remote_cache": False,
    }
    if is_gpu:
        return settings | {"max_autotune": True, "coordinate_descent_tuning": True}
    return settings | {"cpp.threads": threads}


def _compile(
    forward: Callable[[torch.Tensor], Any], batch: torch.Tensor, settings: dict[str, Any]
) -> Callable[[torch.Tensor], Any]:
    """Compile for the shape of a batch, and run it once: torch compiles at the first call.

    Raises:
        ModelError: not one graph, or the compiler failed.
    """
    with capturing("compiled"), _own_folder():
        # Importing them takes seconds and warns of deprecations.
        import torch._dynamo.config as dynamo
        import torch._functorch.config as autograd
        import torch._inductor.config as inductor

        compiled = torch.compile(
            _alone(forward),
            dynamic=False,
            fullgraph=True,
            # Compiled code is called with its shape only, and nothing else changes. Guards would
            # cost time, and recompile elsewhere if a caller is in another mode.
            options={"guard_filter_fn": torch.compiler.skip_all_guards_unsafe},
        )
        with (
            # Not as options of torch.compile: dynamo would not see the setting to freeze weights.
            inductor.patch(settings),
            dynamo.patch(automatic_dynamic_local_pgo=False, automatic_dynamic_remote_pgo=False),
            autograd.patch(enable_autograd_cache=False, enable_remote_autograd_cache=False),
        ):
            compiled(batch)
    return compiled


def _alone(forward: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], Any]:
    """Return the same function with its own code object.

    torch stores compiled code at the code object, which all closures of a function share: without
    guards, the code of another network or shape would be called.
    """
    assert isinstance(forward, FunctionType)  # noqa: S101 - of `casting`, for the type checker
    return FunctionType(
        forward.__code__.replace(),
        forward.__globals__,
        forward.__name__,
        forward.__defaults__,
        forward.__closure__,
    )


@contextmanager
def _own_folder() -> Iterator[None]:
    """Keep kernels where only this user can write, unless the person named a folder.

    By default torch takes /tmp/torchinductor_USER: whoever creates it first decides which code is
    loaded. The folder can be set only by the environment, where torch writes its default too; it is
    set while compiling only, so that other users of torch.compile in this process are not
    affected.

    Raises:
        ModelError: the folder cannot be made, or others can write to it.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    by_torch = [
        name
        for name in _FOLDERS
        if Path(os.environ.get(name, "")).is_relative_to(default_cache_dir())
    ]
    with kept_environment(_FOLDERS):
        if not os.environ.get(_FOLDER) or _FOLDER in by_torch:
            os.environ[_FOLDER] = str(_private_folder())
        if _TRITON_FOLDER in by_torch:
            # Else torch treats it as set by the person; unset, torch uses the folder above.
            del os.environ[_TRITON_FOLDER]
        yield


def _private_folder() -> Path:
    """Return the folder lspipe/inductor in the user's cache; create it, writable by this user only.

    Source: XDG Base Directory Specification 0.8 (relative paths are to be ignored).
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    advice = f"set the environment variable {_FOLDER} to a folder of your own"
    try:
        cache = named if named.is_absolute() else Path.home() / ".cache"
        folder = cache / "lspipe" / "inductor"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except (OSError, RuntimeError) as error:
        raise ModelError(f"no folder for compiled kernels ({error}): {advice}") from error
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ModelError(f"{folder}: others can write to this folder of compiled kernels: {advice}")
    return folder
