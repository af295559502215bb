"""PyTorch, eager and compiled, on the CPU, and eager on a CUDA device where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from equipoise.core.environment import Environment
from equipoise.core.profile import Precision, Settings
from equipoise.core.tensor import ModelSpec
from equipoise.core.variant import Format
from equipoise.errors import ModelError
from equipoise.runtimes.base import Array
from equipoise.runtimes.torch_program import input_names, load_program

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import GraphModule

    from equipoise.runtimes.torch_layers import TorchLayers

Device = Literal["cpu", "cuda"]
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
CUDA_DRIVER = Path("/dev/nvidiactl")
HALF_OPERATORS = frozenset({"linear", "conv1d", "conv2d", "conv3d", "convolution", "matmul", "mm", "bmm", "addmm"})
"""Which autocast computes in half precision: their weights may be kept in it."""
LONG_AGO = "needed a machine as the one it was measured on, or another runtime"


class TorchSession:
    """An exported program, run under `inference_mode`; its callers' threads compute."""

    def __init__(self, call: Any, names: list[str], spec: ModelSpec, precision: Precision, device: Device) -> None:
        import torch

        self.spec = spec
        self._call = call
        self._torch = torch
        self._names = names
        self._dtypes = {tensor.name: np.dtype(tensor.dtype) for tensor in spec.inputs}
        self._outputs = [tensor.name for tensor in spec.outputs]
        self._device = device
        self._half = {"bf16": torch.bfloat16, "f16": torch.float16}.get(precision)

    def prepare(self, feeds: Mapping[str, Array]) -> list[Any]:
        """The inputs in the program's order and types, as tensors over the arrays' own memory."""
        arrays = (np.ascontiguousarray(feeds[name], self._dtypes[name]) for name in self._names)
        return [self._torch.from_numpy(array if array.flags.writeable else array.copy()) for array in arrays]

    def run(self, prepared: list[Any]) -> dict[str, Array]:
        """Answer one batch."""
        torch = self._torch
        with torch.inference_mode(), self.arithmetic():
            tensors = prepared if self._device == "cpu" else [tensor.to(self._device) for tensor in prepared]
            answers = self._call(*tensors)
            return {name: _array(torch, answer) for name, answer in zip(self._outputs, answers, strict=True)}

    def arithmetic(self) -> AbstractContextManager[Any]:
        """Within it, products are computed in the precision that was asked for."""
        return ExitStack() if self._half is None else self._torch.autocast(self._device, dtype=self._half)


class Torch:
    """Runs exported programs operator by operator, as most people deploy them.

    With `settings.default`, threads are left to torch. In bfloat16, torch's autocast computes convolutions and matrix
    products in it and the rest in float32.
    """

    name: ClassVar[str] = "torch"
    formats: ClassVar[tuple[Format, ...]] = ("torch",)

    def precisions(self, format: Format, quantized: bool, environment: Environment) -> tuple[Precision, ...]:  # noqa: A002, ARG002
        """Float32, and bfloat16 where the CPU computes in it."""
        return ("f32", "bf16") if BF16_FLAGS & set(environment.cpu_flags) else ("f32",)

    def open(self, artifact: Path, settings: Settings) -> TorchSession:
        """Open `model.pt2` and `spec.json` of that folder.

        Raises:
            ModelError: torch is not installed, or the file is damaged or holds what could run code.
        """
        return _opened(artifact, settings, "cpu")[0]

    def open_layers(self, artifact: Path, settings: Settings, scratch: Path) -> TorchLayers:  # noqa: ARG002
        """Open the same with each of its operators timed.

        Raises:
            ModelError: As `open`.
        """
        from equipoise.runtimes.torch_layers import TorchLayers

        return TorchLayers(*_opened(artifact, settings, "cpu"))


class TorchCompile:
    """Runs exported programs as torch.compile makes them: fused into C++ that is compiled on this machine.

    Compiling takes up to a minute, once for a single row and once for any other number of them.
    """

    name: ClassVar[str] = "torch_compile"
    compiles: ClassVar[bool] = True
    formats: ClassVar[tuple[Format, ...]] = ("torch",)

    def precisions(self, format: Format, quantized: bool, environment: Environment) -> tuple[Precision, ...]:  # noqa: A002, ARG002
        """Float32, and bfloat16 where the CPU computes in it."""
        return ("f32", "bf16") if BF16_FLAGS & set(environment.cpu_flags) else ("f32",)

    def open(self, artifact: Path, settings: Settings) -> TorchSession:
        """Open `model.pt2` and `spec.json` of that folder; what it compiles is kept in torch's own cache.

        Raises:
            ModelError: torch or a C++ compiler is not installed, or the file is damaged or holds what could run code.
        """
        _require_compiler(artifact)
        return _opened(artifact, settings, "cpu", compiled=True)[0]


class TorchCuda:
    """Runs exported programs operator by operator on the first CUDA device; rows go there and answers come back."""

    name: ClassVar[str] = "torch_cuda"
    formats: ClassVar[tuple[Format, ...]] = ("torch",)

    def precisions(self, format: Format, quantized: bool, environment: Environment) -> tuple[Precision, ...]:  # noqa: A002, ARG002
        """Float32, float16 and bfloat16 where there is such a device; nothing else."""
        return ("f32", "f16", "bf16") if CUDA_DRIVER.exists() else ()

    def open(self, artifact: Path, settings: Settings) -> TorchSession:
        """Open `model.pt2` and `spec.json` of that folder on the device.

        Raises:
            ModelError: There is no device that this torch can use, or the file is damaged or holds what could run code.
        """
        import torch

        if not torch.cuda.is_available():
            raise ModelError(str(artifact), f"torch {torch.__version__} finds no CUDA device here", LONG_AGO)
        return _opened(artifact, settings, "cuda")[0]


def _opened(
    artifact: Path, settings: Settings, device: Device, *, compiled: bool = False
) -> tuple[TorchSession, GraphModule]:
    program, spec = load_program(artifact)
    import torch
    from torch.utils._pytree import tree_leaves

    if not settings.default:
        torch.set_num_threads(settings.threads)
    names = input_names(program)
    positional = len(program.call_spec.in_spec.children()[0].children())
    module = _module(program, settings.precision, device)
    keywords = names[positional:]

    def answer(*tensors: Any) -> list[Any]:
        by_name = dict(zip(keywords, tensors[positional:], strict=True))
        return list(tree_leaves(module(*tensors[:positional], **by_name)))

    call = torch.compile(answer, dynamic=spec.fixed_batch is None) if compiled else answer
    return TorchSession(call, names, spec, settings.precision, device), module


def _module(program: ExportedProgram, precision: Precision, device: Device) -> GraphModule:
    """The program as a module without its own checks, the weights that are used in half precision kept in it."""
    import torch

    if device == "cuda":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    module = program.module(check_guards=False)
    graph = module.graph
    for node in list(graph.nodes):
        if node.op == "call_function" and getattr(node.target, "_opname", "") == "_assert_tensor_metadata":
            graph.erase_node(node)
    module.recompile()
    if precision in ("bf16", "f16"):
        half = torch.bfloat16 if precision == "bf16" else torch.float16
        users: dict[str, list[Any]] = {}
        for node in graph.nodes:
            if node.op == "get_attr":
                users.setdefault(str(node.target), []).extend(node.users)
        for target, nodes in users.items():
            owner, _, name = target.rpartition(".")
            weight = getattr(module.get_submodule(owner), name)
            if weight.dtype is torch.float32 and all(map(_computes_in_half, nodes)):
                weight.data = weight.data.to(half)
    return module


def _computes_in_half(node: Any) -> bool:
    return node.op == "call_function" and getattr(node.target, "_opname", "") in HALF_OPERATORS


def _array(torch: Any, answer: Any) -> Array:
    if answer.dtype in (torch.bfloat16,):
        answer = answer.float()
    return answer.cpu().numpy()  # type: ignore[no-any-return]


def _require_compiler(artifact: Path) -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:  # torch raises its own kind, which moved between its versions
        raise ModelError(
            str(artifact),
            "torch.compile finds no C++ compiler",
            "install g++ or clang, or set CXX to one that is there",
        ) from error
