"""The closed loop of `load.py` over gRPC: requests are bytes made beforehand, and answers are cut out of bytes.

Generated stubs would cost the generator more than the server; the few fields that are needed are written by hand.
"""

from __future__ import annotations

import asyncio
import time
from importlib.util import find_spec
from typing import Any

import numpy as np
import uvloop
from load import OK, Records, Seen, Target, collected
from numpy.typing import NDArray
from questions import checked, right_answers
from server import free_port, understood

from equipoise.execute.plan import OpenPlan
from equipoise.serve.wire import DATATYPES

Array = NDArray[Any]
METHOD = "/inference.GRPCInferenceService/ModelInfer"
MODEL_NAME, INPUTS, RAW_INPUTS = 1, 5, 7
TENSOR_NAME, TENSOR_DATATYPE, TENSOR_SHAPE = 1, 2, 3


def grpc_port_option() -> tuple[int, tuple[str, ...]] | None:
    """A free port and the option that serves gRPC there; null where that cannot be done here."""
    port = free_port()
    option = understood("--grpc", str(port))
    return (port, option) if option and find_spec("grpc") is not None else None


def grpc_closed(port: int, model: str, direct: OpenPlan, rows: Array, connections: int, seconds: float) -> Seen:
    """Keep a number of calls under way over one channel, each with raw tensor contents.

    Args:
        port: Of the server.
        model: Its name there.
        direct: The plan, open in this process.
        rows: Inputs: [n, ...].
        connections: Calls at the same time.
        seconds: How long.
    """
    (tensor,) = direct.spec.inputs
    requests = [_request(model, tensor.name, DATATYPES[tensor.dtype], row[None]) for row in rows.astype(tensor.dtype)]
    target = Target(port, requests, checked(right_answers(direct, rows), "raw"))
    with collected():
        return uvloop.run(_closed(target, connections, seconds))


async def _closed(target: Target, connections: int, seconds: float) -> Seen:
    import grpc

    records = Records(target)
    stop_s = time.perf_counter() + seconds
    async with grpc.aio.insecure_channel(f"127.0.0.1:{target.port}") as channel:
        infer = channel.unary_unary(METHOD)  # bytes in, bytes out

        async def ask(first: int) -> None:
            question = first
            while (start_s := time.perf_counter()) < stop_s:
                question = (question + connections) % len(target.requests)
                try:
                    records.note(start_s, question, OK, await infer(target.requests[question]))
                except grpc.aio.AioRpcError as error:
                    records.note(start_s, question, 1000 + error.code().value[0], b"")

        await asyncio.gather(*map(ask, range(connections)))
    return records.seen()


def _request(model: str, name: str, datatype: str, rows: Array) -> bytes:
    shape = b"".join(map(_varint, rows.shape))
    tensor = _bytes(TENSOR_NAME, name.encode()) + _bytes(TENSOR_DATATYPE, datatype.encode())
    tensor += _bytes(TENSOR_SHAPE, shape)
    blob = np.ascontiguousarray(rows).tobytes()
    return _bytes(MODEL_NAME, model.encode()) + _bytes(INPUTS, tensor) + _bytes(RAW_INPUTS, blob)


def _bytes(number: int, content: bytes) -> bytes:
    """A field of bytes, text, a message or packed numbers."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
