"""Whether single weights set to zero make a model any faster here: the reason why no technique offers it, or should.

Four int8 linear layers as a transformer has them, of whose weights a share is zero, the smallest first. They run in
OpenVINO as they are, and with its decompression of sparse weights, which the product asks a processor with AMX for; and
in ONNX Runtime, which has none. The forms take turns; a ratio above 1 says that zeros were worth so much.

    python benchmarks/sparse_weights.py           # a minute
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

WIDE, NARROW, LAYERS = 3072, 768, 4
BATCHES = (1, 32)
SHARES = (0.0, 0.5, 0.8, 0.95)
RATE = "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"
LEAST_SHARE = 0.4
"""A layer with a smaller share of zeros is not decompressed."""
ROUNDS, ROUND_S = 9, 0.15


def linear_layers(share: float) -> onnx.ModelProto:
    """A model whose weights are zero to this share, the smallest first."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for layer in range(LAYERS):
        shape = (NARROW, WIDE) if layer % 2 == 0 else (WIDE, NARROW)
        values = (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        values[np.abs(values) < np.quantile(np.abs(values), share)] = 0
        weights.append(numpy_helper.from_array(values, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"y{layer}"]))
        nodes.append(helper.make_node("Relu", [f"y{layer}"], [f"x{layer + 1}"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", NARROW]) for name in ("x0", f"x{LAYERS}")]
    graph = helper.make_graph(nodes, "linear", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def forms(share: float, rows: NDArray[np.float32]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Name of each way to compute the rows, and what does."""
    import nncf
    import onnxruntime
    import openvino

    model = linear_layers(share)
    quantised = nncf.quantize(model, nncf.Dataset([{"x0": rows}]), model_type=nncf.ModelType.TRANSFORMER)
    core = openvino.Core()
    read = core.read_model(quantised.SerializeToString())
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    for name, more in (("OpenVINO", {}), ("OpenVINO, sparse weights", {RATE: LEAST_SHARE})):
        request = core.compile_model(read, "CPU", {**settings, **more}).create_infer_request()
        yield name, partial(request.infer, {"x0": rows}, share_inputs=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(quantised.SerializeToString(), options)
    yield "ONNX Runtime", partial(session.run, None, {"x0": rows})


def seconds_each(computes: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each, in turns."""
    found: dict[str, list[float]] = {name: [] for name in computes}
    for _ in range(ROUNDS):
        for name, compute in computes.items():
            compute()
            count, began_s = 0, time.perf_counter()
            while time.perf_counter() - began_s < ROUND_S:
                compute()
                count += 1
            found[name].append((time.perf_counter() - began_s) / count)
    return {name: median(each) for name, each in found.items()}


def main() -> None:
    """Print how many times as fast each share of zeros is as none."""
    from equipoise.host.environment import environment

    machine = environment()
    print(f"{machine.cpu_model}, AMX: {'yes' if 'amx_int8' in machine.cpu_flags else 'no'}\n")
    print("| batch | zeros | OpenVINO | OpenVINO, sparse weights | ONNX Runtime |")
    print("|---|---|---|---|---|")
    for batch in BATCHES:
        rows = np.random.default_rng(1).standard_normal((batch, NARROW)).astype(np.float32)
        computes = {(name, share): compute for share in SHARES for name, compute in forms(share, rows)}
        found = seconds_each({f"{name} {share}": compute for (name, share), compute in computes.items()})
        for share in SHARES:
            names = dict.fromkeys(name for name, _ in computes)
            ratios = [found[f"{name} {0.0}"] / found[f"{name} {share}"] for name in names]
            print(f"| {batch} | {share:.0%} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")


if __name__ == "__main__":
    main()
