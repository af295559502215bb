"""ONNX Runtime and OpenVINO on the same small model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.errors import ModelError
from equipoise.host.environment import environment
from equipoise.registry import runtimes

ONNX_RUNTIMES = ["onnxruntime", "openvino"]


def reference(folder: Path, x: Any) -> dict[str, Any]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    logits, h = ReferenceEvaluator(onnx.load(folder / "model.onnx")).run(None, {"x": x})
    return {"logits": logits, "h": h}


@pytest.mark.parametrize("name", ONNX_RUNTIMES)
def test_answers_like_the_reference_under_the_model_s_own_names(name: str, mlp: Path, setting: Any) -> None:
    x = np.random.default_rng(3).standard_normal((5, 6)).astype(np.float32)
    session = runtimes()[name].open(mlp, setting(name))
    found = session.run(session.prepare({"x": x, "unused": x}))
    assert [tensor.name for tensor in session.spec.outputs] == ["logits", "h"]
    assert session.spec.inputs[0].shape == (None, 6)
    for output, expected in reference(mlp, x).items():
        np.testing.assert_allclose(found[output], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ONNX_RUNTIMES)
@pytest.mark.parametrize(("threads", "replicas", "default"), [(1, 4, False), (2, 2, False), (1, 1, True)])
def test_callers_at_the_same_time_get_their_own_answers(
    name: str, threads: int, replicas: int, default: bool, mlp: Path, setting: Any
) -> None:
    session = runtimes()[name].open(mlp, setting(name, threads=threads, replicas=replicas, default=default))
    batches = [np.full((1 + i % 3, 6), i, np.float32) for i in range(48)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: session.run(session.prepare({"x": x})), batches))
    for x, outputs in zip(batches, found, strict=True):
        np.testing.assert_allclose(outputs["h"], reference(mlp, x)["h"], rtol=1e-4, atol=1e-5)


def test_what_it_raises_is_not_written_to_stderr_too(tmp_path: Path, setting: Any, capfd: Any) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        "look-up",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(np.arange(5, dtype=np.float32), "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    for default in (False, True):
        session = runtimes()["onnxruntime"].open(tmp_path, setting("onnxruntime", default=default))
        with pytest.raises(Exception, match="99"):
            session.run(session.prepare({"x": np.array([[99]])}))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ONNX_RUNTIMES)
def test_an_answer_outlives_the_next_one(name: str, mlp: Path, setting: Any) -> None:
    session = runtimes()[name].open(mlp, setting(name))
    first = session.run(session.prepare({"x": np.ones((2, 6), np.float32)}))["h"]
    kept = first.copy()
    session.run(session.prepare({"x": np.zeros((2, 6), np.float32)}))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("name", ONNX_RUNTIMES)
def test_inputs_of_another_type_or_read_only_are_taken(name: str, mlp: Path, setting: Any) -> None:
    session = runtimes()[name].open(mlp, setting(name))
    x = np.broadcast_to(np.arange(6.0), (3, 6))
    found = session.run(session.prepare({"x": x}))["h"]
    np.testing.assert_allclose(found, reference(mlp, x.astype(np.float32))["h"], rtol=1e-4)


@pytest.mark.parametrize("name", ONNX_RUNTIMES)
def test_a_damaged_file_is_one_clear_error(name: str, mlp: Path, setting: Any) -> None:
    path = mlp / "model.onnx"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"model\.onnx"):
        runtimes()[name].open(mlp, setting(name))


@pytest.mark.parametrize("name", ONNX_RUNTIMES)
def test_an_empty_file_is_one_clear_error(name: str, mlp: Path, setting: Any) -> None:
    (mlp / "model.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="non-empty"):
        runtimes()[name].open(mlp, setting(name))


@pytest.mark.parametrize("name", ONNX_RUNTIMES)
@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "..\\secret.bin", "missing.bin", "link.bin"])
def test_weights_outside_the_folder_are_refused(name: str, location: str, mlp: Path, setting: Any) -> None:
    import onnx

    model = onnx.load(mlp / "model.onnx")
    (mlp.parent / "secret.bin").write_bytes(bytes(10_000))
    (mlp / "link.bin").symlink_to(mlp.parent / "secret.bin")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (mlp / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="weight"):
        runtimes()[name].open(mlp, setting(name))


@pytest.mark.parametrize("name", ONNX_RUNTIMES)
def test_weights_beside_the_model_are_read_and_must_be_whole(name: str, mlp: Path, setting: Any) -> None:
    import onnx

    x = np.ones((1, 6), np.float32)
    expected = reference(mlp, x)["logits"]
    model = onnx.load(mlp / "model.onnx")
    onnx.save(
        model, mlp / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0,
        convert_attribute=False,
    )  # fmt: skip
    session = runtimes()[name].open(mlp, setting(name))
    np.testing.assert_allclose(session.run(session.prepare({"x": x}))["logits"], expected, rtol=1e-4)
    del session
    (mlp / "weights.bin").write_bytes((mlp / "weights.bin").read_bytes()[:100])
    with pytest.raises(ModelError, match="bytes"):
        runtimes()[name].open(mlp, setting(name))


def test_openvino_computes_in_the_precision_it_was_told(mlp: Path, setting: Any) -> None:
    runtime = runtimes()["openvino"]
    offered = runtime.precisions("onnx", False, environment())
    assert offered[0] == "f32"
    assert runtime.precisions("onnx", True, environment())[0] == "int8"
    assert ("int8_bf16" in runtime.precisions("onnx", True, environment())) == ("bf16" in offered)
    x = np.random.default_rng(4).standard_normal((64, 6)).astype(np.float32)
    exact = reference(mlp, x)["logits"]
    errors = {}
    for precision in offered:
        session = runtime.open(mlp, setting("openvino", precision=precision))
        errors[precision] = np.abs(session.run(session.prepare({"x": x}))["logits"] - exact).max()
    assert errors.pop("f32") < 1e-4
    assert all(error > 1e-4 for error in errors.values())


def test_openvino_offers_half_precision_only_where_the_cpu_has_it() -> None:
    plain = environment().model_copy(update={"cpu_flags": ("avx2", "avx512f")})
    amx = environment().model_copy(update={"cpu_flags": ("amx_bf16", "avx512_fp16")})
    runtime = runtimes()["openvino"]
    assert runtime.precisions("openvino", False, plain) == ("f32",)
    assert runtime.precisions("openvino", False, amx) == ("f32", "bf16", "f16")
