"""What techniques share that make the weights of linear and embedding layers smaller, and nothing else.

In ONNX a linear layer becomes `MatMulNBits`, ONNX Runtime's operator whose weights lie in blocks of 4 or 8 bits with a
scale each, and are read as such; an embedding becomes a look-up of rows of 8 bits with a scale a row. A plain product
behind `DequantizeLinear` would be folded back to floats when the model is opened. ONNX Runtime's own quantiser writes
the same, but needs a package (onnx-ir) that the core does not install, so that the numbers are made here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compress.base import ModelFacts
from equipoise.compress.int8 import has_low_precision
from equipoise.compress.tools import quiet_nncf, read_ir, save_ir, tool
from equipoise.core.recipe import Recipe
from equipoise.errors import TechniqueError
from equipoise.preprocess.rows import Array
from equipoise.runtimes.matrices import LARGE_MATRIX

LEAST_WEIGHTS = 1_000_000
"""Weights in large matrices from which a model is offered these forms: 4 MB in float32, more than a core's cache."""
MICROSOFT = "com.microsoft"
NOTHING = f"nothing to make smaller: no linear or embedding layer with {LARGE_MATRIX:,} constant weights or more"


def has_large_matrices(model: ModelFacts, recipe: Recipe) -> bool:
    """Whether a model keeps enough of its weights in large matrices, in floating point, for smaller ones to matter."""
    return model.matrix_weights >= LEAST_WEIGHTS and not has_low_precision(model, recipe)


def compress_ir(source: Any, folder: Any, mode: str, group: int | None) -> None:
    """Compress the weights of an artifact with NNCF, without data, and write OpenVINO IR.

    Args:
        source: Artifact folder that OpenVINO can read.
        folder: Where to write.
        mode: `INT8_ASYM`, `INT8_SYM`, `INT4_ASYM` or `INT4_SYM`; embeddings and the last layer keep 8 bits.
        group: Weights that share a scale, where they have 4 bits; made smaller where a layer's width is no multiple.

    Raises:
        TechniqueError: There is nothing to compress, or NNCF could not finish.
    """
    nncf = quiet_nncf()
    model = read_ir(source)
    options: dict[str, Any] = {}
    if group is not None:
        adjust = nncf.AdvancedCompressionParameters(group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST)
        options = {"group_size": group, "advanced_parameters": adjust}
    with tool("NNCF"):
        compressed = nncf.compress_weights(model, mode=getattr(nncf.CompressWeightsMode, mode), **options)
    kinds = {"u8", "i8", "u4", "i4"}
    if not any(
        node.get_type_name() == "Constant" and node.get_output_element_type(0).get_type_name() in kinds
        for node in compressed.get_ops()
    ):
        raise TechniqueError(NOTHING)
    save_ir(compressed, folder, half=False)


def compress_onnx(model: Any, bits: int, block: int) -> None:
    """Give an ONNX model's large linear layers weights of `bits` bits, its large embeddings rows of 8 bits, in place.

    Products compute with activations in 8 bits, a scale each block, where the CPU has instructions for it
    (`accuracy_level` 4 of the operator).

    Args:
        model: An `onnx.ModelProto` with its weights loaded.
        bits: 4 or 8.
        block: Weights that share a scale, down a column: a power of 2, at least 16.

    Raises:
        TechniqueError: There is nothing to make smaller.
    """
    from onnx import helper, numpy_helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[Any] = []
    changed = 0
    made: dict[str, Any] = {}
    for position, node in enumerate(model.graph.node):
        matrix = _large_matrix(node, weights)
        if matrix is None:
            nodes.append(node)
            continue
        changed += 1
        if node.op_type == "Gather":
            nodes += _embedding(node, matrix, made, position)
        else:
            nodes += _product(node, matrix, bits, block, made)
    if not changed:
        raise TechniqueError(NOTHING)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in made.items())
    if all(opset.domain != MICROSOFT for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    _drop_unused(model)


def in_blocks(weights: Array, bits: int, block: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Quantise a matrix as `MatMulNBits` reads it: symmetric, rounded to nearest, blocks down each column.

    Args:
        weights: [K, N], the second operand of a product.
        bits: 4 or 8.
        block: Weights that share a scale.

    Returns:
        Packed numbers [N, K/block, block * bits / 8], the first of two in the low half of a byte, with the zero point
        2^(bits - 1); and scales [N * K/block]. K is padded to whole blocks.

    Example:
        >>> packed, scales = in_blocks(np.array([[-8.0], [7.0]] * 8, np.float32), bits=4, block=16)
        >>> packed[0, 0, :2].tolist(), scales.tolist()
        ([240, 240], [1.0])
    """
    rows, columns = weights.shape
    blocks = math.ceil(rows / block)
    padded = np.zeros((columns, blocks * block), dtype=np.float32)
    padded[:, :rows] = weights.T
    cut = padded.reshape(columns, blocks, block)
    zero = 1 << (bits - 1)
    # The number of largest size gets the code at the far end, -zero, whichever its sign is.
    extreme = np.take_along_axis(cut, np.abs(cut).argmax(axis=2, keepdims=True), axis=2)
    scales = extreme / np.float32(-zero)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    codes = np.clip(np.rint(cut * inverse) + zero, 0, 2 * zero - 1).astype(np.uint8)
    if bits == 4:
        codes = codes[:, :, 0::2] | (codes[:, :, 1::2] << 4)
    return codes, scales.reshape(-1).astype(np.float32)


def by_rows(table: Array) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise an embedding to 8 bits with a scale for each of its rows: numbers [V, H] and scales [V, 1]."""
    scales = (np.abs(table).max(axis=1, keepdims=True) / 127).astype(np.float32)
    codes = np.divide(table, scales, out=np.zeros(table.shape, np.float32), where=scales != 0)
    return np.rint(codes).astype(np.int8), scales


def _large_matrix(node: Any, weights: dict[str, Any]) -> Array | None:
    """The large constant matrix that a layer multiplies by or looks up rows of; null for any other node."""
    from onnx import TensorProto, numpy_helper

    place = {"MatMul": 1, "Gemm": 1, "Gather": 0}.get(node.op_type)
    if place is None or node.domain not in ("", "ai.onnx") or len(node.input) <= place:
        return None
    tensor = weights.get(node.input[place])
    if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2:
        return None
    given = {attribute.name: attribute for attribute in node.attribute}
    plain = all(name not in given or given[name].f == 1 for name in ("alpha", "beta"))
    if math.prod(tensor.dims) < LARGE_MATRIX or not plain or ("transA" in given and given["transA"].i):
        return None
    if node.op_type == "Gather" and "axis" in given and given["axis"].i != 0:
        return None
    matrix: Array = numpy_helper.to_array(tensor)
    return matrix.T if "transB" in given and given["transB"].i else matrix


def _product(node: Any, matrix: Array, bits: int, block: int, made: dict[str, Any]) -> list[Any]:
    from onnx import helper

    name = f"{node.input[1]}_in_{bits}_bits_{'t' if node.op_type == 'Gemm' else 'n'}"
    if f"{name}_codes" not in made:
        made[f"{name}_codes"], made[f"{name}_scales"] = in_blocks(matrix, bits, block)
    biased = node.op_type == "Gemm" and len(node.input) > 2 and node.input[2]
    output = f"{node.output[0]}_product" if biased else node.output[0]
    product = helper.make_node(
        "MatMulNBits",
        [node.input[0], f"{name}_codes", f"{name}_scales"],
        [output],
        name=f"{node.name or node.output[0]}_nbits",
        domain=MICROSOFT,
        K=matrix.shape[0],
        N=matrix.shape[1],
        bits=bits,
        block_size=block,
        accuracy_level=4,
    )
    return [product, helper.make_node("Add", [output, node.input[2]], [node.output[0]])] if biased else [product]


def _embedding(node: Any, table: Array, made: dict[str, Any], position: int) -> list[Any]:
    from onnx import TensorProto, helper

    source, rows, output = node.input[0], node.input[1], node.output[0]
    codes, scales = f"{source}_rows", f"{source}_row_scales"
    if codes not in made:
        made[codes], made[scales] = by_rows(table)
    name = f"{node.name or output}_{position}"
    return [
        helper.make_node("Gather", [codes, rows], [f"{name}_codes"], name=f"{name}_look_up", axis=0),
        helper.make_node("Cast", [f"{name}_codes"], [f"{name}_numbers"], name=f"{name}_cast", to=TensorProto.FLOAT),
        helper.make_node("Gather", [scales, rows], [f"{name}_scale"], name=f"{name}_scales", axis=0),
        helper.make_node("Mul", [f"{name}_numbers", f"{name}_scale"], [output], name=f"{name}_scaled"),
    ]


def _drop_unused(model: Any) -> None:
    """Remove weights that nothing reads any more; what is read inside control flow, or given out, stays."""
    from equipoise.onnx_tensors import nodes

    read = {name for node in nodes(model) for name in node.input} | {output.name for output in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
