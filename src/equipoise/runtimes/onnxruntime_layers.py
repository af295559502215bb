"""What each node takes in ONNX Runtime, by its own profiler.

The nodes are those of the graph that ONNX Runtime makes of a model when it opens it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from equipoise.core.profile import Precision
from equipoise.core.tensor import ModelSpec
from equipoise.onnx_tensors import nodes
from equipoise.runtimes.base import Array
from equipoise.runtimes.external_data import external_data_files
from equipoise.runtimes.layers import VIEWS, Operation, Shape, TimedLayer, TimedLayers, Turn

KERNEL_TIME = "_kernel_time"
OPTIMIZED, OPTIMIZED_WEIGHTS = "optimized.onnx", "optimized.bin"
LARGE_BYTES = 1024
INTEGER_OPERATORS = frozenset(
    {
        "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat",
        "QAttention", "QGemm",
    }
)  # fmt: skip
PRECISIONS: dict[str, Precision] = {"float": "f32", "double": "f64", "float16": "f16", "bfloat16": "bf16"}
GATHERS = frozenset({"Gather", "GatherElements", "GatherND"})
PLACES = frozenset({"INT64", "INT32", "BOOL", "STRING"})
BITS = {
    "DOUBLE": 64, "INT64": 64, "UINT64": 64, "FLOAT16": 16, "BFLOAT16": 16, "INT16": 16, "UINT16": 16, "INT8": 8,
    "UINT8": 8, "BOOL": 8, "INT4": 4, "UINT4": 4,
}  # fmt: skip


class OnnxRuntimeLayers:
    """One ONNX model, opened with the profiler on."""

    def __init__(self, session: Any, inner: Any, scratch: Path) -> None:
        self._session = session
        self._inner = inner
        self._scratch = scratch

    @property
    def spec(self) -> ModelSpec:
        """What it takes and gives."""
        spec: ModelSpec = self._session.spec
        return spec

    def prepare(self, feeds: Mapping[str, Array]) -> Any:
        """As the session that only answers does."""
        return self._session.prepare(feeds)

    def run(self, prepared: Any) -> float:
        """Answer one batch; the profiler writes what it saw when it ends."""
        begin = time.perf_counter()
        self._session.run(prepared)
        return time.perf_counter() - begin

    def layers(self, turns: Sequence[Turn]) -> TimedLayers:
        """The nodes of the main graph, in the order in which they ran; what is inside control flow counts with it."""
        events = json.loads(Path(self._inner.end_profiling()).read_text(encoding="utf-8"))
        graph = _Graph(self._scratch / OPTIMIZED)
        seen: dict[str, list[Any]] = {}
        for event in events:
            name = event["name"].removesuffix(KERNEL_TIME)
            if event.get("cat") == "Node" and event["name"] != name and name in graph.nodes:
                seen.setdefault(name, []).append(event)
        layers = tuple(_layer(graph, name, each, turns) for name, each in seen.items())
        return TimedLayers(layers, graph.parameters)


def profiled_options(options: Any, scratch: Path) -> Any:
    """Turn the profiler on, and have the graph written that the profiler speaks of."""
    options.enable_profiling = True
    options.profile_file_prefix = str(scratch / "events")
    options.optimized_model_filepath = str(scratch / OPTIMIZED)
    options.log_severity_level = 3
    # Weights in a file of their own: a graph with them may be larger than its format allows.
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", OPTIMIZED_WEIGHTS)
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_min_size_in_bytes", str(LARGE_BYTES)
    )
    return options


def with_names(model: Path, scratch: Path) -> Path:
    """The model itself, or a copy in `scratch` where nodes lack a name of their own: the profiler tells by name."""
    import onnx

    proto = onnx.load(model, load_external_data=False)
    taken: set[str] = set()
    changed = False
    for index, node in enumerate(nodes(proto)):
        if not node.name or node.name in taken:
            node.name = _free_name(node, index, taken)
            changed = True
        taken.add(node.name)
    if not changed:
        return model
    folder = scratch / "named"
    folder.mkdir()
    for file in external_data_files(model):
        place = folder / file.relative_to(model.resolve().parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:  # another file system
            shutil.copyfile(file, place)
    onnx.save(proto, folder / "model.onnx")
    return folder / "model.onnx"


def _free_name(node: Any, index: int, taken: Iterable[str]) -> str:
    """The name of what it gives, which is what people know it by."""
    output = next((name for name in node.output if name), "")
    name = f"{node.op_type} {output}".strip()
    return name if name not in taken else f"{name} ({index})"


class _Weight(NamedTuple):
    shape: Shape
    dtype: str

    @property
    def parameters(self) -> int:
        """How many weights it holds; numbers that say shapes and places are none."""
        return 0 if self.dtype in PLACES else math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * BITS.get(self.dtype, 32) // 8


class _Graph:
    """The graph that ONNX Runtime made of the model.

    Attributes:
        nodes: Those of the main graph, by name.
        parameters: Weights in it.
    """

    def __init__(self, path: Path) -> None:
        import onnx

        proto = onnx.load(path, load_external_data=False)
        self.nodes: dict[str, Any] = {node.name: node for node in proto.graph.node}
        self._weights = {
            tensor.name: _Weight(tuple(tensor.dims), onnx.TensorProto.DataType.Name(tensor.data_type))
            for tensor in proto.graph.initializer
        }
        self.parameters = sum(weight.parameters for weight in self._weights.values())

    def weights_of(self, node: Any) -> list[_Weight]:
        """What a node reads that is fixed."""
        return [self._weights[name] for name in node.input if name in self._weights]

    def placed(self, node: Any, seen: tuple[Shape | None, ...]) -> tuple[Shape | None, ...]:
        """The shape of each input of a node.

        The profiler leaves out inputs that are not given, and weights that the runtime has packed for itself.
        """
        given = [name for name in node.input if name]
        moving = [name for name in given if name not in self._weights]
        packed = len(given) - len(seen)
        waiting = list(seen)
        shapes: dict[str, Shape | None] = {}
        for name in given:
            weight = self._weights.get(name)
            if weight is not None and packed > 0 and (len(seen) == len(moving) or waiting[:1] != [weight.shape]):
                shapes[name] = weight.shape
                packed -= 1
            else:
                shapes[name] = waiting.pop(0) if waiting else None
        return tuple(shapes.get(name) for name in node.input)


def _layer(graph: _Graph, name: str, events: list[Any], turns: Sequence[Turn]) -> TimedLayer:
    last, node = events[-1]["args"], graph.nodes[name]
    operator = str(last["op_name"])
    inputs, outputs = _shapes(last.get("input_type_shape", [])), _shapes(last.get("output_type_shape", []))
    weights = graph.weights_of(node)
    inner = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
    operation = Operation(operator, graph.placed(node, inputs), outputs, _attributes(node))
    return TimedLayer(
        name=name,
        operator=operator,
        kernel="" if node.domain in ("", "ai.onnx") else str(node.domain),
        precision=_precision(operator, last.get("input_type_shape", [])),
        operations=(operation,),
        parameters=None if inner else sum(weight.parameters for weight in weights),
        bytes_moved=None if inner else _bytes(operator, last, sum(weight.size_bytes for weight in weights)),
        seconds=np.array([np.mean([event["dur"] for event in events[slice(*turn)]]) for turn in turns]) * 1e-6,
    )


def _shapes(described: list[dict[str, list[int]]]) -> tuple[Shape | None, ...]:
    return tuple(tuple(next(iter(entry.values()))) if entry else None for entry in described)


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    plain = (onnx.AttributeProto.INT, onnx.AttributeProto.INTS, onnx.AttributeProto.FLOAT, onnx.AttributeProto.FLOATS)
    found = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute if each.type in plain}
    texts = {each.name: each.s.decode(errors="replace") for each in node.attribute if each.HasField("s")}
    return found | texts


def _precision(operator: str, described: list[dict[str, Any]]) -> Precision | None:
    if operator in INTEGER_OPERATORS or operator.startswith("QLinear"):
        return "int8"
    return next((PRECISIONS[dtype] for entry in described for dtype in entry if dtype in PRECISIONS), None)


def _bytes(operator: str, arguments: Mapping[str, Any], weight_bytes: int) -> int | None:
    if operator in VIEWS:
        return 0
    try:
        read_bytes, written_bytes = (int(arguments[key]) for key in ("activation_size", "output_size"))
    except (KeyError, ValueError):
        return None
    if operator in GATHERS:  # of the table only what is wanted is read
        weight_bytes = min(weight_bytes, written_bytes)
    return read_bytes + weight_bytes + written_bytes
