"""Tensors outside of Python: what the Open Inference Protocol calls their types, and their bytes."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LENGTH = struct.Struct("<I")
"""Of a text, before its bytes."""
DATATYPES: dict[str, str] = {
    "bool": "BOOL", "uint8": "UINT8", "int8": "INT8", "uint16": "UINT16", "int16": "INT16", "uint32": "UINT32",
    "int32": "INT32", "uint64": "UINT64", "int64": "INT64", "float16": "FP16", "bfloat16": "BF16",
    "float32": "FP32", "float64": "FP64", "string": "BYTES",
}  # fmt: skip
NUMPY_TYPES = {name: np.dtype(name) for name in DATATYPES if name not in ("bfloat16", "string")}
DATATYPE_OF = {kind: DATATYPES[name] for name, kind in NUMPY_TYPES.items()}


def array_bytes(array: Array) -> bytes:
    """A tensor as bytes."""
    if array.dtype.kind in "OUS":
        return b"".join(LENGTH.pack(len(one)) + one for one in map(_encoded, array.ravel().tolist()))
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def _encoded(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"" if value is None else str(value).encode("utf-8", "replace")
