"""What a model computes before its last layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equipoise.compress.tools import ONNX_FILE, TORCH_FILE, load_onnx, load_torch
from equipoise.errors import TechniqueError
from equipoise.train.changeable import graph_of, last_layers

Array = NDArray[Any]
BATCH = 128
LAST = ("Gemm", "MatMul")


def features_of(source: Path, inputs: Mapping[str, Tensor]) -> Array:
    """What the model in `source` computes before its last linear layer, float32 [n, width].

    Args:
        source: Artifact folder of an ONNX or torch model.
        inputs: Input name to rows.

    Raises:
        TechniqueError: It is of another form, or has no such layer.
    """
    if (source / TORCH_FILE).is_file():
        return _of_torch(source, inputs)
    if (source / ONNX_FILE).is_file():
        return _of_onnx(source, inputs)
    raise TechniqueError("hints are known of ONNX and torch models only; leave the parameter hints out")


def _of_torch(source: Path, inputs: Mapping[str, Tensor]) -> Array:
    graph = graph_of(load_torch(source)[0])
    last = last_layers(graph)
    if len(last) != 1:
        raise TechniqueError(f"hints are given before the last layer, and this model has {len(last)} such layers")
    seen: list[Tensor] = []
    hook = last[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(1)))
    with torch.inference_mode():
        for start in range(0, len(next(iter(inputs.values()))), BATCH):
            graph(*(tensor[start : start + BATCH] for tensor in inputs.values()))
    hook.remove()
    features: Array = torch.cat(seen).float().numpy()
    return features


def _of_onnx(source: Path, inputs: Mapping[str, Tensor]) -> Array:
    import onnx
    import onnxruntime

    model = load_onnx(source)
    last = [node for node in model.graph.node if node.op_type in LAST]
    if not last:
        raise TechniqueError("hints are given before the last linear layer, and this model has none")
    name = last[-1].input[0]
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    count = len(next(iter(inputs.values())))
    parts = [
        session.run([name], {each: tensor[start : start + BATCH].numpy() for each, tensor in inputs.items()})[0]
        for start in range(0, count, BATCH)
    ]
    features: Array = np.concatenate(parts).reshape(count, -1).astype(np.float32)
    return features
