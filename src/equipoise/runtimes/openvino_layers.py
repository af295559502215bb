"""What each layer takes in OpenVINO, by its own counters: the layers are those of the graph that it made of the model.

OpenVINO fuses operators and makes others of them. Which operators of the model a layer stands for is told by the names
that it keeps; an operator whose name was lost on the way belongs to the layer that uses what it gives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equipoise.core.profile import Precision
from equipoise.core.tensor import ModelSpec
from equipoise.runtimes.base import Array
from equipoise.runtimes.layers import VIEWS, Operation, Shape, TimedLayer, TimedLayers, Turn

PERF_COUNT = {"PERF_COUNT": True}
PRECISIONS: dict[str, Precision] = {"f32": "f32", "bf16": "bf16", "f16": "f16", "i8": "int8", "u8": "int8"}
BITS = {
    "f64": 64, "i64": 64, "u64": 64, "f32": 32, "i32": 32, "u32": 32, "f16": 16, "bf16": 16, "i16": 16, "u16": 16,
    "i8": 8, "u8": 8, "boolean": 8, "u1": 1, "i4": 4, "u4": 4, "nf4": 4,
}  # fmt: skip
FLOATS = frozenset({"f64", "f32", "f16", "bf16"})
WEIGHTS = FLOATS | {"i8", "u8", "i4", "u4", "nf4"}
PLACES = frozenset({"i64", "i32", "boolean"})
CONSTANT = "Const"
CUT_OFF_S = 0.5e-6
"""Counters are cut off to whole microseconds: half of one is what they lack on average."""
CONTROL = frozenset({"If", "Loop", "TensorIterator"})
NO_OPERATORS = frozenset({"Constant", "Parameter", "Result"})
GATHERS = frozenset({"Gather", "GatherElements", "GatherND"})


class OpenVinoLayers:
    """One compiled model whose counters are read after each batch."""

    def __init__(self, compiled: Any, model: Any, session: Any) -> None:
        self._compiled = compiled
        self._model = model
        self._session = session
        self._request = compiled.create_infer_request()
        self._means: list[dict[str, float]] = []
        self._kinds: dict[str, tuple[str, str]] = {}
        self._shapes: tuple[Shape, ...] = ()

    @property
    def spec(self) -> ModelSpec:
        """What it takes and gives."""
        spec: ModelSpec = self._session.spec
        return spec

    def prepare(self, feeds: Mapping[str, Array]) -> list[Any]:
        """As the session that only answers does."""
        prepared: list[Any] = self._session.prepare(feeds)
        return prepared

    def run(self, prepared: list[Any]) -> float:
        """Answer one batch and note what each layer took."""
        for index, tensor in enumerate(prepared):
            self._request.set_input_tensor(index, tensor)
        begin = time.perf_counter()
        self._request.infer()
        elapsed_s = time.perf_counter() - begin
        self._shapes = tuple(tuple(tensor.get_shape()) for tensor in prepared)
        counters = [info for info in self._request.get_profiling_info() if info.status == info.Status.EXECUTED]
        self._means.append({info.node_name: info.real_time.total_seconds() for info in counters})
        self._kinds |= {info.node_name: (info.node_type, info.exec_type) for info in counters}
        return elapsed_s

    def layers(self, turns: Sequence[Turn]) -> TimedLayers:
        """The layers that were executed, in the order in which they ran."""
        graph = self._compiled.get_runtime_model()
        executed = [node for node in graph.get_ordered_ops() if _name(node) in self._kinds]
        parts = _parts(self._model, self._shapes, executed)
        fixed = _fixed(graph, lambda node: _about(node).get("layerType") == CONSTANT)
        layers = []
        for node in executed:
            kind, kernel = self._kinds[_name(node)]
            part = parts.get(_name(node)) or _Part([_operation(kind, node, {})])
            computing = _computing(kernel, node)
            layers.append(
                TimedLayer(
                    name=_name(node),
                    operator=kind,
                    kernel=kernel,
                    precision=PRECISIONS.get(computing),
                    operations=tuple(part.operations),
                    parameters=None if kind in CONTROL else part.parameters,
                    bytes_moved=None if kind in CONTROL else _bytes(node, kind, computing, fixed),
                    seconds=np.array([self._mean_s(_name(node), *turn) for turn in turns]),
                )
            )
        return TimedLayers(tuple(layers), _parameters(self._model))

    def _mean_s(self, layer: str, first: int, end: int) -> float:
        """Mean seconds of a layer over some runs in a row, from OpenVINO's means over all runs so far."""
        before_s, until_s = (self._total_s(layer, runs) for runs in (first, end))
        return max(0.0, until_s - before_s) / (end - first)

    def _total_s(self, layer: str, runs: int) -> float:
        mean_s = self._means[runs - 1].get(layer) if runs else None
        return 0.0 if mean_s is None else runs * (mean_s + CUT_OFF_S)


@dataclass
class _Part:
    """The operators of the model that a layer stands for, and the weights that they read."""

    operations: list[Operation] = field(default_factory=list)
    parameters: int = 0


def _computing(kernel: str, node: Any) -> str:
    """Type that a layer computes in, which its kernel's name ends in; what else it says may be its weights' type."""
    end = kernel.rpartition("_")[2].lower()
    return end if end in PRECISIONS else _about(node)["runtimePrecision"]


def _name(node: Any) -> str:
    return str(node.get_friendly_name())


def _about(node: Any) -> dict[str, str]:
    return {key: str(value.astype(str)) for key, value in node.get_rt_info().items() if hasattr(value, "astype")}


def _parameters(model: Any) -> int | None:
    """Weights of the model, each counted once; null where control flow may hold more of them."""
    if any(node.get_type_name() in CONTROL for node in model.get_ops()):
        return None
    constants = (node for node in model.get_ops() if node.get_type_name() == "Constant")
    shapes: list[Shape] = [tuple(node.get_output_shape(0)) for node in constants if _type(node.output(0)) in WEIGHTS]
    return sum(map(math.prod, shapes))


def _type(port: Any) -> str:
    return str(port.get_element_type().get_type_name())


def _parts(model: Any, shapes: tuple[Shape, ...], executed: list[Any]) -> dict[str, _Part]:
    """What each layer stands for, with its shapes for that batch."""
    import openvino

    shaped = model.clone()
    shaped.reshape({place: openvino.PartialShape(list(shape)) for place, shape in enumerate(shapes)})
    layer_of = {part: _name(node) for node in executed for part in _about(node)["originalLayersNames"].split(",")}
    fixed = _fixed(shaped, lambda node: node.get_type_name() == "Constant")
    homes: dict[str, str] = {}
    found: dict[str, _Part] = {}
    for node in reversed(shaped.get_ordered_ops()):
        name = _name(node)
        if name in fixed or node.get_type_name() in NO_OPERATORS:
            continue
        home = layer_of.get(name)
        if home is None:
            if all(_type(output) in PLACES for output in node.outputs()):
                continue  # arithmetic of shapes, done elsewhere
            users = (port.get_node() for output in node.outputs() for port in output.get_target_inputs())
            home = next((homes[_name(user)] for user in users if _name(user) in homes), None)
        if home is not None:
            homes[name] = home
            part = found.setdefault(home, _Part())
            part.operations.insert(0, _operation(node.get_type_name(), node, node.get_attributes()))
            part.parameters += _weights(node, fixed)
    return found


def _fixed(model: Any, is_constant: Callable[[Any], bool]) -> set[str]:
    """The constants of a model, and what is made of constants alone: computed when the model was compiled."""
    fixed: set[str] = set()
    for node in model.get_ordered_ops():
        sources = [port.get_source_output().get_node() for port in node.inputs()]
        if is_constant(node) or (sources and all(_name(source) in fixed for source in sources)):
            fixed.add(_name(node))
    return fixed


def _operation(operator: str, node: Any, attributes: Mapping[str, Any]) -> Operation:
    plain = {key: value for key, value in attributes.items() if isinstance(value, (bool, int, float, str, list))}
    return Operation(operator, tuple(map(_shape, node.inputs())), tuple(map(_shape, node.outputs())), plain)


def _shape(port: Any) -> Shape | None:
    partial = port.get_partial_shape()
    return tuple(axis.get_length() for axis in partial) if partial.is_static else None


def _weights(node: Any, fixed: set[str]) -> int:
    """Weights among the inputs of an operator."""
    sources = [port.get_source_output() for port in node.inputs()]
    weights = [source for source in sources if _name(source.get_node()) in fixed and _type(source) in WEIGHTS]
    return sum(math.prod(_shape(weight) or ()) for weight in weights)


def _stored(output: Any) -> str:
    """Type in which an output lies in memory."""
    stored = _about(output.get_node()).get("outputPrecisions", "").split(",")
    index = output.get_index()
    return stored[index] if index < len(stored) else ""


def _bytes(node: Any, kind: str, computing: str, fixed: set[str]) -> int | None:
    """Bytes in and out; weights are taken to lie in memory in the type that is computed in."""
    if kind in VIEWS:
        return 0
    read: list[int | None] = []
    for port in node.inputs():
        source = port.get_source_output()
        stored = _stored(source)
        packed = _name(source.get_node()) in fixed and stored in FLOATS and computing in FLOATS
        read.append(_size(_shape(source), computing if packed else stored))
    written = [_size(_shape(port), _stored(port)) for port in node.outputs()]
    if kind in GATHERS and read:  # of the table only what is wanted is read
        read[0] = written[0]
    sizes = [*read, *written]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _size(shape: Shape | None, stored: str) -> int | None:
    if shape is None:
        return None
    count, bits = math.prod(shape), BITS.get(stored)
    if count == 0:  # an input that is left out
        return 0
    return None if bits is None else count * bits // 8
