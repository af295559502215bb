"""How many weights a model keeps in large matrices, which its linear layers multiply by and its embeddings look up.

Making only these smaller pays where reading them from memory is what takes the time, or where memory is short.
"""

from __future__ import annotations

from typing import Any

LARGE_MATRIX = 65_536
"""Weights from which a matrix counts (256 x 256): smaller ones stay in a core's own cache."""
IR_VALUE_PATHS = frozenset({"Convert", "Transpose", "Reshape"})
"""What may stand between a constant of OpenVINO and the layer that uses it."""
IR_FLOATS = frozenset({"f32", "f16", "bf16", "f64"})
PLACES = {"MatMul": 1, "Gemm": 1, "Gather": 0}
"""ONNX operator to which of its inputs is a matrix of weights."""


def onnx_matrix_weights(model: Any) -> int:
    """Weights in the large matrices of an ONNX model's main graph.

    Args:
        model: An `onnx.ModelProto`; weights in other files need not be loaded.

    Returns:
        Number of weights in floating-point matrices of at least `LARGE_MATRIX` of them, each counted once.
    """
    used = {
        node.input[PLACES[node.op_type]]
        for node in model.graph.node
        if node.op_type in PLACES and len(node.input) > PLACES[node.op_type]
    }
    matrices = [
        tensor.dims
        for tensor in model.graph.initializer
        if tensor.name in used and len(tensor.dims) == 2 and tensor.data_type in _float_types()
    ]
    return sum(rows * columns for rows, columns in matrices if rows * columns >= LARGE_MATRIX)


def ir_matrix_weights(model: Any) -> int:
    """The same of a model that OpenVINO has read.

    Args:
        model: An `openvino.Model`.
    """
    found: dict[str, int] = {}
    for node in model.get_ops():
        places = {"MatMul": (0, 1), "Gather": (0,)}.get(node.get_type_name(), ())
        for place in places:
            constant = _constant(node.input_value(place).get_node())
            shape = None if constant is None else list(constant.get_output_shape(0))
            if constant is not None and shape is not None and len(shape) == 2:
                found[constant.get_friendly_name()] = shape[0] * shape[1]
    return sum(count for count in found.values() if count >= LARGE_MATRIX)


def program_matrix_weights(program: Any) -> int:
    """The same of a PyTorch program.

    Args:
        program: A `torch.export.ExportedProgram`.
    """
    matrices = {id(weight): weight for weight in program.state_dict.values() if weight.dim() == 2}.values()
    return sum(weight.numel() for weight in matrices if weight.is_floating_point() and weight.numel() >= LARGE_MATRIX)


def _float_types() -> frozenset[int]:
    from onnx import TensorProto

    return frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})


def _constant(node: Any) -> Any:
    """The floating-point constant that a value comes from; null where it comes from elsewhere."""
    while node.get_type_name() in IR_VALUE_PATHS:
        node = node.input_value(0).get_node()
    is_float = node.get_type_name() == "Constant" and node.get_output_element_type(0).get_type_name() in IR_FLOATS
    return node if is_float else None
