from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from equipoise.errors import ModelError
from equipoise.ingest.model import ImportedModel, check_alternative, import_model

Make = Callable[..., onnx.ModelProto]
WEIGHT_BYTES = 4 * 3 * 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for the artifact."""
    (tmp_path / "artifact").mkdir()
    return tmp_path / "artifact"


def _import(path: Path, folder: Path) -> ImportedModel:
    return import_model(path, False, folder, None)


def _refused(path: Path, folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        _import(path, folder)
    assert str(path) in caught.value.where
    assert caught.value.needed
    return str(caught.value)


def _outside(model: onnx.ModelProto, **places: Any) -> onnx.ModelProto:
    """The model with its weights said to lie in a file, `location`, `offset`, `length`."""
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in places.items():
        weights.external_data.add(key=key, value=str(value))
    return model


def _values(name: str, kind: int, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def test_what_is_read(tmp_path: Path, folder: Path, onnx_model: Make) -> None:
    onnx.save(onnx_model(), tmp_path / "m.onnx")
    found = _import(tmp_path / "m.onnx", folder)
    (x,), (logits,) = found.spec.inputs, found.spec.outputs
    assert (x.name, x.dtype, x.shape) == ("x", "float32", (None, 4))
    assert (logits.name, logits.dtype, logits.shape) == ("logits", "float32", (None, 3))
    assert found.operators == {"MatMul": 1}
    assert not found.quantized
    assert found.class_labels is None
    assert (folder / "model.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()
    assert pickle.loads(pickle.dumps(found)) == found


def test_several_inputs_outputs_and_a_fixed_batch(tmp_path: Path, folder: Path, onnx_model: Make) -> None:
    nodes = [
        helper.make_node("Constant", [], ["scale"], value=numpy_helper.from_array(np.float32(0.1))),
        helper.make_node("MatMul", ["x", "w"], ["logits"]),
        helper.make_node("StringNormalizer", ["t"], ["text"]),
        helper.make_node("QuantizeLinear", ["x", "scale"], ["small"]),
    ]
    inputs = [_values("x", TensorProto.FLOAT, [8, 4]), _values("t", TensorProto.STRING, [8])]
    outputs = [_values("logits", TensorProto.FLOAT, ["n", "c"]), _values("text", TensorProto.STRING, ["n"])]
    model = onnx_model(nodes=nodes, inputs=inputs, outputs=[*outputs, _values("small", TensorProto.UINT8, [8, 4])])
    onnx.save(model, tmp_path / "m.onnx")
    found = _import(tmp_path / "m.onnx", folder)
    assert [(tensor.name, tensor.dtype) for tensor in found.spec.inputs] == [("x", "float32"), ("t", "string")]
    assert [tensor.name for tensor in found.spec.outputs] == ["logits", "text", "small"]
    assert found.spec.fixed_batch == 8
    assert found.spec.outputs[0].shape[1] == 3  # inferred, where the file does not say it
    assert found.quantized


def test_inputs_of_different_fixed_batches(tmp_path: Path, folder: Path, onnx_model: Make) -> None:
    inputs = [_values("x", TensorProto.FLOAT, [8, 4]), _values("z", TensorProto.FLOAT, [4, 4])]
    onnx.save(onnx_model(inputs=inputs), tmp_path / "m.onnx")
    assert "fixed batch sizes 4, 8" in _refused(tmp_path / "m.onnx", folder)


def test_classes_of_a_tree_ensemble(tmp_path: Path, folder: Path) -> None:
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    x = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    y = np.where(x[:, 0] > 0, "yes", "no")
    forest = RandomForestClassifier(3, random_state=0).fit(x, y)
    onnx.save(to_onnx(forest, x, options={"zipmap": False}), tmp_path / "m.onnx")
    found = _import(tmp_path / "m.onnx", folder)
    assert found.class_labels == ("no", "yes")
    assert found.task == "classes"
    onnx.save(to_onnx(forest, x), tmp_path / "z.onnx")
    assert "zipmap=False" in _refused(tmp_path / "z.onnx", folder)


def test_weight_files_are_copied_under_plain_names(tmp_path: Path, folder: Path, onnx_model: Make) -> None:
    source = tmp_path / "source"
    (source / "weights").mkdir(parents=True)
    (source / "weights" / "w.bin").write_bytes(np.ones((4, 3), np.float32).tobytes())
    onnx.save(_outside(onnx_model(), location="weights/w.bin", offset=0, length=WEIGHT_BYTES), source / "m.onnx")
    _import(source / "m.onnx", folder)
    assert {file.name for file in folder.iterdir()} == {"model.onnx", "weights_w.bin"}
    weights = onnx.load(folder / "model.onnx").graph.initializer[0]
    assert numpy_helper.to_array(weights).tolist() == np.ones((4, 3)).tolist()


@pytest.mark.parametrize(
    ("location", "says"),
    [("../secret.bin", "secret.bin"), ("/etc/passwd", "/etc/passwd"), ("link.bin", "out of the folder")],
)
def test_weights_outside_the_folder(tmp_path: Path, folder: Path, onnx_model: Make, location: str, says: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(WEIGHT_BYTES))
    os.symlink(tmp_path / "secret.bin", source / "link.bin")
    onnx.save(_outside(onnx_model(), location=location, offset=0, length=WEIGHT_BYTES), source / "m.onnx")
    assert says in _refused(source / "m.onnx", folder)
    assert list(folder.iterdir()) == []


def test_two_places_for_one_weight(tmp_path: Path, folder: Path, onnx_model: Make) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(WEIGHT_BYTES))
    model = _outside(onnx_model(), location="../secret.bin", offset=0, length=WEIGHT_BYTES)
    model.graph.initializer[0].external_data.add(key="location", value="w.bin")
    onnx.save(model, tmp_path / "m.onnx")
    assert "'../secret.bin'" in _refused(tmp_path / "m.onnx", folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("places", "says"),
    [
        ({"length": 2**40}, "1,099,511,627,776 bytes of 48"),
        ({"length": WEIGHT_BYTES, "offset": 40}, "ends at 88"),
        ({"offset": -1}, "the offset '-1'"),
        ({}, "0 bytes of 48"),
    ],
)
def test_weights_that_are_not_there(
    tmp_path: Path, folder: Path, onnx_model: Make, places: dict[str, int], says: str
) -> None:
    (tmp_path / "w.bin").write_bytes(b"" if not places else bytes(WEIGHT_BYTES))
    onnx.save(_outside(onnx_model(), location="w.bin", **places), tmp_path / "m.onnx")
    assert says in _refused(tmp_path / "m.onnx", folder)


def test_a_weight_of_terabytes_in_a_few_bytes(tmp_path: Path, folder: Path, onnx_model: Make) -> None:
    model = onnx_model()
    model.graph.initializer[0].dims[:] = [2**20, 2**20]
    onnx.save(model, tmp_path / "m.onnx")
    assert "has 48 bytes of 4,398,046,511,104" in _refused(tmp_path / "m.onnx", folder)
    model.graph.initializer[0].dims[:] = [-4, 3]
    onnx.save(model, tmp_path / "m.onnx")
    assert "negative size" in _refused(tmp_path / "m.onnx", folder)


def test_a_hidden_weight_of_terabytes(tmp_path: Path, folder: Path, onnx_model: Make) -> None:
    constant = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[2**40], float_data=[1.0])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=constant),
        helper.make_node("MatMul", ["x", "w"], ["logits"]),
    ]
    onnx.save(onnx_model(nodes=nodes), tmp_path / "m.onnx")
    assert "'c' of shape [1099511627776] holds 1 numbers" in _refused(tmp_path / "m.onnx", folder)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_truncated(tmp_path: Path, folder: Path, onnx_model: Make, share: float) -> None:
    content = onnx_model().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content[: int(share * len(content))])
    assert "m.onnx" in _refused(tmp_path / "m.onnx", folder)


def test_damaged_anywhere(tmp_path: Path, onnx_model: Make) -> None:
    random = np.random.default_rng(0)
    content = onnx_model().SerializeToString()
    for turn in range(300):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), 3):
            damaged[place] = random.integers(0, 256)
        (tmp_path / "m.onnx").write_bytes(damaged)
        (tmp_path / str(turn)).mkdir()
        with suppress(ModelError):  # any other error fails the test; a few changes do no harm
            _import(tmp_path / "m.onnx", tmp_path / str(turn))


def test_versions(tmp_path: Path, folder: Path, onnx_model: Make) -> None:
    for opset, says in ((999, "operator set 999 of ai.onnx"), (3, "operator set 3 of ai.onnx")):
        onnx.save(onnx_model(opset=opset), tmp_path / "m.onnx")
        assert says in _refused(tmp_path / "m.onnx", folder)
    onnx.save(onnx_model(ir_version=99), tmp_path / "m.onnx")
    assert "format version 99" in _refused(tmp_path / "m.onnx", folder)


def test_custom_operators(tmp_path: Path, folder: Path, onnx_model: Make) -> None:
    nodes = [helper.make_node("Evil", ["x"], ["logits"], domain="my.ops")]
    onnx.save(onnx_model(nodes=nodes, opsets=[helper.make_opsetid("my.ops", 1)]), tmp_path / "m.onnx")
    assert "my.ops::Evil" in _refused(tmp_path / "m.onnx", folder)


def test_an_unknown_operator_of_onnx_itself(tmp_path: Path, folder: Path, onnx_model: Make) -> None:
    onnx.save(onnx_model(nodes=[helper.make_node("Evil", ["x"], ["logits"])]), tmp_path / "m.onnx")
    assert "not a valid ONNX model" in _refused(tmp_path / "m.onnx", folder)


def test_shapes_that_contradict_each_other_are_a_warning(tmp_path: Path, folder: Path, onnx_model: Make) -> None:
    onnx.save(onnx_model(outputs=[_values("logits", TensorProto.FLOAT, ["batch", 7])]), tmp_path / "m.onnx")
    assert any("contradict" in warning for warning in _import(tmp_path / "m.onnx", folder).warnings)


@pytest.mark.parametrize(
    ("kind", "shape", "says"),
    [
        (TensorProto.COMPLEX64, ["n", 4], "holds COMPLEX64"),
        (TensorProto.FLOAT, [], "is a single number"),
        (TensorProto.FLOAT, None, "'shape'"),
    ],
)
def test_inputs_that_are_no_rows(
    tmp_path: Path, folder: Path, onnx_model: Make, kind: int, shape: list[Any] | None, says: str
) -> None:
    model = onnx_model()
    model.graph.input.append(helper.make_tensor_value_info("extra", kind, shape))
    onnx.save(model, tmp_path / "m.onnx")
    assert says in _refused(tmp_path / "m.onnx", folder)


def test_alternatives_take_the_same_inputs(tmp_path: Path, onnx_model: Make) -> None:
    found = []
    for name, dtype in (("a", TensorProto.FLOAT), ("b", TensorProto.FLOAT), ("c", TensorProto.UINT8)):
        nodes = [
            helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["f", "w"], ["logits"]),
        ]
        onnx.save(onnx_model(nodes=nodes, inputs=[_values("x", dtype, ["n", 4])]), tmp_path / f"{name}.onnx")
        (tmp_path / name).mkdir()
        found.append(_import(tmp_path / f"{name}.onnx", tmp_path / name))
    check_alternative(tmp_path / "b.onnx", found[0], found[1])
    with pytest.raises(ModelError, match=r"input 'x' is uint8 \[4\] a row.*float32 \[4\] a row"):
        check_alternative(tmp_path / "c.onnx", found[0], found[2])


def test_real_model(shared_data: Path, folder: Path) -> None:
    found = _import(shared_data / "cifar10" / "resnet20.onnx", folder)
    (image,) = found.spec.inputs
    assert (image.name, image.dtype, image.shape) == ("image", "uint8", (None, 32, 32, 3))
    assert found.spec.outputs[0].shape == (None, 10)
    assert found.operators["Conv"] > 10
    assert found.warnings == ()
