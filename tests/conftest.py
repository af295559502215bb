"""What tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real models, data, traces and prices that lies beside the project; the test skips without it."""
    folder = Path(os.environ.get("EQUIPOISE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set EQUIPOISE_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_register(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Studies of tests are noted in a register of their own, never in the person's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EQUIPOISE_STORE", f"sqlite:///{tmp_path_factory.mktemp('register') / 'store.db'}")
        yield


def make_linear(folder: Path, weights: Array, fixed_batch: int | None = None) -> Path:
    """An ONNX model: `logits = image @ weights`, for uint8 images of 2 x 2."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir()
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [fixed_batch, 2, 2])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [fixed_batch, weights.shape[1]])
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    graph = helper.make_graph(nodes, "g", [image], [logits], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    return folder


@pytest.fixture
def linear() -> Any:
    return make_linear


@pytest.fixture
def images() -> Array:
    return np.random.default_rng(0).integers(0, 256, (11, 2, 2), dtype=np.uint8)
