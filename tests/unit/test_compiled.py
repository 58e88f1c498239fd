"""torch.compile: what it needs, what it keeps on disk and who can write there, what it refuses."""

import os
import pickle
import stat
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import xarray as xr
from torch import nn

from lspipe.errors import ModelError
from lspipe.inference.detect import detect
from lspipe.inference.runtimes import available, compiled, from_callable
from lspipe.inference.runtimes.capture import capturing
from tests import runtime_contract as contract


@pytest.fixture
def kernels(tmp_path_factory, monkeypatch):
    """Compiled kernels of the tests, those of `test_models_runtimes.py` too."""
    contract.need("compiled")
    folder = tmp_path_factory.getbasetemp() / "kernels"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
    return folder


def test_nothing_is_pickled(kernels, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a file was unpickled")

    for name in ("load", "loads"):
        monkeypatch.setattr(pickle, name, refuse)
    # The second would find what the first one kept.
    for _ in range(2):
        contract.equals_eager(contract.small_network(), runtime="compiled", precision="fp32")
    assert list(kernels.rglob("*.so")), "kernels are kept"
    assert not [path.name for path in kernels.iterdir() if "graph" in path.name]


def test_weights_are_frozen_and_batch_normalisation_is_folded(kernels):
    before = set(kernels.rglob("*.py"))
    made = from_callable(contract.small_network(), device="cpu", runtime="compiled")
    # A shape that no other test has, so that its graph is written now.
    made(contract.windows(5))
    graph = "".join(path.read_text() for path in set(kernels.rglob("*.py")) - before)
    assert "_frozen_param" in graph
    assert "convolution_pointwise" in graph, "activations are part of the convolution"
    assert "batch_norm" not in graph


@pytest.mark.usefixtures("kernels")
def test_no_process_is_left_behind():
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    contract.equals_eager(contract.small_network(), runtime="compiled", precision="fp32")
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_kernels_are_kept_where_only_the_user_can_write(tmp_path, monkeypatch):
    from torch._inductor.runtime.cache_dir_utils import cache_dir, default_cache_dir

    folder = tmp_path / "lspipe" / "inductor"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    with compiled._own_folder():
        assert cache_dir() == str(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    # What torch chose itself when something else in the process was compiled.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", default_cache_dir())
    with compiled._own_folder():
        assert cache_dir() == str(folder)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == default_cache_dir()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "mine"))
    with compiled._own_folder():
        assert cache_dir() == str(tmp_path / "mine")


def test_kernels_of_triton_are_kept_beside_them_and_nobody_else_notices(tmp_path, monkeypatch):
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir, triton_cache_dir

    folder = tmp_path / "lspipe" / "inductor"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    with compiled._own_folder():
        # As torch does when it compiles for a GPU, and never takes back.
        os.environ["TRITON_CACHE_DIR"] = triton_cache_dir(0)
        assert os.environ["TRITON_CACHE_DIR"].startswith(str(folder))
    assert "TRITON_CACHE_DIR" not in os.environ
    earlier = str(Path(default_cache_dir()) / "triton" / "0")
    monkeypatch.setenv("TRITON_CACHE_DIR", earlier)
    with compiled._own_folder():
        assert triton_cache_dir(0).startswith(str(folder))
    assert os.environ["TRITON_CACHE_DIR"] == earlier
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "mine"))
    with compiled._own_folder():
        assert triton_cache_dir(0) == str(tmp_path / "mine")


def test_a_relative_cache_folder_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compiled._private_folder() == tmp_path / ".cache" / "lspipe" / "inductor"


def test_a_folder_that_others_can_write_to_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "lspipe" / "inductor"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="others can write to .* set the environment variable T"):
        compiled._private_folder()


def test_a_folder_that_cannot_be_made_is_an_error_with_a_way_out(tmp_path, monkeypatch):
    (tmp_path / "lspipe").write_text("a file where a folder has to be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="no folder for compiled kernels .*TORCHINDUCTOR_CACHE_DI"):
        compiled._private_folder()


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        ModelError,
        match=r"runtime 'compiled': needs a C\+\+ compiler, found no 'no-such-compiler': install .*"
        r"work: eager",
    ):
        from_callable(abs, device="cpu", runtime="compiled")
    assert "C++ compiler" in available("cpu")["compiled"]


def test_an_older_torch_is_refused_by_its_version(monkeypatch):
    monkeypatch.delattr(torch.compiler, "skip_all_guards_unsafe")
    assert torch.__version__ in available("cpu")["compiled"]


class Brightest(nn.Module):
    """A network whose path depends on its pixels."""

    def forward(self, windows):
        return windows[:, :1] / 2 if windows.max() > 1 else windows[:, :1]


@pytest.mark.usefixtures("kernels")
def test_a_network_that_is_no_graph_is_refused_and_runs_eagerly():
    cube = xr.DataArray(np.ones((1, 8, 8), np.float32), dims=("band", "y", "x"))
    with pytest.raises(
        ModelError, match="runtime 'compiled' cannot take this network .* use runtime 'eager'"
    ):
        detect(cube, Brightest(), window=8, stride=8, device="cpu", runtime="compiled")
    assert (detect(cube, Brightest(), window=8, stride=8, device="cpu") == 1).all()


def test_warnings_of_a_network_are_not_lost():
    with pytest.warns(UserWarning, match="of the network"), capturing("compiled"):
        warnings.warn("of the network", UserWarning, stacklevel=1)
