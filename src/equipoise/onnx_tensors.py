"""Every node and every tensor of an ONNX model, wherever in it they are.

Weights stand in more places than the main graph's initialisers: in sparse initialisers, in attributes of nodes, in the
graphs inside control flow, in the model's own functions and their attributes' defaults. Whoever checks where weights
come from must see them all. A model's training information is left out: nothing here runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

MOST_DIGITS = 20


class ExternalPlace(NamedTuple):
    """Where an external tensor says that its numbers lie.

    Attributes:
        location: A path from the model's folder; nothing is checked of it.
        offset_bytes: Where in that file they begin.
        length_bytes: How many bytes they take; null where it is left to the tensor's shape.
    """

    location: str
    offset_bytes: int
    length_bytes: int | None


def nodes(model: Any) -> Iterator[Any]:
    """Every node of a model.

    Args:
        model: An `onnx.ModelProto`.

    Yields:
        `onnx.NodeProto`.
    """
    return (node for graph in _graphs(model) for node in graph.node)


def tensors(model: Any) -> Iterator[Any]:
    """Every tensor of a model; of a sparse one its values and its indices.

    Args:
        model: An `onnx.ModelProto`.

    Yields:
        `onnx.TensorProto`.
    """
    for graph in _graphs(model):
        yield from getattr(graph, "initializer", ())  # a function has none
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for attribute in _attributes(graph):
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            single = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            for sparse in (*single, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def external_tensors(model: Any) -> Iterator[Any]:
    """Every tensor of a model whose numbers lie in a file of their own."""
    return (tensor for tensor in tensors(model) if is_external(tensor))


def is_external(tensor: Any) -> bool:
    """Whether a tensor's numbers lie in a file of their own."""
    return bool(tensor.data_location == tensor.EXTERNAL)


def external_place(tensor: Any) -> ExternalPlace:
    """Where an external tensor says that its numbers lie.

    Raises:
        ValueError: Offset or length is not a number of bytes.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    numbers: dict[str, int] = {}
    for key in ("offset", "length"):
        text = entries.get(key, "0")
        if not (text.isascii() and text.isdigit() and len(text) < MOST_DIGITS):
            raise ValueError(f"the {key} {text[:MOST_DIGITS]!r}, which is no number of bytes")
        numbers[key] = int(text)
    length_bytes = numbers["length"] if "length" in entries else None
    return ExternalPlace(entries.get("location", ""), numbers["offset"], length_bytes)


def _graphs(model: Any) -> Iterator[Any]:
    """The main graph, the model's own functions, and every graph inside the attributes of their nodes."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for attribute in _attributes(graph):
            waiting += [attribute.g] if attribute.HasField("g") else []
            waiting += attribute.graphs


def _attributes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield from node.attribute
    yield from getattr(graph, "attribute_proto", ())  # defaults of a function's own attributes
