"""The Open Inference Protocol's words (version 2): tensors, metadata and parameters, from and to JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import BadRequest
from equipoise.preprocess.columns import listed
from equipoise.serve.engine import Priority
from equipoise.serve.http import Limits
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.values import bound, json_array
from equipoise.serve.work import Answer

Array = NDArray[Any]
DATATYPES: dict[str, str] = {
    "bool": "BOOL", "uint8": "UINT8", "int8": "INT8", "uint16": "UINT16", "int16": "INT16", "uint32": "UINT32",
    "int32": "INT32", "uint64": "UINT64", "int64": "INT64", "float16": "FP16", "bfloat16": "BF16",
    "float32": "FP32", "float64": "FP64", "string": "BYTES",
}  # fmt: skip
MICROSECOND = 1e-6


@dataclass(frozen=True)
class InferRequest:
    """A request for inference.

    Attributes:
        inputs: Input name to [n, ...], in the model's types.
        outputs: Names that are wanted; null for all.
        priority: Its own.
        deadline_s: Seconds within which the answer is wanted; null for no limit.
        request_id: The client's own name for it.
    """

    inputs: dict[str, Array]
    outputs: list[str] | None
    priority: Priority
    deadline_s: float | None
    request_id: str | None


def infer_request(body: Any, spec: ModelSpec, limits: Limits) -> InferRequest:
    """Read a request.

    Args:
        body: The JSON value of its body.
        spec: What the model takes.
        limits: What is taken.

    Raises:
        BadRequest: It is not one, or not for this model.
    """
    fields = _object(body, "the body")
    tensors = _objects(fields.get("inputs"), "inputs")
    names = [_name(tensor, "an input") for tensor in tensors]
    wanted = {tensor.name: tensor for tensor in spec.inputs}
    if len(set(names)) < len(names):
        raise BadRequest(f"an input stands there twice: {listed(names)}")
    if set(names) != set(wanted):
        raise BadRequest(f"found the inputs {listed(names) or 'none'}; the model takes {listed(list(wanted))}")
    arrays = {name: _array(tensor, wanted[name], limits) for name, tensor in zip(names, tensors, strict=True)}
    parameters = _object(fields.get("parameters", {}), "parameters")
    return InferRequest(
        inputs=bound(arrays, spec, {name: (name,) for name in wanted}),
        outputs=_outputs(fields.get("outputs")),
        priority=priority(parameters.get("priority")),
        deadline_s=timeout_s(parameters.get("timeout"), MICROSECOND, "microseconds"),
        request_id=request_id(fields.get("id")),
    )


def infer_response(answer: Answer) -> dict[str, Any]:
    """An answer as the protocol writes it; `parameters` say where it is not the plan's usual one."""
    said: dict[str, Any] = {"model_name": answer.model, "model_version": answer.version}
    if answer.request_id is not None:
        said["id"] = answer.request_id
    if answer.degraded:
        said["parameters"] = {"degraded": True}
    said["outputs"] = [
        {"name": name, "datatype": datatype(array), "shape": list(array.shape), "data": _data(array)}
        for name, array in answer.outputs.items()
    ]
    return said


def model_metadata(plan: LoadedPlan, versions: Sequence[str]) -> dict[str, Any]:
    """What a model takes and gives."""
    return {
        "name": plan.name,
        "versions": list(versions),
        "platform": "equipoise_plan",
        "inputs": [_described(tensor) for tensor in plan.opened.spec.inputs],
        "outputs": [_described(tensor) for tensor in plan.outputs],
    }


def datatype(array: Array) -> str:
    """The protocol's name of an array's type."""
    return "BYTES" if array.dtype.kind in "OUS" else DATATYPES[array.dtype.name]


def priority(found: Any) -> Priority:
    """`high`, `normal`, or Triton's numbers: 1 is the highest, 0 the default.

    Raises:
        BadRequest: It is none of them.
    """
    if found in (None, "normal"):
        return "normal"
    if found == "high":
        return "high"
    if isinstance(found, int) and not isinstance(found, bool) and found >= 0:
        return "high" if found == 1 else "normal"
    raise BadRequest(f"found the priority {found!r}; needed high, normal, or a whole number of which 1 is the highest")


def timeout_s(found: Any, unit_s: float, units: str) -> float | None:
    """Seconds of a timeout; null where none is given, or 0.

    Raises:
        BadRequest: It is no number, or negative.
    """
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or found < 0:
        raise BadRequest(f"found the timeout {found!r}; needed {units}, 0 or more")
    return found * unit_s if found else None


def request_id(found: Any) -> str | None:
    """A client's own name for its request.

    Raises:
        BadRequest: It is no text.
    """
    if found is not None and not isinstance(found, str):
        raise BadRequest(f"found the id {found!r}; needed text")
    return found


def _array(tensor: Mapping[str, Any], wanted: TensorSpec, limits: Limits) -> Array:
    name = wanted.name
    kind = tensor.get("datatype")
    if kind != DATATYPES[wanted.dtype]:
        raise BadRequest(f"input {name!r} has the datatype {kind!r}; the model takes {DATATYPES[wanted.dtype]}")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(axis) is int and axis >= 0 for axis in shape):
        raise BadRequest(f"input {name!r} has the shape {shape!r}; needed a list of whole numbers")
    if "data" not in tensor:
        raise BadRequest(f"input {name!r} has no data; needed a list (binary tensors are not taken here)")
    array = json_array(name, tensor["data"], limits, text=wanted.dtype == "string")
    if list(array.shape) == shape:
        return array
    if array.ndim != 1 or len(array) != math.prod(shape):
        raise BadRequest(f"input {name!r} says the shape {shape} and has data of {list(array.shape)}")
    return array.reshape(shape)


def _outputs(found: Any) -> list[str] | None:
    if found is None:
        return None
    outputs = _objects(found, "outputs")
    for output in outputs:
        if "classification" in _object(output.get("parameters", {}), "parameters"):
            raise BadRequest("classification is not served by this protocol here; see /v1/predict/NAME for labels")
    return [_name(output, "an output") for output in outputs]


def _described(tensor: TensorSpec) -> dict[str, Any]:
    shape = [-1, *(-1 if axis is None else axis for axis in tensor.shape[1:])]
    return {"name": tensor.name, "datatype": DATATYPES[tensor.dtype], "shape": shape}


def _data(array: Array) -> Any:
    if array.dtype.kind in "OUS":
        return [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in array.ravel()]
    return np.ascontiguousarray(array).reshape(-1)


def _name(fields: Mapping[str, Any], what: str) -> str:
    name = fields.get("name")
    if not isinstance(name, str):
        raise BadRequest(f"{what} has the name {name!r}; needed text")
    return name


def _object(found: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise BadRequest(f"{what} holds {type(found).__name__}; needed an object")
    return found


def _objects(found: Any, what: str) -> list[Mapping[str, Any]]:
    if not isinstance(found, list):
        raise BadRequest(f"{what} holds {type(found).__name__}; needed a list of objects")
    return [_object(one, what) for one in found]
