"""Which inputs of an ONNX model are places in a table, and how many places it has: a token's number, say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Operators that give the numbers of their first input on, in another shape or type.
PASSING = frozenset(
    {
        "Cast",
        "Expand",
        "Flatten",
        "Identity",
        "Reshape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
        "DequantizeLinear",
    }
)


def index_bounds(artifact: Path) -> dict[str, int]:
    """The number of rows of the table that an input chooses from, for each input that does so.

    Meant to run in a child process, as everything that reads a stranger's file.

    Args:
        artifact: A folder; without a `model.onnx` in it nothing is known.

    Returns:
        Input name to the least number that is no place any more, > 0.
    """
    import onnx

    path = artifact / "model.onnx"
    if not path.is_file():
        return {}
    graph = onnx.load(path, load_external_data=False).graph
    tables = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    sources = {value.name: value.name for value in graph.input if value.name not in tables}
    found: dict[str, int] = {}
    for node in graph.node:
        first = node.input[0] if node.input else ""
        if node.op_type in PASSING:
            if first in sources:
                sources[node.output[0]] = sources[first]
            if first in tables:
                tables[node.output[0]] = tables[first]
        elif node.op_type == "Gather" and first in tables and node.input[1] in sources:
            rows = _rows(node, tables[first])
            name = sources[node.input[1]]
            if rows > 0:
                found[name] = min(rows, found.get(name, rows))
    return found


def _rows(node: Any, table: tuple[int, ...]) -> int:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    return table[axis] if -len(table) <= axis < len(table) else 0
