"""The Open Inference Protocol's words as its gRPC messages: requests from protobuf, answers to it.

The messages themselves are those of `tritonclient`, so that a process may hold its client beside an engine: two
packages that register the same messages cannot live in one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.endpoint.binary import binary_array, element_count
from equipoise.endpoint.http import Limits
from equipoise.endpoint.oip import (
    MICROSECOND,
    InferRequest,
    datatype,
    priority,
    refuse_unserved,
    require_described,
    timeout_s,
    wanted_inputs,
)
from equipoise.endpoint.values import bound
from equipoise.errors import BadRequest
from equipoise.preprocess.columns import listed
from equipoise.serve.wire import array_bytes
from equipoise.serve.work import Answer

Array = NDArray[Any]
CONTENTS: dict[str, str] = {
    "bool": "bool_contents", "int8": "int_contents", "int16": "int_contents", "int32": "int_contents",
    "int64": "int64_contents", "uint8": "uint_contents", "uint16": "uint_contents", "uint32": "uint_contents",
    "uint64": "uint64_contents", "float32": "fp32_contents", "float64": "fp64_contents", "string": "bytes_contents",
}  # fmt: skip
"""Element type to the field that holds typed values of it; the half-precision ones have none and come as raw bytes."""


def infer_request(message: Any, spec: ModelSpec, limits: Limits) -> InferRequest:
    """Read a request.

    Args:
        message: A `ModelInferRequest`.
        spec: What the model takes.
        limits: What is taken.

    Raises:
        BadRequest: It is not for this model.
    """
    tensors = message.inputs
    wanted = wanted_inputs([tensor.name for tensor in tensors], spec)
    blobs = message.raw_input_contents
    if blobs and len(blobs) != len(tensors):
        raise BadRequest(f"found {len(blobs)} raw_input_contents for {len(tensors)} inputs; needed one each, in order")
    arrays = {}
    for place, (tensor, need) in enumerate(zip(tensors, wanted, strict=True)):
        refuse_unserved(parameters_of(tensor))
        shape = list(tensor.shape)
        require_described(need, tensor.datatype, shape, limits)
        typed = _filled(tensor)
        if not blobs:
            arrays[need.name] = _array(need, typed, shape, limits)
        elif typed:
            raise BadRequest(f"input {need.name!r} has both {listed(typed)} and raw_input_contents; needed one")
        else:
            arrays[need.name] = binary_array(need, memoryview(blobs[place]), shape, limits)
    for output in message.outputs:
        refuse_unserved(parameters_of(output))
    parameters = parameters_of(message)
    return InferRequest(
        inputs=bound(arrays, spec, {name: (name,) for name in arrays}),
        outputs=[output.name for output in message.outputs],
        priority=priority(parameters.get("priority")),
        deadline_s=timeout_s(parameters.get("timeout"), MICROSECOND, "microseconds"),
        request_id=message.id or None,
    )


def infer_response(answer: Answer) -> Any:
    """An answer as a `ModelInferResponse`: its outputs as raw bytes, the only form that the official client reads."""
    message = pb.ModelInferResponse(model_name=answer.model, model_version=answer.version, id=answer.request_id or "")
    if answer.degraded:
        message.parameters["degraded"].bool_param = True
    for name, array in answer.outputs.items():
        message.outputs.add(name=name, datatype=datatype(array), shape=array.shape)
        message.raw_output_contents.append(array_bytes(array))
    return message


def parameters_of(message: Any) -> Mapping[str, Any]:
    """Parameters of a request, an input or an output: name to a truth value, a number or text."""
    return {
        name: getattr(value, kind)
        for name, value in message.parameters.items()
        if (kind := value.WhichOneof("parameter_choice")) is not None
    }


def _filled(tensor: Any) -> dict[str, Any]:
    """Fields of typed values that are not empty."""
    return {field.name: values for field, values in tensor.contents.ListFields()} if tensor.HasField("contents") else {}


def _array(tensor: TensorSpec, typed: Mapping[str, Any], shape: Sequence[int], limits: Limits) -> Array:
    """An input from its typed values."""
    need = CONTENTS.get(tensor.dtype)
    if need is None:
        raise BadRequest(f"input {tensor.name!r} takes {tensor.dtype}, which has no typed contents: send raw bytes")
    if list(typed) != [need]:
        found = listed(typed) or "nothing"
        raise BadRequest(f"input {tensor.name!r} has {found}; needed {need}, or raw_input_contents for all inputs")
    values = typed[need]
    if len(values) != element_count(tensor.name, shape, limits):
        raise BadRequest(f"input {tensor.name!r} says the shape {list(shape)} and has {len(values):,} values")
    if tensor.dtype != "string":
        return np.asarray(values).reshape(shape)
    texts = np.empty(len(values), dtype=object)
    texts[:] = [_text(tensor.name, value) for value in values]
    return texts.reshape(shape)


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"a text of {name!r} is not UTF-8: {error.reason}") from None
