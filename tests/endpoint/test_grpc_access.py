"""Who is let in over gRPC: no procedure but health answers without a key, and each call leaves one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from equipoise.endpoint.gate import Gate, KeyFile
from equipoise.endpoint.grpc import SERVICE
from equipoise.endpoint.keys import add_key
from equipoise.endpoint.logs import Log
from equipoise.observe.statistics import Statistics

Code = grpc.StatusCode
METHODS = [method.name for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods]
HEALTH = {"ServerLive", "ServerReady"}
ADMIN = {"RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"}
IMAGES = np.array([[[7, 77], [177, 213]]] * 2, np.uint8)


class NothingToLoad:
    """A repository that nobody may reach."""

    def index(self) -> list[Any]:
        return []

    async def load(self, name: str) -> None:
        raise AssertionError(name)

    unload = load


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "keys.json"
    return {
        name: add_key(path, name, role, rate)  # type: ignore[arg-type]
        for name, role, rate in (("shop", "infer", None), ("slow", "infer", "1/h"), ("operator", "admin", None))
    }


@pytest.fixture
def call(
    tmp_path: Path, keys: dict[str, str], cascade: Callable[..., Any], grpc_served: Any
) -> Iterator[Callable[..., Any]]:
    """Calls a procedure with a key; its code and trailers."""
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    log, statistics = Log("json", file), Statistics()
    gate = Gate(KeyFile(tmp_path / "keys.json"), admin=True)
    others = {"gate": gate, "log": log, "statistics": statistics, "models": NothingToLoad()}
    with (
        grpc_served([cascade().loaded], observers=[statistics], **others) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):

        def ask(method: str, key: str | None = None, message: bytes = b"", **more: str) -> tuple[Any, dict[str, str]]:
            metadata = [*more.items(), *([] if key is None else [("authorization", f"Bearer {key}")])]
            rpc = channel.unary_unary(f"/{SERVICE}/{method}")
            try:
                answered = rpc.with_call(message, timeout=60, metadata=metadata)[1]
            except grpc.RpcError as error:
                answered = error
            return answered.code(), dict(answered.trailing_metadata() or ())

        yield ask
    log.close()
    os.close(file)


def test_no_procedure_but_health_answers_without_a_key(call: Any, keys: dict[str, str]) -> None:
    served = {method for method in METHODS if call(method, keys["operator"], b"\xff")[0] is not Code.UNIMPLEMENTED}
    assert served >= {"ModelInfer", "ModelReady", "ModelStatistics", "ServerMetadata", *HEALTH, *ADMIN}
    for method in served:
        for key in (None, "", keys["shop"][:-1] + "-"):
            assert call(method, key)[0] is (Code.OK if method in HEALTH else Code.UNAUTHENTICATED), (method, key)
        if method in ADMIN:
            assert call(method, keys["shop"])[0] is Code.PERMISSION_DENIED
    assert call("ServerMetadata", keys["shop"])[0] is Code.OK
    assert call("ServerMetadata", **{"x-api-key": keys["shop"]})[0] is Code.OK


def test_a_key_that_is_used_too_often_is_told_when_to_come_again(call: Any, keys: dict[str, str]) -> None:
    assert call("ServerMetadata", keys["slow"])[0] is Code.OK
    code, trailers = call("ServerMetadata", keys["slow"])
    assert code is Code.RESOURCE_EXHAUSTED
    assert 3500 < int(trailers["retry-after"]) <= 3600


def test_a_call_leaves_one_line_and_nothing_of_what_it_brought(call: Any, keys: dict[str, str], tmp_path: Path) -> None:
    request = pb.ModelInferRequest(model_name="m", id="sam@home", raw_input_contents=[IMAGES.tobytes()])
    request.inputs.add(name="image", datatype="UINT8", shape=[2, 2, 2])
    assert call("ModelInfer", keys["shop"], request.SerializeToString(), **{"x-request-id": "one"})[0] is Code.OK
    request.model_name = "a\nb"
    assert call("ModelInfer", keys["shop"], request.SerializeToString())[0] is Code.NOT_FOUND
    assert call("ModelInfer", None, request.SerializeToString())[0] is Code.UNAUTHENTICATED
    lines: list[str] = []
    while len(lines) < 3:
        lines = (tmp_path / "log").read_text().splitlines()
    one, two, three = map(json.loads, lines)
    names = ("event", "request_id", "key", "method", "route", "model", "rows", "status", "level")
    assert [one[name] for name in names] == ["request", "one", "shop", "gRPC", "ModelInfer", "m", 2, "OK", "info"]
    assert one["bytes"] > 0
    assert (two["model"], two["status"], two["error"]) == ("a\nb", "NOT_FOUND", "NotFound")
    assert (three["status"], "model" in three, "key" in three) == ("UNAUTHENTICATED", False, False)
    assert not any(secret in "".join(lines) for secret in (*keys.values(), "sam@home", "213"))
