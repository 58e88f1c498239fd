"""The networks of ukis-csmask -> clouds and cloud shadows of L1C and L2A scenes.

Needs `pip install "lspipe[csmask]"`: 145 MB, of which a worker loads one network of 40 MB, once.
Only its networks are used, by OpenVINO or by onnxruntime, one window of 256 x 256 pixels at a time
on one thread, so that the answer of a window is the same wherever it is computed. It knows no snow.

Source: Wieland, Li and Martinis 2019 (doi 10.1016/j.rse.2019.05.022), the networks of version 1.0.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lspipe.errors import MissingExtra, ModelError
from lspipe.schema import Quality

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from lspipe.preprocess.masks.spec import MaskSpec

_PACKAGE = "ukis_csmask"
_INSTALL = 'pip install "lspipe[csmask]"'
_ENGINES = ("openvino", "onnxruntime")
"""What can run the networks, the first that is installed; their last bits differ."""

_BANDS = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08", "swir16": "B11",
          "swir22": "B12"}  # fmt: skip

_BITS = np.array([0, Quality.CLOUD, Quality.SHADOW], np.uint8)
"""Quality bits of the classes of the networks: background, cloud, cloud shadow."""


@dataclass(frozen=True)
class CloudShadowMask:
    """The networks with six bands as a source of masks; see `sources.MaskSource`."""

    engine: str
    """What runs them, a name of `_ENGINES`."""
    version: str
    """Of the package."""
    sha256: tuple[tuple[str, str], ...]
    """Level and sha256 (hex) of each network."""
    name: ClassVar[str] = "csmask"
    bands: ClassVar[tuple[str, ...]] = tuple(_BANDS.values())
    levels: ClassVar[tuple[str, ...]] = ("L1C", "L2A")
    # As its authors advise; at 10 m it is nine times slower and no better (docs/masks.md).
    pixel_m: ClassVar[int] = 30
    window: ClassVar[int | None] = 256
    # As in its package, whose tiles overlap by a fifth.
    margin: ClassVar[int] = 26

    def facts(self) -> Mapping[str, Any]:
        """Return version, engine and the hashes of the networks."""
        return {"version": self.version, "engine": self.engine, "sha256": dict(self.sha256)}

    def bits(self, pixels: NDArray[np.float32], level: str) -> NDArray[np.uint8]:
        """Return the class with the highest score of each pixel of a window, as quality bits.

        Raises:
            MissingExtra: this machine lacks the package, or what runs it.
            ModelError: it has another version of the networks than the plan.
        """
        network = _loaded(level, self.engine, dict(self.sha256)[level])
        bits: NDArray[np.uint8] = _BITS[network(np.nan_to_num(pixels)[None])[0].argmax(axis=0)]
        return bits


def source(spec: MaskSpec, name: str) -> CloudShadowMask:
    """Return the source of the installed package.

    Raises:
        MissingExtra: the package, or what runs its networks, is not installed.
    """
    del spec, name
    folder = _folder()
    engine = next((one for one in _ENGINES if find_spec(one) is not None), None)
    if engine is None:
        raise MissingExtra(f"cube.mask.source csmask needs {' or '.join(_ENGINES)}: {_INSTALL}")
    return CloudShadowMask(
        engine=engine,
        version=metadata.version("ukis-csmask"),
        sha256=tuple((level, _digest(_file(folder, level))) for level in CloudShadowMask.levels),
    )


def _folder() -> Path:
    """Return where the networks lie; the package is not imported, as that needs onnxruntime."""
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingExtra(f"cube.mask.source csmask needs the package ukis-csmask: {_INSTALL}")
    return Path(found.submodule_search_locations[0])


def _file(folder: Path, level: str) -> Path:
    return folder / f"model_6b_{level.lower()}.onnx"


@lru_cache(maxsize=8)
def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except FileNotFoundError as error:
        raise MissingExtra(
            f"cube.mask.source csmask: no {file.name} in {file.parent}; needs ukis-csmask 1.0 or "
            f"later: {_INSTALL}"
        ) from error


_networks: dict[tuple[str, str], Any] = {}
_loading = threading.Lock()


def _loaded(level: str, engine: str, sha256: str) -> Any:
    """Return a network, from the cache of this process if it is there.

    With a plain lru_cache two threads of a worker could load it at once.
    """
    with _loading:
        if (level, engine) not in _networks:
            file = _file(_folder(), level)
            if _digest(file) != sha256:
                raise ModelError(
                    f"{file}: sha256 {_digest(file)[:12]}..., the run was planned with "
                    f"{sha256[:12]}...; install the same version of ukis-csmask on every machine"
                )
            _networks[level, engine] = _network(file, engine)
        return _networks[level, engine]


def _network(file: Path, engine: str) -> Any:
    """Return a function of reflectance (1, band, y, x) -> scores (1, class, y, x), float32."""
    facts = json.loads(file.with_suffix(".json").read_text())["data"]["dataset_statistics"]
    expected = list(_BANDS)
    if facts["band_names"] != expected:
        raise ModelError(f"{file}: bands {facts['band_names']}, expected {expected}")
    mean, deviation = (np.array(row, np.float32)[:, None, None] for row in facts["img"])
    try:
        run = _opened(file, engine)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"the run was planned with csmask run by {engine}, which this machine lacks: {_INSTALL}"
        ) from error
    # A request of OpenVINO has one input and one output.
    one_at_a_time = threading.Lock()

    def answer(reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
        with one_at_a_time:
            return np.array(run((reflectance - mean) / deviation))

    return answer


def _opened(file: Path, engine: str) -> Callable[[NDArray[np.float32]], Any]:
    """Open a network on one thread: workers fill the cores."""
    if engine == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(file), sess_options=options, providers=["CPUExecutionProvider"]
        )
        entrance = session.get_inputs()[0].name
        return lambda pixels: session.run(None, {entrance: pixels})[0]
    request = _compiled(file).create_infer_request()
    return lambda pixels: request.infer({0: pixels}, share_inputs=True)[0]


def _compiled(file: Path) -> Any:
    import openvino

    core = openvino.Core()
    network = core.read_model(file)
    network.reshape([1, len(_BANDS), CloudShadowMask.window, CloudShadowMask.window])
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    return core.compile_model(network, "CPU", settings)
