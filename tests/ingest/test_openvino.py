from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from equipoise.core.profile import Settings
from equipoise.errors import ChildCrashed, ModelError
from equipoise.host.sandbox import Sandbox
from equipoise.ingest.model import ImportedModel, import_model
from equipoise.ingest.openvino import model_files
from equipoise.runtimes.openvino import OpenVino

Change = Callable[[Path], None]
WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for the artifact."""
    (tmp_path / "artifact").mkdir()
    return tmp_path / "artifact"


def _linear(rows: Any = -1) -> openvino.Model:
    """`x` [rows, 4] to `logits` [rows, 3]."""
    x = ops.parameter([rows, 4], np.float32, name="x")
    product = ops.matmul(x, ops.constant(WEIGHTS), False, False)
    product.output(0).set_names({"logits"})
    return openvino.Model([product], [x], "linear")


def _saved(model: openvino.Model, path: Path) -> Path:
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


def _import(path: Path, folder: Path) -> ImportedModel:
    return import_model(path, False, folder, None)


def _refused(path: Path, folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        _import(path, folder)
    assert str(path) in caught.value.where
    assert caught.value.needed
    return str(caught.value)


def _network(writer: Any) -> bytes:
    made = writer()
    flat = made.reshape(made.input("image", (1, 2, 2, 1)), (1, 4))
    content: bytes = made.content([made.softmax(made.dense(flat, WEIGHTS.T, np.zeros(3), name="logits"))])
    return content


def test_what_is_read_of_an_ir(tmp_path: Path, folder: Path) -> None:
    found = _import(_saved(_linear(), tmp_path / "m.xml"), folder)
    (x,), (logits,) = found.spec.inputs, found.spec.outputs
    assert (x.name, x.dtype, x.shape) == ("x", "float32", (None, 4))
    assert (logits.name, logits.dtype, logits.shape) == ("logits", "float32", (None, 3))
    assert (found.format, found.quantized, found.warnings) == ("openvino", False, ())
    assert found.operators["MatMul"] == 1
    assert sorted(path.name for path in folder.iterdir()) == ["model.bin", "model.xml"]


def test_what_is_read_of_a_tflite_file(tmp_path: Path, folder: Path, tflite_writer: Any) -> None:
    (tmp_path / "m.tflite").write_bytes(_network(tflite_writer))
    found = _import(tmp_path / "m.tflite", folder)
    assert [(tensor.name, tensor.shape) for tensor in found.spec.inputs] == [("image", (1, 2, 2, 1))]
    assert [(tensor.name, tensor.shape) for tensor in found.spec.outputs] == [("probabilities", (1, 3))]
    assert found.format == "tflite"
    assert [path.name for path in folder.iterdir()] == ["model.tflite"]
    speed, batch = found.warnings
    assert "not TensorFlow Lite's own speed" in speed
    assert "batches of 1 only" in batch


def test_several_inputs_and_outputs_and_free_axes(tmp_path: Path, folder: Path) -> None:
    left, right = (ops.parameter([-1, -1, 4], np.float32, name=name) for name in ("left", "right"))
    total, product = ops.add(left, right), ops.multiply(left, right)
    total.output(0).set_names({"sum"})
    product.output(0).set_names({"product"})
    found = _import(_saved(openvino.Model([total, product], [left, right]), tmp_path / "m.xml"), folder)
    assert [(tensor.name, tensor.shape) for tensor in found.spec.inputs] == [
        ("left", (None, None, 4)),
        ("right", (None, None, 4)),
    ]
    assert [tensor.name for tensor in found.spec.outputs] == ["sum", "product"]


def test_a_quantised_ir_is_one(tmp_path: Path, folder: Path) -> None:
    x = ops.parameter([-1, 4], np.float32, name="x")
    low, high = ops.constant(np.float32(-1)), ops.constant(np.float32(1))
    model = openvino.Model([ops.fake_quantize(x, low, high, low, high, 256)], [x])
    assert _import(_saved(model, tmp_path / "m.xml"), folder).quantized


def test_a_tflite_model_in_int8_answers_as_its_numbers_say(tmp_path: Path, folder: Path, tflite_writer: Any) -> None:
    rng = np.random.default_rng(0)
    weights, bias = rng.integers(-127, 128, (4, 16), np.int8), rng.integers(-500, 500, 4, np.int32)
    writer = tflite_writer()
    x = writer.input("x", (1, 16), "int8", (0.05, 3))
    (tmp_path / "m.tflite").write_bytes(writer.content([writer.dense_int8(x, weights, bias, 0.01, (0.1, -5))]))
    found = _import(tmp_path / "m.tflite", folder)
    assert found.quantized
    assert [tensor.dtype for tensor in (*found.spec.inputs, *found.spec.outputs)] == ["int8", "int8"]
    settings = Settings(runtime="openvino", precision="int8", threads=1, replicas=1, batch=1)
    session = OpenVino().open(folder, settings)
    rows = rng.integers(-128, 128, (20, 16), np.int8)
    answers = np.concatenate([session.run(session.prepare({"x": row[None]}))["dense"] for row in rows])
    sums = (rows.astype(np.int64) - 3) @ weights.T.astype(np.int64) + bias
    expected = np.clip(np.round(sums * 0.05 * 0.01 / 0.1) - 5, -128, 127)
    assert np.abs(answers - expected).max() <= 1  # a half is rounded up by one, to even by the other


def test_images_in_whole_numbers_are_taken(tmp_path: Path, folder: Path, tflite_writer: Any) -> None:
    writer = tflite_writer()
    real = writer.cast(writer.input("image", (1, 2, 2, 1), "uint8"))
    flat = writer.reshape(real, (1, 4))
    (tmp_path / "m.tflite").write_bytes(writer.content([writer.dense(flat, WEIGHTS.T, np.zeros(3))]))
    (image,) = _import(tmp_path / "m.tflite", folder).spec.inputs
    assert (image.dtype, image.shape) == ("uint8", (1, 2, 2, 1))


def test_the_weights_are_beside_the_ir(tmp_path: Path) -> None:
    path = _saved(_linear(), tmp_path / "m.xml")
    assert model_files(path) == (path, tmp_path / "m.bin")
    (tmp_path / "m.bin").unlink()
    assert model_files(path) == (path,)
    assert model_files(tmp_path / "m.tflite") == (tmp_path / "m.tflite",)


def _rewritten(old: str, new: str) -> Change:
    def change(path: Path) -> None:
        text = path.read_text()
        assert re.search(old, text)
        path.write_text(re.sub(old, new, text, count=1))

    return change


def _bin(content: bytes | None) -> Change:
    def change(path: Path) -> None:
        path.with_suffix(".bin").unlink()
        if content is not None:
            path.with_suffix(".bin").write_bytes(content)

    return change


def _text(content: str) -> Change:
    def change(path: Path) -> None:
        path.write_text(content)

    return change


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


DAMAGE: dict[str, tuple[Change, str]] = {
    "no weights": (_bin(None), "its weights, m.bin, are missing"),
    "weights cut short": (_bin(b"\0" * 7), "Incorrect weights in bin file"),
    "empty": (_text(""), "the file is empty"),
    "no IR": (_text("<html></html>"), "not an OpenVINO IR"),
    "cut short": (_truncated, "OpenVINO cannot read it"),
    "an offset past any file": (_rewritten(r'offset="\d+"', f'offset="{2**64 - 8}"'), "OpenVINO cannot read it"),
    "a negative offset": (_rewritten(r'offset="\d+"', 'offset="-64"'), "not an unsigned 64 bit integer"),
    "more weights than there are": (_rewritten(r'shape="4, 3"', 'shape="4, 300000000000"'), "OpenVINO cannot read it"),
    "an operator that nobody knows": (_rewritten('type="MatMul"', 'type="Launch"'), "OpenVINO cannot read it"),
    "a version of long ago": (_rewritten('version="11"', 'version="6"'), "OpenVINO cannot read it"),
    "a place of its own for weights": (
        _rewritten("<rt_info>", '<rt_info><__weights_path value="/etc/passwd" />'),
        "names a place of its own",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_or_hostile_ir_is_one_clear_error(what: str, tmp_path: Path, folder: Path) -> None:
    change, said = DAMAGE[what]
    path = _saved(_linear(), tmp_path / "m.xml")
    change(path)
    assert said in _refused(path, folder)


def test_weights_that_lead_out_of_the_folder_are_refused(tmp_path: Path, folder: Path) -> None:
    path = _saved(_linear(), tmp_path / "m.xml")
    (tmp_path / "here").mkdir()
    shutil.move(path, tmp_path / "here" / "m.xml")
    (tmp_path / "here" / "m.bin").symlink_to(tmp_path / "m.bin")
    assert "leads out of the folder" in _refused(tmp_path / "here" / "m.xml", folder)
    assert not list(folder.iterdir())


def _stateful() -> openvino.Model:
    x = ops.parameter([1, 4], np.float32, name="x")
    state = ops.read_value(ops.constant(np.zeros((1, 4), np.float32)), "memory")
    total = ops.add(state, x)
    return openvino.Model([ops.result(total)], [ops.assign(total, "memory")], [x])


def _of(rows: Any, output: Callable[[Any], Any]) -> Callable[[], openvino.Model]:
    def make() -> openvino.Model:
        x = ops.parameter(rows, np.float32, name="x")
        return openvino.Model([output(x)], [x])

    return make


def _unequal() -> openvino.Model:
    left, right = ops.parameter([2, 4], np.float32, name="left"), ops.parameter([1, 4], np.float32, name="right")
    return openvino.Model([ops.add(left, right)], [left, right])


def _twice() -> openvino.Model:
    x = ops.parameter([-1, 4], np.float32, name="x")
    relu = ops.relu(x)
    relu.output(0).set_names({"y"})
    return openvino.Model([relu, relu], [x])


SHAPES: dict[str, tuple[Callable[[], openvino.Model], str]] = {
    "a state": (_stateful, "keeps a state from one request to the next (memory)"),
    "a number for all rows": (_of([-1, 4], lambda x: ops.reduce_sum(x, ops.constant([0, 1]))), "is a single number"),
    "an input without axes": (_of([], ops.relu), "is a single number"),
    "one answer for all rows": (
        _of([-1, 4], lambda x: ops.reduce_sum(x, ops.constant([0]), keep_dims=True)),
        "has 1 rows, its inputs any number",
    ),
    "no batch axis": (_of([6, 4], lambda x: ops.reshape(x, ops.constant([24]), False)), "has 24 rows, its inputs 6"),
    "an unknown number of axes": (_of(openvino.PartialShape.dynamic(), ops.relu), "no known number of axes"),
    "from 1 to 8 rows": (_of([openvino.Dimension(1, 8), 4], ops.relu), "takes 1 to 8 rows"),
    "different numbers of rows": (_unequal, "different numbers of rows: 'left' 2, 'right' 1"),
    "two outputs of one name": (_twice, "2 inputs or outputs named 'y'"),
}


@pytest.mark.parametrize("what", SHAPES)
def test_what_does_not_answer_row_by_row_is_refused(what: str, tmp_path: Path, folder: Path) -> None:
    make, said = SHAPES[what]
    assert said in _refused(_saved(make(), tmp_path / "m.xml"), folder)


def test_what_is_no_tflite_file_is_refused_before_any_reader_guesses(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "m.tflite"
    for content, said in ((b"", "is empty"), (b"\x08\x09" * 40, "no mark TFL3"), (b"TFL3" * 9 + b"<net", "no mark")):
        path.write_bytes(content if said != "no mark" else b"\0" + content)
        assert said in _refused(path, folder)


def test_damaged_tflite_files_end_their_reader_at_most(tmp_path: Path, tflite_writer: Any) -> None:
    """Cut short, or with bytes changed: a clear error, or a process that died; never an answer that hangs."""
    content, path = _network(tflite_writer), tmp_path / "m.tflite"
    random = np.random.default_rng(0)
    damaged = [content[:length] for length in (8, 40, len(content) // 2, len(content) - 40)]
    for _ in range(8):
        changed = bytearray(content)
        for place in random.integers(8, len(content), 12):
            changed[place] = random.integers(256)
        damaged.append(bytes(changed))
    refused = 0
    child = Sandbox(tmp_path / "log")
    for number, each in enumerate(damaged):
        path.write_bytes(each)
        (tmp_path / f"artifact{number}").mkdir()
        try:
            child.call(import_model, path, False, tmp_path / f"artifact{number}", None, timeout_s=60)
        except ModelError:
            refused += 1
        except ChildCrashed:
            refused += 1
            child.close()
            child = Sandbox(tmp_path / "log")
    child.close()
    assert refused >= 4  # what was cut short cannot be read; a changed weight or name may well be
