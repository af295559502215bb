"""Messages that nobody would send, to `equipoise serve` as a process: each gets the client's error, or an answer."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb

from equipoise.serve.wire import array_bytes

Array = NDArray[Any]
Code = grpc.StatusCode
PROGRAM = (sys.executable, "-c", "from equipoise.cli.main import main; main()")
INFER = "/inference.GRPCInferenceService/ModelInfer"
CLIENTS_FAULT = {Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED}
AT_ONCE = 32
CASES = [400, pytest.param(40_000, marks=pytest.mark.slow)]
AXES = [0, 1, 2, 3, -1, 7, 255, 2**31, 2**62, 2**63 - 1, -(2**63)]
NAMES = ["image", "age", "", "x" * 300, "ü", "logits", "classification", "shared_memory_region", "priority", "timeout"]
DATATYPES = ["UINT8", "FP32", "BYTES", "INT64", "BF16", "FP16", "BOOL", "", "TYPE_UINT8"]


def good(images: Array, table: pd.DataFrame) -> list[Any]:
    """Requests that are answered: raw and typed, of images and of people."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": images.shape}
    typed = tensor | {"contents": {"uint_contents": images.ravel().tolist()}}
    kinds = {"age": "INT64", "income": "FP64", "town": "BYTES"}
    people: list[Any] = [{"name": name, "datatype": kinds[name], "shape": [len(table), 1]} for name in kinds]
    raw = [array_bytes(table[[name]].to_numpy()) for name in kinds]
    extras = {"id": "a", "outputs": [{"name": "logits"}], "parameters": {"priority": {"int64_param": 1}}}
    return [
        pb.ModelInferRequest(model_name="m", inputs=[tensor], raw_input_contents=[images.tobytes()]),
        pb.ModelInferRequest(model_name="m", inputs=[typed], **extras),
        pb.ModelInferRequest(model_name="people", inputs=people, raw_input_contents=raw),
    ]


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Bytes of a message with some of them changed, lost, repeated, or another message's."""
    body = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(body) + 1)
        end = min(len(body), start + rng.choice([1, 1, 2, 4, 16, 64]))
        other = rng.choice(others)
        body[start:end] = rng.choice(
            [
                rng.randbytes(end - start), b"", bytes(body[start:end]) * 2, b"\xff" * rng.randint(1, 12),
                other[start % (len(other) + 1) :][: end - start], bytes([rng.randrange(256)]) * (end - start),
            ]
        )  # fmt: skip
    return bytes(body[: rng.randrange(len(body) + 1)] if rng.random() < 0.1 else body)


def scrambled(message: Any, rng: random.Random) -> bytes:
    """A message that is one, and says something else than it should."""
    changed = pb.ModelInferRequest()
    changed.CopyFrom(message)
    tensor = rng.choice(changed.inputs)
    parameters = rng.choice([changed, tensor, changed.outputs.add(name="logits")]).parameters
    for change in rng.sample(range(8), rng.randint(1, 3)):
        if change == 0:
            tensor.shape[:] = rng.choices(AXES, k=rng.choice([0, 1, 2, 3, 40]))
        elif change == 1:
            tensor.datatype = rng.choice(DATATYPES)
        elif change == 2:
            tensor.name = rng.choice(NAMES)
        elif change == 3:
            field = rng.choice(pb.InferTensorContents.DESCRIPTOR.fields)
            value = {"bytes_contents": b"\xff", "bool_contents": True}.get(field.name, rng.choice([0, 1, 2**31 - 1]))
            getattr(tensor.contents, field.name).extend([value] * rng.choice([1, 4, len(tensor.shape), 44]))
        elif change == 4:
            changed.raw_input_contents.append(rng.randbytes(rng.choice([0, 1, 44])))
        elif change == 5:
            field = rng.choice(pb.InferParameter.DESCRIPTOR.fields)
            value = {"string_param": rng.choice(NAMES), "bool_param": True}.get(field.name, rng.choice([0, 1, 10**12]))
            setattr(parameters[rng.choice(NAMES)], field.name, value)
        elif change == 6:
            changed.inputs.add().CopyFrom(tensor)
        else:
            changed.model_name, changed.model_version = rng.choice(["m", "people", *NAMES]), rng.choice(["", "1", "x"])
    return bytes(changed.SerializeToString())


@pytest.mark.parametrize("cases", CASES)
def test_no_message_breaks_the_server(
    cascade: Callable[..., Any], sklearn_bundle: Path, table: pd.DataFrame, images: Array, tmp_path: Path, cases: int
) -> None:
    made = cascade()
    messages = good(images, table[:5])
    whole = [message.SerializeToString() for message in messages]
    rng = random.Random(0)
    arguments = ["serve", f"m={made.folder}", f"people={sklearn_bundle}", "--http", "0", "--grpc", "0"]
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=file, text=True)
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        port = next(line for line in lines if line.startswith("ready at grpc:")).strip().rsplit(":", 1)[1]
        found: Counter[Any] = Counter()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            infer = channel.unary_unary(INFER)
            for data in whole:
                infer(data, timeout=60)
            waiting: deque[tuple[bytes, Any]] = deque()
            for case in range(cases):
                place = rng.randrange(len(whole))
                data = scrambled(messages[place], rng) if case % 2 else mutated(whole[place], whole, rng)
                waiting.append((data, infer.future(data, timeout=60)))
                while len(waiting) >= (AT_ONCE if case < cases - 1 else 1):
                    found[require_clients_fault(*waiting.popleft())] += 1
            answer = pb.ModelInferResponse.FromString(infer(whole[0], timeout=60))
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
    said = log.read_text()
    logits = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(-1, 3)
    np.testing.assert_allclose(logits, made.expected(images)["logits"], rtol=1e-5, atol=1e-6)
    assert sum(found.values()) == cases
    assert min(found[code] for code in (Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND)) > cases // 100
    assert said.count("ModelInfer") > cases
    assert "in the server itself" not in said


def require_clients_fault(data: bytes, call: Any) -> Any:
    code, said = call.code(), call.details()
    assert code in CLIENTS_FAULT, (code, said, data)
    assert code is Code.OK or said
    return code
