"""OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar

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
    from equipoise.runtimes.openvino_layers import OpenVinoLayers

DTYPES: dict[str, DType] = {
    "boolean": "bool", "u8": "uint8", "i8": "int8", "u16": "uint16", "i16": "int16", "u32": "uint32", "i32": "int32",
    "u64": "uint64", "i64": "int64", "f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64",
    "string": "string",
}  # fmt: skip
FILES: dict[Format, str] = {"onnx": "model.onnx", "openvino": "model.xml", "tflite": "model.tflite"}
RESULT_SUFFIX = "/sink_port_0"
REST_OF_QUANTIZED = {"int8": "f32", "int8_bf16": "bf16"}
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
F16_FLAGS = frozenset({"avx512_fp16", "amx_fp16", "asimdhp"})


class OpenVinoSession:
    """One compiled model with an infer request for each caller that may run at the same time."""

    def __init__(self, compiled: Any, spec: ModelSpec, replicas: int) -> None:
        import openvino

        self.spec = spec
        self._tensor = openvino.Tensor
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(replicas):
            self._free.put(compiled.create_infer_request())
        self._outputs = [output.name for output in spec.outputs]
        self._inputs = [
            (tensor.name, np.dtype(object if tensor.dtype == "string" else tensor.dtype)) for tensor in spec.inputs
        ]

    def prepare(self, feeds: Mapping[str, Array]) -> list[Any]:
        """The inputs in the model's order and types, as tensors over the arrays' own memory."""
        prepared = []
        for name, dtype in self._inputs:
            array = np.ascontiguousarray(feeds[name], dtype)
            text = dtype.kind == "O"
            prepared.append(self._tensor(array.astype(str)) if text else self._tensor(array, shared_memory=True))
        return prepared

    def run(self, prepared: list[Any]) -> dict[str, Array]:
        """Answer one batch; the answers are copies, since a request writes its next ones into the same memory."""
        request = self._free.get()
        try:
            for index, tensor in enumerate(prepared):
                request.set_input_tensor(index, tensor)
            request.infer()
            return {name: _copied(request.get_output_tensor(index)) for index, name in enumerate(self._outputs)}
        finally:
            self._free.put(request)


class OpenVino:
    """Opens ONNX models, OpenVINO IR and TensorFlow Lite models with OpenVINO's CPU plug-in.

    The precision is set on every compile: left alone, OpenVINO computes float32 models in bfloat16 on CPUs that have
    it, so that what was measured would not be what is served elsewhere. A quantised graph computes its remaining
    floating-point parts in float32, or in bfloat16 where that is asked for. One replica is compiled for latency,
    several for throughput, with a stream and an infer request each.
    """

    name: ClassVar[str] = "openvino"
    formats: ClassVar[tuple[Format, ...]] = ("onnx", "openvino", "tflite")

    def precisions(self, format: Format, quantized: bool, environment: Environment) -> tuple[Precision, ...]:  # noqa: A002, ARG002
        """Float32 first, then the half precisions that this CPU computes in; for the rest of a quantised graph too."""
        flags = set(environment.cpu_flags)
        if quantized:
            return ("int8", "int8_bf16") if flags & BF16_FLAGS else ("int8",)
        halves: tuple[tuple[Precision, frozenset[str]], ...] = (("bf16", BF16_FLAGS), ("f16", F16_FLAGS))
        return ("f32", *(precision for precision, needed in halves if flags & needed))

    def open(self, artifact: Path, settings: Settings) -> OpenVinoSession:
        """Open `model.onnx`, `model.xml` or `model.tflite` of that folder.

        Raises:
            ModelError: It is damaged, uses operators that OpenVINO lacks (trees, for one), or names weights outside its
                folder.
        """
        path, model, compiled = _compiled(artifact, _properties(settings))
        return OpenVinoSession(compiled, model_spec(path, model), settings.replicas)

    def open_layers(self, artifact: Path, settings: Settings, scratch: Path) -> OpenVinoLayers:  # noqa: ARG002
        """Open the same with a counter on each of its layers.

        Raises:
            ModelError: As `open`.
        """
        from equipoise.runtimes.openvino_layers import PERF_COUNT, OpenVinoLayers

        path, model, compiled = _compiled(artifact, _properties(settings) | PERF_COUNT)
        return OpenVinoLayers(compiled, model, OpenVinoSession(compiled, model_spec(path, model), replicas=0))


def _compiled(artifact: Path, properties: dict[str, Any]) -> tuple[Path, Any, Any]:
    """The model's file in that folder, the model as it was read, and compiled."""
    silence()
    import openvino

    path = next((artifact / name for name in FILES.values() if (artifact / name).is_file()), None)
    if path is None:
        raise ModelError(str(artifact), f"none of {', '.join(FILES.values())} in it", "give the folder of an artifact")
    if path.suffix == ".onnx":
        external_data_files(path)
    try:
        core = openvino.Core()
        model = core.read_model(path)
        return path, model, core.compile_model(model, "CPU", properties)
    except RuntimeError as error:
        raise ModelError(str(path), f"OpenVINO cannot open it ({first_lines(error)})", "try ONNX Runtime") from error


def model_spec(path: Path, model: Any) -> ModelSpec:
    """What an OpenVINO model takes and gives.

    Raises:
        ModelError: An input or output has a type that NumPy lacks, or its number of axes is not known.
    """
    return ModelSpec(
        inputs=tuple(_tensor(path, port) for port in model.inputs),
        outputs=tuple(_tensor(path, port) for port in model.outputs),
    )


def output_name(port: Any) -> str:
    """Name of an output as the source model has it.

    Fused nodes leave several names on one tensor; the result's own node keeps the one that the model declared.
    """
    names: set[str] = port.get_names()
    declared = str(port.get_node().get_friendly_name()).removesuffix(RESULT_SUFFIX)
    return declared if declared in names or not names else min(names)


def _properties(settings: Settings) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": REST_OF_QUANTIZED.get(settings.precision, settings.precision)
    }
    if settings.default:
        return properties
    return properties | {
        "PERFORMANCE_HINT": "LATENCY" if settings.replicas == 1 else "THROUGHPUT",
        "NUM_STREAMS": settings.replicas,
        "INFERENCE_NUM_THREADS": settings.threads * settings.replicas,
        # Otherwise a machine of two hyper-threads computes with one thread, whatever was asked for.
        "ENABLE_HYPER_THREADING": True,
    }


def _tensor(path: Path, port: Any) -> TensorSpec:
    is_output = port.get_node().get_type_name() == "Result"
    name = output_name(port) if is_output else str(port.get_node().get_friendly_name())
    dtype = DTYPES.get(port.get_element_type().get_type_name())
    if dtype is None:
        raise ModelError(str(path), f"{name!r} holds {port.get_element_type()}", "a type that NumPy has")
    partial = port.get_partial_shape()
    if partial.rank.is_dynamic:
        raise ModelError(str(path), f"{name!r} has no known number of axes", "export the model with its ranks known")
    return TensorSpec(
        name=name, dtype=dtype, shape=tuple(None if axis.is_dynamic else axis.get_length() for axis in partial)
    )


def _copied(tensor: Any) -> Array:
    if tensor.get_element_type().get_type_name() == "string":
        return np.asarray(tensor.str_data, dtype=object)
    return np.array(tensor.data)


def first_lines(error: Exception) -> str:
    """What OpenVINO says of a model that it cannot open, without its places in its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")]
    # Where it could not convert a model, OpenVINO says why in the summary at the end.
    summary = lines[lines.index("Summary:") + 1 :] if "Summary:" in lines else lines
    return " ".join(line.removeprefix("-- ") for line in summary[:3])[:300]
