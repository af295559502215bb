"""The Open Inference Protocol's words (version 2): tensors, metadata and parameters, from and to JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.endpoint.binary import binary_array, raw_array, require_rows
from equipoise.endpoint.config import PLATFORM
from equipoise.endpoint.http import Limits
from equipoise.endpoint.values import bound, json_array
from equipoise.errors import BadRequest
from equipoise.preprocess.columns import listed
from equipoise.serve.engine import Priority
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.wire import DATATYPE_OF, DATATYPES, NUMPY_TYPES, array_bytes
from equipoise.serve.work import Answer

Array = NDArray[Any]
SERVER_VERSION = version("equipoise")
"""Looked up once: it is read from a file."""
MICROSECOND = 1e-6


class InferRequest(NamedTuple):
    """A request for inference.

    Attributes:
        inputs: Input name to [n, ...], in the model's types.
        outputs: Names that are wanted; null for all.
        priority: Its own.
        deadline_s: Seconds within which the answer is wanted; null for no limit.
        request_id: The client's own name for it.
        binary: Output name to whether it is wanted as bytes.
        others_binary: Whether outputs that are not named there are.
    """

    inputs: dict[str, Array]
    outputs: list[str] | None = None
    priority: Priority = "normal"
    deadline_s: float | None = None
    request_id: str | None = None
    binary: Mapping[str, bool] = MappingProxyType({})
    others_binary: bool = False


def raw_request(body: memoryview, spec: ModelSpec, limits: Limits) -> InferRequest:
    """Read a request whose body is the model's only input, in bytes; its outputs come back in bytes.

    Raises:
        BadRequest: It is not for this model.
    """
    if len(spec.inputs) > 1:
        names = listed([tensor.name for tensor in spec.inputs])
        raise BadRequest(f"found a body of bytes alone; the model has several inputs ({names}): say which they are")
    tensor = spec.inputs[0]
    return InferRequest({tensor.name: raw_array(tensor, body, limits)}, others_binary=True)


def infer_request(body: Any, blobs: memoryview, spec: ModelSpec, limits: Limits) -> InferRequest:
    """Read a request.

    Args:
        body: The JSON value of its body.
        blobs: The bytes behind the JSON, of the inputs that say their `binary_data_size`, in order.
        spec: What the model takes.
        limits: What is taken.

    Raises:
        BadRequest: It is not one, or not for this model.
    """
    fields = _object(body, "the body")
    tensors = _objects(fields.get("inputs"), "inputs")
    wanted = wanted_inputs([_name(tensor, "an input") for tensor in tensors], spec)
    arrays = {}
    for need, tensor in zip(wanted, tensors, strict=True):
        size = _binary_size(need.name, tensor, len(blobs))
        blob, blobs = (None, blobs) if size is None else (blobs[:size], blobs[size:])
        arrays[need.name] = _array(tensor, need, blob, limits)
    if blobs:
        raise BadRequest(f"{len(blobs):,} bytes stand behind the last input")
    parameters = _object(fields.get("parameters", {}), "parameters")
    outputs = _outputs(fields.get("outputs"))
    return InferRequest(
        inputs=arrays if _as_taken(arrays, spec) else bound(arrays, spec, {name: (name,) for name in arrays}),
        outputs=None if outputs is None else [name for name, _ in outputs],
        binary={name: binary for name, binary in outputs or () if binary is not None},
        others_binary=_flag(parameters, "binary_data_output") or False,
        priority=priority(parameters.get("priority")),
        deadline_s=timeout_s(parameters.get("timeout"), MICROSECOND, "microseconds"),
        request_id=request_id(fields.get("id")),
    )


def infer_response(answer: Answer, request: InferRequest) -> tuple[dict[str, Any], list[bytes]]:
    """An answer as the protocol writes it: a JSON value, and the bytes behind it of the outputs wanted as such.

    `parameters` say where it is not the plan's usual one.
    """
    said: dict[str, Any] = {"model_name": answer.model, "model_version": answer.version}
    if answer.request_id is not None:
        said["id"] = answer.request_id
    if answer.degraded:
        said["parameters"] = {"degraded": True}
    blobs: list[bytes] = []
    said["outputs"] = outputs = []
    for name, array in answer.outputs.items():
        tensor: dict[str, Any] = {"name": name, "datatype": datatype(array), "shape": list(array.shape)}
        if request.binary.get(name, request.others_binary):
            blobs.append(array_bytes(array))
            tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            tensor["data"] = _data(array)
        outputs.append(tensor)
    return said, blobs


def model_metadata(plan: LoadedPlan, versions: Sequence[str]) -> dict[str, Any]:
    """What a model takes and gives."""
    return {
        "name": plan.name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [_described(tensor) for tensor in plan.spec.inputs],
        "outputs": [_described(tensor) for tensor in plan.outputs],
    }


def wanted_inputs(names: Sequence[str], spec: ModelSpec) -> list[TensorSpec]:
    """What the model takes as each of the inputs that a request names, in the request's order.

    Raises:
        BadRequest: One is missing or strange, or stands there twice.
    """
    if list(names) == [tensor.name for tensor in spec.inputs]:
        return list(spec.inputs)
    wanted = {tensor.name: tensor for tensor in spec.inputs}
    if len(set(names)) < len(names):
        raise BadRequest(f"an input stands there twice: {listed(names)}")
    if set(names) != set(wanted):
        raise BadRequest(f"found the inputs {listed(names) or 'none'}; the model takes {listed(list(wanted))}")
    return [wanted[name] for name in names]


def require_described(tensor: TensorSpec, kind: Any, shape: Any, limits: Limits) -> None:
    """Refuse an input that is said to be of another type than the model takes, of no shape, or of too many rows.

    Raises:
        BadRequest: It is.
    """
    if kind != DATATYPES[tensor.dtype]:
        raise BadRequest(f"input {tensor.name!r} has the datatype {kind!r}; the model takes {DATATYPES[tensor.dtype]}")
    if not isinstance(shape, list) or not shape or not all(type(axis) is int and axis > 0 for axis in shape):
        raise BadRequest(f"input {tensor.name!r} has the shape {shape!r}; needed whole numbers above 0, the rows first")
    if len(shape) > limits.depth:
        raise BadRequest(f"input {tensor.name!r} has {len(shape)} axes; at most {limits.depth} are taken")
    require_rows(tensor.name, shape, limits)


def datatype(array: Array) -> str:
    """The protocol's name of an array's type."""
    return "BYTES" if array.dtype.kind in "OUS" else DATATYPE_OF[array.dtype]


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


def refuse_unserved(parameters: Mapping[str, Any]) -> None:
    """Refuse a tensor whose parameters ask for what is not served, rather than answer as if they had not.

    Raises:
        BadRequest: They do.
    """
    if parameters.get("classification"):
        raise BadRequest("classification is not served by this protocol here; see /v1/predict/NAME for labels")
    if "shared_memory_region" in parameters:
        raise BadRequest("shared memory is not served here: send and ask for the data themselves")


def request_id(found: Any) -> str | None:
    """A client's own name for its request.

    Raises:
        BadRequest: It is no text.
    """
    if found is not None and not isinstance(found, str):
        raise BadRequest(f"found the id {found!r}; needed text")
    return found


def _binary_size(name: str, tensor: Mapping[str, Any], most: int) -> int | None:
    """Bytes of an input behind the JSON; null where its data stand in it."""
    if "parameters" not in tensor:
        return None
    parameters = _object(tensor["parameters"], "parameters")
    refuse_unserved(parameters)
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or not 0 <= size <= most:
        raise BadRequest(f"input {name!r} has the binary_data_size {size!r}; there are {most:,} bytes left for it")
    if "data" in tensor:
        raise BadRequest(f"input {name!r} has both data and a binary_data_size; needed one of them")
    return size


def _array(tensor: Mapping[str, Any], wanted: TensorSpec, blob: memoryview | None, limits: Limits) -> Array:
    name = wanted.name
    shape: Any = tensor.get("shape")
    require_described(wanted, tensor.get("datatype"), shape, limits)
    if blob is not None:
        return binary_array(wanted, blob, shape, limits)
    if "data" not in tensor:
        raise BadRequest(f"input {name!r} has no data; needed a list, or a binary_data_size and bytes behind the JSON")
    array = json_array(name, tensor["data"], limits, wanted.dtype)
    if list(array.shape) == shape:
        return array
    if array.ndim != 1 or len(array) != math.prod(shape):
        raise BadRequest(f"input {name!r} says the shape {shape} and has data of {list(array.shape)}")
    return array.reshape(shape)


def _as_taken(arrays: Mapping[str, Array], spec: ModelSpec) -> bool:
    """Whether arrays have the types that the model takes, so that nothing is to be converted."""
    return all(
        NUMPY_TYPES.get(tensor.dtype) == arrays[tensor.name].dtype and arrays[tensor.name].ndim == len(tensor.shape)
        for tensor in spec.inputs
    )


def _outputs(found: Any) -> list[tuple[str, bool | None]] | None:
    """Outputs that are wanted, and whether as bytes."""
    if found is None:
        return None
    wanted = []
    for output in _objects(found, "outputs"):
        parameters = _object(output.get("parameters", {}), "parameters")
        refuse_unserved(parameters)
        wanted.append((_name(output, "an output"), _flag(parameters, "binary_data")))
    return wanted


def _flag(parameters: Mapping[str, Any], name: str) -> bool | None:
    found = parameters.get(name)
    if found is not None and not isinstance(found, bool):
        raise BadRequest(f"found the {name} {found!r}; needed true or false")
    return found


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
