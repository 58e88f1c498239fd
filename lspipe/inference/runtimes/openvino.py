"""A network through OpenVINO: often the fastest on a CPU, up to twice as fast as plain PyTorch.

`torch.export` captures the network; it refuses a network
whose path depends on pixel values, instead of keeping the path of its example. Functions are
accepted too; the modules they call are not copied, so do not change those before the first batch.

Nothing is sent and nothing is written: the telemetry of OpenVINO, which reports its import and
every conversion by `openvino.convert_model`, is blocked.
"""

from __future__ import annotations

import sys
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lspipe.errors import InferenceError, MissingExtra, ModelError
from lspipe.inference.runtimes.capture import capturing, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

_TELEMETRY = "openvino_telemetry"

# Names in OpenVINO: in its hint, and in `OPTIMIZATION_CAPABILITIES`.
_PRECISIONS = {"fp32": ("f32", "FP32"), "bf16": ("bf16", "BF16")}

_importing = threading.Lock()
_converting = threading.Lock()


def check(device: torch.device, precision: str) -> None:
    """Raise if OpenVINO is not installed, or cannot compute on this device or in this precision.

    Raises:
        ModelError: a GPU, or bf16 on a CPU without it (OpenVINO would compute in fp32 silently).
        MissingExtra: it is not installed.
    """
    if device.type != "cpu":
        raise ModelError(f"computes on a CPU only, the device is {device.type!r}; use device 'cpu'")
    found = set(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    if _PRECISIONS[precision][1] not in found:
        has = [name for name, (_, capability) in _PRECISIONS.items() if capability in found]
        raise ModelError(
            f"precision {precision!r}: {_core().get_property('CPU', 'FULL_DEVICE_NAME')} has "
            f"{', '.join(has)} only"
        )


def prepare(
    network: Callable[[torch.Tensor], Any],
    *,
    device: torch.device,  # noqa: ARG001 - always the CPU
    precision: str,
) -> Callable[[torch.Tensor], Any]:
    """Convert a copy of the network at the first batch of each shape.

    It computes one batch at a time, with the number of threads of the preparing thread.
    """
    module = _Network(snapshot(network)).eval()
    threads = torch.get_num_threads()
    requests: dict[tuple[int, ...], Any] = {}
    # A request has one input and one output.
    inferring = threading.Lock()

    def call(batch: torch.Tensor) -> torch.Tensor:
        shape = tuple(batch.shape)
        pixels = batch.detach().float().contiguous().numpy()
        with inferring:
            if shape not in requests:
                with _converting:
                    requests[shape] = _request(module, shape, precision, threads)
            answer = requests[shape].infer({0: pixels}, share_inputs=True, share_outputs=True)
            # The next batch will overwrite it.
            return torch.from_numpy(answer[0].copy())

    return call


class _Network(nn.Module):
    """A module or a function as a module with one output, as `torch.export` needs it."""

    def __init__(self, network: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Call the network, and refuse an output that is not one tensor."""
        output = self.network(windows)
        if not isinstance(output, torch.Tensor):
            raise InferenceError(
                f"the network returned a {type(output).__name__} for a batch of shape "
                f"{tuple(windows.shape)}: expected a tensor of probabilities"
            )
        return output


def _request(module: nn.Module, shape: tuple[int, ...], precision: str, threads: int) -> Any:
    """Compile a network for one batch shape.

    Raises:
        InferenceError: it does not return one tensor.
        ModelError: torch cannot export it, or OpenVINO lacks one of its operations.
    """
    with capturing("openvino"):
        model = _converted(module, shape)
        compiled = _core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _PRECISIONS[precision][0],
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                # Else all workers of a machine would be pinned to its first cores.
                "ENABLE_CPU_PINNING": False,
                # Never int8, which is the default for some fully connected layers.
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            },
        )
    return compiled.create_infer_request()


def _converted(module: nn.Module, shape: tuple[int, ...]) -> Any:
    """Turn a module into a model of OpenVINO with a fixed shape, weights shared with the module.

    Source: `openvino.convert_model` (openvino/tools/ovc/convert_impl.py), without its telemetry.
    """
    _openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    # Blocks are computed in inference mode, whose tensors cannot be exported.
    with torch.inference_mode(mode=False), torch.no_grad():
        program = torch.export.export(module, (torch.zeros(shape),), strict=False)
        graph = program.run_decompositions().module()
    # In a variable, as the front end keeps no reference to it.
    decoder = TorchFXPythonDecoder(graph)
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    model.reshape(list(shape))
    return model


@cache
def _core() -> Any:
    """Return the devices of OpenVINO, found once per process."""
    return _openvino().Core()


def _openvino() -> Any:
    """Import OpenVINO without its telemetry: OpenVINO works without that package.

    Raises:
        MissingExtra: it is not installed.
    """
    with _importing:
        reported = sys.modules.get(_TELEMETRY)
        if "openvino" not in sys.modules:
            # None makes the import fail, see the documentation of sys.modules.
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
        try:
            import openvino
        except ImportError as error:
            raise MissingExtra(
                f'needs the package openvino ({error}): pip install "lspipe[openvino]"'
            ) from error
        finally:
            if reported is None:
                sys.modules.pop(_TELEMETRY, None)
            else:
                sys.modules[_TELEMETRY] = reported
        return openvino
