"""What a machine can do at most: large matrix products in each precision, and a plain copy of memory.

A peak is the fastest of several products of large square matrices, timed as the runtime itself times its layers,
so that it is told in the same measure as they are. The bandwidth is the fastest of several copies of an array that is
far larger than the caches; a byte that is read and written counts as two.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equipoise.core.estimate import Estimate
from equipoise.core.profile import Precision
from equipoise.measure.anatomy import flops_of
from equipoise.runtimes.layers import TimedLayer

SIZE = 1536
COPY_BYTES = 1 << 28
COPIES = 16
SCALE, ZERO_POINT = 1 / 32, 128


def write_product(folder: Path, size: int, precision: Precision) -> None:
    """Write `model.onnx` with one product of `x` float32 [n, size] and weights [size, size].

    Args:
        folder: An existing folder.
        size: Rows and columns of the weights.
        precision: `int8` for quantised inputs and weights; others are set where the model is opened.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).integers(-127, 128, (size, size), dtype=np.int8)
    tensors = [numpy_helper.from_array(np.float32(SCALE), "scale")]
    nodes = []
    if precision == "int8":
        tensors += [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.uint8(ZERO_POINT), "zero"),
            numpy_helper.from_array(np.int8(0), "zero weight"),
        ]
        nodes += [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["small x"]),
            helper.make_node("DequantizeLinear", ["small x", "scale", "zero"], ["real x"]),
            helper.make_node("DequantizeLinear", ["weights", "scale", "zero weight"], ["real weights"]),
            helper.make_node("MatMul", ["real x", "real weights"], ["y"], name="product"),
        ]
    else:
        tensors = [numpy_helper.from_array(weights.astype(np.float32) * np.float32(SCALE), "weights")]
        nodes = [helper.make_node("MatMul", ["x", "weights"], ["y"], name="product")]
    places = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "product", places[:1], places[1:], tensors)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )


def product_rows(size: int) -> dict[str, NDArray[np.float32]]:
    """What that model is fed: `size` rows."""
    return {"x": np.random.default_rng(1).standard_normal((size, size), dtype=np.float32)}


def peak_flops(layers: tuple[TimedLayer, ...], size: int) -> Estimate | None:
    """Operations a second of the product among the layers of that model.

    Args:
        layers: As the runtime timed them.
        size: As the model was written.

    Returns:
        The fastest turn, the median as the lower end; null where the runtime made something else of the product.
    """
    product_flops = 2 * size**3
    found = [layer for layer in layers if (count := flops_of(layer)) is not None and count >= product_flops]
    if len(found) != 1 or not len(found[0].seconds) or not found[0].seconds.min() > 0:
        return None
    seconds = found[0].seconds
    return Estimate(
        value=product_flops / float(seconds.min()),
        low=product_flops / float(np.median(seconds)),
        high=None,
        n=len(seconds),
        method=f"fastest of {len(seconds)} products [{size}, {size}] x [{size}, {size}]; low: their median",
    )


def copy_bandwidth(threads: int, copied_bytes: int = COPY_BYTES, copies: int = COPIES) -> Estimate:
    """Bytes a second that a plain copy reads and writes.

    Args:
        threads: Threads that may copy, each a part of its own; fewer of them may be faster.
        copied_bytes: Size of the array, far above that of the caches.
        copies: How often for each number of threads.
    """
    source = np.ones(copied_bytes // 4, np.float32)
    target = np.zeros_like(source)
    counts = sorted({1, -(-threads // 2), threads})
    seconds = {count: _copied_s(source, target, count, copies) for count in counts}
    best = min(counts, key=lambda count: min(seconds[count]))
    return Estimate(
        value=2 * source.nbytes / min(seconds[best]),
        low=2 * source.nbytes / float(np.median(seconds[best])),
        high=None,
        n=copies,
        method=f"fastest of {copies} copies of {source.nbytes / 1e6:,.0f} MB by {best} of {threads} threads, read and "
        "written; low: their median",
    )


def _copied_s(source: NDArray[np.float32], target: NDArray[np.float32], threads: int, copies: int) -> list[float]:
    """Seconds of each copy; one goes before, which is left out."""
    sources, targets = np.array_split(source, threads), np.array_split(target, threads)
    seconds = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(copies + 1):
            begin = time.perf_counter()
            list(pool.map(np.copyto, targets, sources))
            seconds.append(time.perf_counter() - begin)
    return seconds[1:]
