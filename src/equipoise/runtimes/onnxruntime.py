"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np

from equipoise.core.environment import Environment
from equipoise.core.profile import Precision, Settings
from equipoise.core.tensor import DType, ModelSpec, TensorSpec
from equipoise.core.variant import Format
from equipoise.errors import ModelError
from equipoise.runtimes.base import Array
from equipoise.runtimes.external_data import external_data_files
from equipoise.telemetry import silence

if TYPE_CHECKING:
    from equipoise.runtimes.onnxruntime_layers import OnnxRuntimeLayers

FATAL = 4
"""The severity from which on ONNX Runtime writes to stderr."""
DTYPES: dict[str, DType] = {f"tensor({name})": name for name in get_args(DType)} | {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}


class OnnxRuntimeSession:
    """One ONNX model, opened so that `replicas` callers can run at the same time."""

    def __init__(self, sessions: list[Any], spec: ModelSpec) -> None:
        self.spec = spec
        self._only = sessions[0] if len(sessions) == 1 else None
        self._free: SimpleQueue[Any] = SimpleQueue()
        for session in sessions:
            self._free.put(session)
        self._outputs = [output.name for output in spec.outputs]
        self._dtypes = {
            tensor.name: np.dtype(object if tensor.dtype == "string" else tensor.dtype) for tensor in spec.inputs
        }

    def prepare(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs that the model takes, in its types, contiguous; other arrays are left out."""
        return {name: np.ascontiguousarray(feeds[name], dtype) for name, dtype in self._dtypes.items()}

    def run(self, prepared: dict[str, Array]) -> dict[str, Array]:
        """Answer one batch."""
        if self._only is not None:
            return dict(zip(self._outputs, self._only.run(self._outputs, prepared), strict=True))
        session = self._free.get()
        try:
            return dict(zip(self._outputs, session.run(self._outputs, prepared), strict=True))
        finally:
            self._free.put(session)


class OnnxRuntime:
    """Opens ONNX models with ONNX Runtime's CPU provider.

    With `settings.default`, session options are left untouched: the runtime takes a thread for each core it sees, which
    is what most people deploy. Otherwise one batch is computed by `threads` threads. A replica of one thread needs no
    pool, so that all replicas share one session and its weights, each computing in its caller's thread; replicas of
    several threads have a session, and so a pool, each.
    """

    name: ClassVar[str] = "onnxruntime"
    formats: ClassVar[tuple[Format, ...]] = ("onnx",)

    def precisions(self, format: Format, quantized: bool, environment: Environment) -> tuple[Precision, ...]:  # noqa: A002, ARG002
        """The artifact's own: ONNX Runtime computes on CPUs in the types that the graph names."""
        return ("int8",) if quantized else ("f32",)

    def open(self, artifact: Path, settings: Settings) -> OnnxRuntimeSession:
        """Open `model.onnx` of that folder.

        Raises:
            ModelError: It is damaged, uses operators or types that ONNX Runtime's CPU provider lacks, or names weights
                outside its folder.
        """
        path = artifact / "model.onnx"
        external_data_files(path)
        sessions = 1 if settings.default or settings.threads == 1 else settings.replicas
        opened = [_inference_session(path, _options(settings)) for _ in range(sessions)]
        return OnnxRuntimeSession(opened, _spec(path, opened[0]))

    def open_layers(self, artifact: Path, settings: Settings, scratch: Path) -> OnnxRuntimeLayers:
        """Open `model.onnx` of that folder with the profiler on, which writes into `scratch`.

        Raises:
            ModelError: As `open`.
        """
        from equipoise.runtimes.onnxruntime_layers import OnnxRuntimeLayers, profiled_options, with_names

        path = artifact / "model.onnx"
        external_data_files(path)
        opened = _inference_session(with_names(path, scratch), profiled_options(_options(settings), scratch))
        return OnnxRuntimeLayers(OnnxRuntimeSession([opened], _spec(path, opened)), opened, scratch)


def _options(settings: Settings) -> Any:
    silence()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if not settings.default:
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
    options.log_severity_level = FATAL  # what it says of a request's values would stand on stderr, beside the log
    return options


def _inference_session(path: Path, options: Any) -> Any:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a native library's border: it raises a dozen unrelated types, none of them public
        raise ModelError(str(path), f"ONNX Runtime cannot open it ({error})", "check the file and its opset") from error


def _spec(path: Path, session: Any) -> ModelSpec:
    return ModelSpec(
        inputs=tuple(_tensor(path, "input", value) for value in session.get_inputs()),
        outputs=tuple(_tensor(path, "output", value) for value in session.get_outputs()),
    )


def _tensor(path: Path, role: str, value: Any) -> TensorSpec:
    dtype = DTYPES.get(value.type)
    if dtype is None:
        needed = "tensors only; a scikit-learn classifier exports one with the converter's option zipmap=False"
        raise ModelError(str(path), f"{role} {value.name!r} is a {value.type}", needed)
    shape = tuple(axis if isinstance(axis, int) and axis >= 0 else None for axis in value.shape)
    return TensorSpec(name=value.name, dtype=dtype, shape=shape)
