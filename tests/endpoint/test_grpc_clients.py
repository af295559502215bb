"""The official gRPC clients, each in a process of its own, against `equipoise serve` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb

from equipoise.execute.plan import open_plan
from equipoise.store.bundle import read_bundle

Array = NDArray[Any]
PROGRAM = (sys.executable, "-c", "from equipoise.cli.main import main; main()")
CLIENT = Path(__file__).parent / "clients" / "triton_grpc.py"
INFER = "/inference.GRPCInferenceService/ModelInfer"


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that serves, and its port for gRPC."""
    process = subprocess.Popen(
        [*PROGRAM, "serve", *arguments, "--http", "0", "--grpc", "0", "--log", "none"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[str] = []
    try:
        while not said or not said[-1].startswith("ready at http://"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            said.append(line.strip())
        assert said[-2].startswith("ready at grpc://127.0.0.1:")
        yield process, int(said[-2].rsplit(":", 1)[1])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def found_by(form: str, port: int, asked: Any) -> Any:
    done = subprocess.run(
        [sys.executable, str(CLIENT), str(port), form, json.dumps(asked)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def made(cascade: Callable[..., Any]) -> Any:
    return cascade(lanes=2)


@pytest.mark.parametrize("form", ["sync", "aio"])
def test_the_official_client(form: str, made: Any, sklearn_bundle: Path, table: pd.DataFrame, images: Array) -> None:
    people = {name: table[name].tolist() for name in ("age", "income", "town")}
    with serving(
        f"m={made.folder}", f"m={made.folder}", f"other={made.folder}", f"people={sklearn_bundle}", "--admin"
    ) as (_, port):
        found = found_by(form, port, {"image": images.tolist(), "people": people})
    expected = made.expected(images)["logits"]
    for name, version, high in [
        ("plain", "2", False), ("version", "1", False), ("outputs", "2", False), ("gzip", "2", False),
        ("deflate", "2", False), ("high", "2", True), ("in time", "2", False),
    ]:  # fmt: skip
        assert (found[name]["id"], found[name]["version"]) == ("mine" if name == "version" else "", version), name
        wanted = made.of_stage(1, images) if high else expected
        np.testing.assert_allclose(found[name]["logits"], wanted, rtol=1e-5, atol=1e-6)
    for name, code in [
        ("late", "DEADLINE_EXCEEDED"), ("version of none", "NOT_FOUND"), ("output of none", "INVALID_ARGUMENT"),
        ("classes", "INVALID_ARGUMENT"), ("is_model_ready of none", "NOT_FOUND"),
        ("get_model_metadata of none", "NOT_FOUND"), ("get_model_config of none", "NOT_FOUND"),
        ("get_inference_statistics of none", "NOT_FOUND"), ("load of none", "NOT_FOUND"),
        ("load with a config", "INVALID_ARGUMENT"),
    ]:  # fmt: skip
        assert found[name]["status"] == f"StatusCode.{code}", name
    answers = open_plan(read_bundle(sklearn_bundle)).answer({name: table[[name]].to_numpy() for name in people})
    assert found["people"]["label"] == answers["label"].tolist()
    np.testing.assert_allclose(found["people"]["probabilities"], answers["probabilities"])
    require_described(found, len(images))


def require_described(found: Any, rows: int) -> None:
    for name in ("is_server_live", "is_server_ready", "is_model_ready", "ready once loaded"):
        assert found[name] is True, name
    assert found["ready once unloaded"]["status"] == "StatusCode.NOT_FOUND"
    assert (found["load"], found["unload"]) == (None, None)
    assert set(found["get_server_metadata of all"]["extensions"]) == {
        "binary_tensor_data", "model_configuration", "model_repository", "statistics",
    }  # fmt: skip
    metadata = found["get_model_metadata"]
    assert (metadata["versions"], metadata["inputs"]) == (
        ["1", "2"], [{"name": "image", "datatype": "UINT8", "shape": ["-1", "2", "2"]}],
    )  # fmt: skip
    config = found["get_model_config"]["config"]
    assert (config["name"], config["max_batch_size"], config["input"][0]["data_type"]) == ("m", 4, "TYPE_UINT8")
    states = [
        (each["name"], each.get("version"), each["state"])
        for each in found["get_model_repository_index of all"]["models"]
    ]
    assert states == [
        (name, version, "READY") for name, version in (("m", "1"), ("m", "2"), ("other", "1"), ("people", "1"))
    ]
    unloaded = {each["name"]: each["state"] for each in found["index once unloaded"]["models"]}
    assert unloaded == {"m": "READY", "other": "UNAVAILABLE", "people": "READY"}
    first, second = found["get_inference_statistics"]["model_stats"]
    assert (first["version"], first["inference_count"], first["inference_stats"]["success"]["count"]) == (
        "1",
        str(rows),
        "1",
    )
    assert second["inference_stats"]["success"]["count"] == "6"
    assert second["inference_stats"]["fail"]["count"] == "1"
    assert int(second["inference_stats"]["compute_infer"]["ns"]) > 0
    every = [(each["name"], each["version"]) for each in found["get_inference_statistics of all"]["model_stats"]]
    assert every == [("m", "1"), ("m", "2"), ("other", "1"), ("people", "1")]


def client(port: int, images: list[Array], answers: list[Any]) -> None:
    """Ask until the server says that it is not ready, as a balancer would; what each call came to."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ready = channel.unary_unary(
            "/inference.GRPCInferenceService/ServerReady", response_deserializer=pb.ServerReadyResponse.FromString
        )
        infer = channel.unary_unary(INFER, response_deserializer=pb.ModelInferResponse.FromString)
        while ready(b"", timeout=60).ready:
            for number, image in enumerate(images):
                tensor = {"name": "image", "datatype": "UINT8", "shape": image.shape}
                message = pb.ModelInferRequest(
                    model_name="m", id=str(number), inputs=[tensor], raw_input_contents=[image.tobytes()]
                )
                try:
                    answers.append(infer(message.SerializeToString(), timeout=60))
                except grpc.RpcError as error:
                    answers.append(error)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_no_request(made: Any, number: signal.Signals) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (1 + place % 5, 2, 2), dtype=np.uint8) for place in range(16)]
    expected = [made.expected(each)["logits"] for each in images]
    answers: list[list[Any]] = [[] for _ in range(6)]
    with serving(f"m={made.folder}") as (process, port):
        clients = [threading.Thread(target=client, args=(port, images, mine)) for mine in answers]
        for each in clients:
            each.start()
        while min(map(len, answers)) < 20:
            time.sleep(0.005)
        process.send_signal(number)
        for each in clients:
            each.join()
        assert process.wait(60) == 0
    for mine in answers:
        for found in mine:
            assert isinstance(found, pb.ModelInferResponse), found
            logits = np.frombuffer(found.raw_output_contents[0], "<f4").reshape(found.outputs[0].shape)
            np.testing.assert_allclose(logits, expected[int(found.id)], rtol=1e-5, atol=1e-6)


def test_who_goes_on_asking_is_answered_or_told_that_nobody_is_there(made: Any, images: Array) -> None:
    """What was taken in is answered, and answered right, even for those who never look whether the server is ready."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": images.shape}
    message = pb.ModelInferRequest(model_name="m", inputs=[tensor], raw_input_contents=[images.tobytes()])
    message.parameters["timeout"].int64_param = 60_000_000  # so that none is refused for the plan's own limit
    data, expected = message.SerializeToString(), made.expected(images)["logits"]
    with serving(f"m={made.folder}", "--drain-s", "0") as (process, port):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            infer = channel.unary_unary(INFER, response_deserializer=pb.ModelInferResponse.FromString)
            infer(data, timeout=60)
            calls = [infer.future(data, timeout=60) for _ in range(200)]
            calls[20].result()
            process.send_signal(signal.SIGTERM)
            codes = [call.code() for call in calls]
            found = [call.result() for call, code in zip(calls, codes, strict=True) if code is grpc.StatusCode.OK]
        assert process.wait(60) == 0
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert found
    for each in found:
        logits = np.frombuffer(each.raw_output_contents[0], "<f4").reshape(expected.shape)
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_without_its_extra_it_says_what_to_install(made: Any, tmp_path: Path) -> None:
    for module, wanted in (("grpc", "grpc"), ("rapidjson", "rapidjson"), ("tritonclient", "tritonclient")):
        place = tmp_path / module
        place.mkdir()
        (place / f"{module}.py").write_text(f"raise ModuleNotFoundError('no module {module}', name='{module}')\n")
        done = subprocess.run(
            [*PROGRAM, "serve", str(made.folder), "--grpc", "0", "--http", "0"],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": str(place)},
        )
        assert (done.returncode, done.stderr.strip()) == (
            2, f'error: equipoise serve --grpc: {wanted} is not installed; run: pip install "equipoise[grpc]"',
        )  # fmt: skip


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(made: Any) -> None:
    with serving(f"m={made.folder}") as (_, port):
        for place in (str(port), "nowhere:x"):
            done = subprocess.run(
                [*PROGRAM, "serve", "no bundle at all", "--grpc", place, "--http", "0"],
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode, done.stderr.startswith("error: --grpc: ")) == (2, True), done.stderr
