"""Holds the weights that an ONNX file declares against the bytes that are there."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from equipoise.errors import ModelError
from equipoise.onnx_tensors import external_place, is_external, tensors

BITS = {
    "FLOAT": 32, "UINT8": 8, "INT8": 8, "UINT16": 16, "INT16": 16, "INT32": 32, "INT64": 64, "BOOL": 8, "FLOAT16": 16,
    "DOUBLE": 64, "UINT32": 32, "UINT64": 64, "COMPLEX64": 64, "COMPLEX128": 128, "BFLOAT16": 16, "FLOAT8E4M3FN": 8,
    "FLOAT8E4M3FNUZ": 8, "FLOAT8E5M2": 8, "FLOAT8E5M2FNUZ": 8, "UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4,
    "FLOAT8E8M0": 8, "UINT2": 2, "INT2": 2, "FLOAT6E2M3": 6, "FLOAT6E3M2": 6,
}  # fmt: skip
TYPED_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
NEEDED = "needed as many bytes as its shape says: the file is damaged or hostile; export the model again"


def check_weights(path: Path, proto: Any) -> None:
    """Make sure that every weight has the bytes that its shape says.

    A few bytes may declare a tensor of terabytes, which a careless reader then allocates.

    Args:
        path: The `.onnx` file, whose folder holds the weight files.
        proto: What was parsed of it.

    Raises:
        ModelError: A weight has fewer or more bytes than declared, a type that is not known, or a negative size.
    """
    for tensor in tensors(proto):
        _check(path, tensor)


def _check(path: Path, tensor: Any) -> None:
    import onnx

    what = f"weight {tensor.name!r} of shape {list(tensor.dims)}"
    if any(size < 0 for size in tensor.dims):
        raise ModelError(str(path), f"{what} has a negative size", NEEDED)
    if tensor.data_type not in onnx.TensorProto.DataType.values():
        raise ModelError(str(path), f"{what} has the unknown type {tensor.data_type}", "export the model again")
    kind = onnx.TensorProto.DataType.Name(tensor.data_type)
    count = prod(tensor.dims)
    if kind not in BITS:
        entries = len(tensor.string_data)
        if kind != "STRING" or entries != count or is_external(tensor):
            raise ModelError(str(path), f"{what} of type {kind} holds {entries:,} entries", NEEDED)
        return
    wanted = (count * BITS[kind] + 7) // 8
    if is_external(tensor):
        _check_external(path, tensor, what, wanted)
    elif tensor.HasField("raw_data"):
        _require(path, what, len(tensor.raw_data), wanted)
    else:
        # Outside `raw_data` small types share the 32-bit field: one number an entry, or several packed into one.
        entries = sum(len(getattr(tensor, field)) for field in TYPED_FIELDS)
        per_entry = 2 if kind.startswith("COMPLEX") else 1
        packed = -(-count * BITS[kind] // 32) if BITS[kind] < 8 else count * per_entry
        if not min(packed, count * per_entry) <= entries <= count * per_entry:
            raise ModelError(str(path), f"{what} holds {entries:,} numbers", NEEDED)


def _check_external(path: Path, tensor: Any, what: str, wanted: int) -> None:
    try:
        place = external_place(tensor)
    except ValueError as error:
        raise ModelError(str(path), f"{what} has {error}", "export the model again") from None
    if place.length_bytes is not None:
        _require(path, f"{what}, in {place.location!r},", place.length_bytes, wanted)
        return
    file = path.resolve().parent / place.location
    if ".." not in file.parts and file.is_file():  # where it may lie is checked for all of them elsewhere
        found = file.stat().st_size - place.offset_bytes
        if found < wanted:
            _require(path, f"{what}, in {place.location!r},", max(0, found), wanted)


def _require(path: Path, what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise ModelError(str(path), f"{what} has {found:,} bytes of {wanted:,}", NEEDED)
