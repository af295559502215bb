"""Requests as gRPC messages: every type, typed and raw, and what is refused of them."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb

from equipoise.core.tensor import DType, ModelSpec, TensorSpec
from equipoise.endpoint.http import Limits
from equipoise.endpoint.messages import CONTENTS, infer_request, infer_response
from equipoise.errors import BadRequest
from equipoise.serve.wire import DATATYPES, array_bytes
from equipoise.serve.work import Answer

Array = NDArray[Any]
NUMBERS = [kind for kind in DATATYPES if kind not in ("string", "bfloat16")]
VALUES: dict[str, Any] = {
    "bool": [[True, False], [False, True]], "int8": [[-128, 127], [0, 1]], "int16": [[-(2**15), 2**15 - 1], [0, 1]],
    "int32": [[-(2**31), 2**31 - 1], [0, 1]], "int64": [[-(2**63), 2**63 - 1], [0, 1]], "uint8": [[0, 255], [1, 2]],
    "uint16": [[0, 2**16 - 1], [1, 2]], "uint32": [[0, 2**32 - 1], [1, 2]], "uint64": [[0, 2**64 - 1], [1, 2]],
    "float16": [[0.5, -1.5], [0.0, 2.0]], "float32": [[0.1, -1.5], [np.inf, np.nan]],
    "float64": [[0.1, -1e300], [0, 1]],
}  # fmt: skip


def spec_of(kind: DType, *names: str) -> ModelSpec:
    inputs = tuple(TensorSpec(name=name, dtype=kind, shape=(None, 2)) for name in names or ("x",))
    return ModelSpec(inputs=inputs, outputs=inputs)


def asked(kind: str, shape: Any = (2, 2), contents: Any = None, raw: bytes | None = None) -> Any:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=DATATYPES[kind], shape=shape)
    if contents is not None:
        tensor.contents.CopyFrom(pb.InferTensorContents(**contents))
    return pb.ModelInferRequest(inputs=[tensor], raw_input_contents=[] if raw is None else [raw])


def some(field: str) -> list[Any]:
    """Four values that a field of typed contents takes."""
    return [{"bytes_contents": b"1", "bool_contents": True}.get(field, 1)] * 4


def read(message: Any, kind: DType, limits: Limits | None = None) -> Array:
    return infer_request(message, spec_of(kind), limits or Limits()).inputs["x"]


@pytest.mark.parametrize("kind", NUMBERS)
def test_raw_numbers_are_read(kind: Any) -> None:
    expected = np.array(VALUES[kind], dtype=kind)
    found = read(asked(kind, raw=expected.tobytes()), kind)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", [kind for kind in NUMBERS if kind in CONTENTS])
def test_typed_numbers_are_read(kind: Any) -> None:
    expected = np.array(VALUES[kind], dtype=kind)
    found = read(asked(kind, contents={CONTENTS[kind]: expected.ravel().tolist()}), kind)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_has_no_typed_contents(kind: Any) -> None:
    with pytest.raises(BadRequest, match="raw bytes"):
        read(asked(kind, contents={"fp32_contents": [0.0] * 4}), kind)


def test_bfloat16_says_what_to_do() -> None:
    with pytest.raises(BadRequest, match="export it with a float32 input"):
        read(asked("bfloat16", raw=bytes(8)), "bfloat16")


TEXTS = ["", "é", "a\0b", "\0"]


def test_text_is_read_typed_and_raw() -> None:
    expected = np.array(TEXTS, dtype=object).reshape(2, 2)
    typed = asked("string", contents={"bytes_contents": [text.encode() for text in TEXTS]})
    raw = asked("string", raw=b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in TEXTS))
    for message in (typed, raw):
        assert read(message, "string").tolist() == expected.tolist()


@pytest.mark.parametrize("kind", sorted(CONTENTS))
def test_another_types_contents_are_refused(kind: Any) -> None:
    for other in set(CONTENTS.values()) - {CONTENTS[kind]}:
        with pytest.raises(BadRequest, match=f"{other}; needed {CONTENTS[kind]}"):
            read(asked(kind, contents={other: some(other)}), kind)
        with pytest.raises(BadRequest, match=other):
            read(asked(kind, contents={field: some(field) for field in (other, CONTENTS[kind])}), kind)


@pytest.mark.parametrize(("kind", "value"), [("int8", 128), ("int16", -(2**15) - 1), ("uint8", 256), ("uint16", 2**16)])
def test_a_number_that_its_type_cannot_hold_is_refused(kind: Any, value: int) -> None:
    with pytest.raises(BadRequest, match="cannot hold it"):
        read(asked(kind, contents={CONTENTS[kind]: [0, 1, 2, value]}), kind)


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (asked("float32", contents={"fp32_contents": [0.0] * 4}, raw=bytes(16)), "both fp32_contents and raw"),
        (asked("float32"), "has nothing; needed fp32_contents"),
        (asked("float32", contents={}), "has nothing"),
        (asked("float32", contents={"fp32_contents": [0.0] * 3}), "3 values"),
        (asked("float32", contents={"fp32_contents": [0.0] * 5}), "5 values"),
        (asked("float32", raw=bytes(15)), "15 bytes"),
        (asked("float32", raw=bytes(17)), "17 bytes"),
        (asked("float32", raw=b""), "0 bytes"),
        (asked("float32", (0, 2), raw=b""), "whole numbers above 0"),
        (asked("float32", (-1, 2), raw=bytes(16)), "whole numbers above 0"),
        (asked("float32", (0, 2**62), raw=b""), "whole numbers above 0"),
        (asked("float32", (2**62, 2**62), raw=bytes(16)), "at most"),
        (asked("float32", [1] * 100, raw=bytes(4)), "100 axes"),
        (asked("float32", (), raw=bytes(4)), "shape"),
        (asked("float32", (4, 1), raw=bytes(16)), "shape"),
        (asked("int32", contents={"int_contents": [0] * 4}), "datatype 'INT32'"),
        (pb.ModelInferRequest(), "inputs none"),
        (pb.ModelInferRequest(inputs=[{"name": "y"}]), "inputs y"),
        (pb.ModelInferRequest(inputs=[{"name": "x"}, {"name": "x"}]), "twice"),
        (pb.ModelInferRequest(inputs=[{"name": "x"}], raw_input_contents=[b"", b""]), "2 raw_input_contents for 1"),
    ],
)
def test_what_does_not_fit_is_refused(message: Any, found: str) -> None:
    with pytest.raises(BadRequest, match=found):
        read(message, "float32")


def test_text_must_be_utf8() -> None:
    with pytest.raises(BadRequest, match="not UTF-8"):
        read(asked("string", contents={"bytes_contents": [b"\xff"] * 4}), "string")
    with pytest.raises(BadRequest, match="not UTF-8"):
        read(asked("string", raw=b"\1\0\0\0\xff" * 4), "string")


def test_limits_hold_for_both_forms() -> None:
    for limits in (Limits(elements=3), Limits(rows=1)):
        for message in (asked("float32", raw=bytes(16)), asked("float32", contents={"fp32_contents": [0.0] * 4})):
            with pytest.raises(BadRequest, match="at most"):
                read(message, "float32", limits)


def test_raw_contents_belong_to_the_inputs_in_their_order() -> None:
    arrays = {"b": np.array([[1, 2]], np.int32), "a": np.array([[3, 4]], np.int32)}
    inputs = [{"name": name, "datatype": "INT32", "shape": [1, 2]} for name in arrays]
    blobs = [array.tobytes() for array in arrays.values()]
    message = pb.ModelInferRequest(inputs=inputs, raw_input_contents=blobs)
    found = infer_request(message, spec_of("int32", "a", "b"), Limits()).inputs
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    del message.raw_input_contents[1]
    with pytest.raises(BadRequest, match="1 raw_input_contents for 2 inputs"):
        infer_request(message, spec_of("int32", "a", "b"), Limits())


def test_parameters_are_those_of_the_other_transports() -> None:
    message = asked("float32", raw=bytes(16))
    plain = infer_request(message, spec_of("float32"), Limits())
    assert (plain.priority, plain.deadline_s, plain.request_id, plain.outputs) == ("normal", None, None, [])
    message.id = "mine"
    message.outputs.add(name="y")
    message.parameters["timeout"].int64_param = 1500
    for field, value in (("uint64_param", 1), ("int64_param", 1), ("string_param", "high")):
        setattr(message.parameters["priority"], field, value)
        found = infer_request(message, spec_of("float32"), Limits())
        assert (found.priority, found.deadline_s, found.request_id, found.outputs) == ("high", 1500e-6, "mine", ["y"])


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("priority", "string_param", "first"), ("priority", "bool_param", True), ("priority", "int64_param", -1),
        ("timeout", "string_param", "1"), ("timeout", "bool_param", True), ("timeout", "int64_param", -1),
    ],
)  # fmt: skip
def test_strange_parameters_are_refused(name: str, field: str, value: Any) -> None:
    message = asked("float32", raw=bytes(16))
    setattr(message.parameters[name], field, value)
    with pytest.raises(BadRequest, match=name):
        read(message, "float32")


def test_what_is_not_served_is_refused_rather_than_ignored() -> None:
    for of in ("inputs", "outputs"):
        for name, field, value in (("classification", "int64_param", 3), ("shared_memory_region", "string_param", "r")):
            message = asked("float32", raw=bytes(16))
            tensor = message.inputs[0] if of == "inputs" else message.outputs.add(name="x")
            setattr(tensor.parameters[name], field, value)
            with pytest.raises(BadRequest, match=name.replace("_region", "").replace("_", " ")):
                read(message, "float32")


@pytest.mark.parametrize("degraded", [True, False])
def test_answers_are_raw_bytes(degraded: bool) -> None:
    outputs = {
        "scores": np.array([[0.5, np.nan]], np.float32),
        "label": np.array(["é"], dtype=object),
        "sure": np.array([True]),
    }
    answer = Answer("m", "2", outputs, np.zeros(1, np.int64), np.zeros((1, 1)), np.ones(1, bool), degraded=degraded)
    message = infer_response(answer)
    assert (message.model_name, message.model_version, message.id) == ("m", "2", "")
    assert [(each.name, each.datatype, list(each.shape)) for each in message.outputs] == [
        ("scores", "FP32", [1, 2]), ("label", "BYTES", [1]), ("sure", "BOOL", [1]),
    ]  # fmt: skip
    assert list(message.raw_output_contents) == [array_bytes(array) for array in outputs.values()]
    assert not any(each.HasField("contents") for each in message.outputs)
    assert {name: value.bool_param for name, value in message.parameters.items()} == (
        {"degraded": True} if degraded else {}
    )
