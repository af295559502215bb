"""Who is let in, over real sockets: no route but health answers without a key, and each request leaves one line."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.endpoint.gate import Gate as KeyGate
from equipoise.endpoint.gate import KeyFile
from equipoise.endpoint.http import Limits
from equipoise.endpoint.keys import add_key
from equipoise.endpoint.logs import Log
from equipoise.errors import StageFailed

HEALTH = {("GET", "/v2/health/live"), ("GET", "/v2/health/ready")}
INFER = "/v2/models/m/infer"
IMAGES = np.array([[[7, 77], [177, 213]]] * 2, np.uint8)
BODY = {
    "id": "sam@home",
    "inputs": [{"name": "image", "datatype": "UINT8", "shape": [2, 2, 2], "data": IMAGES.ravel().tolist()}],
}


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.002)


class Models:
    """A repository that notes what it is asked to do."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def index(self) -> list[Any]:
        return []

    async def load(self, name: str) -> None:
        self.asked.append(f"load {name}")

    async def unload(self, name: str) -> None:
        self.asked.append(f"unload {name}")


@dataclass(frozen=True)
class Guarded:
    """A server with keys, the keys, what its repository was asked to do, and its log."""

    server: Any
    keys: dict[str, str]
    models: Models
    log: Log
    log_path: Path

    def ask(self, method: str, path: str, key: str | None = None, body: Any = None, **headers: str) -> Any:
        """Status, body and headers of a response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()

    def lines(self, count: int) -> list[dict[str, Any]]:
        """What was logged, once there is so much of it: a line is written when its response is on its way."""
        while self.log_path.read_bytes().count(b"\n") < count:
            time.sleep(0.01)
        self.log.close()
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]


@pytest.fixture
def guarded(tmp_path: Path, cascade: Callable[..., Any], served: Any) -> Iterator[Guarded]:
    path, log_path = tmp_path / "keys.json", tmp_path / "log"
    keys = {
        "shop": add_key(path, "shop", "infer", None),
        "operator": add_key(path, "operator", "admin", None),
        "slow": add_key(path, "slow", "infer", "1/h"),
    }
    file = os.open(log_path, os.O_WRONLY | os.O_CREAT)
    log = Log("json", file)
    models = Models()
    made = cascade()
    gate = KeyGate(KeyFile(path), admin=True)
    with served([made.loaded], gate=gate, log=log, repository=models) as server:
        yield Guarded(server, keys, models, log, log_path)
    log.close()
    os.close(file)


def paths_of(guarded: Guarded) -> list[tuple[str, str, str | None]]:
    return [
        (route.method, route.path.replace("{model}", "m").replace("{version}", "1"), route.role)
        for route in guarded.server.rest.router.routes
    ]


def test_no_route_but_health_answers_without_a_key(guarded: Guarded) -> None:
    found = paths_of(guarded)
    assert {(method, path) for method, path, role in found if role is None} == HEALTH
    assert len(found) > 20
    assert ("GET", "/metrics", "infer") in found
    wrong = guarded.keys["shop"][:-1] + "-"
    for method, path, role in found:
        for key in (None, "", wrong):
            for asked in (path, path + "?key=1", path + "/"):
                status, body, headers = guarded.ask(method, asked, key)
                if role is None:
                    assert status == 200
                    continue
                assert (status, list(json.loads(body))) == (401, ["error"]), (method, asked, key)
                assert headers["www-authenticate"].startswith("Bearer")
    assert guarded.models.asked == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v3"),
        ("PUT", "/v2"),
        ("POST", "/v2/health/live"),
        ("GET", "/v2/models//"),
        ("HEAD", "/v2"),
    ],
)
def test_who_has_no_key_does_not_learn_what_is_there(guarded: Guarded, method: str, path: str) -> None:
    assert guarded.ask(method, path)[0] == 401
    assert guarded.ask(method, path, guarded.keys["shop"])[0] in (404, 405)


def test_what_stands_in_a_head_cannot_pass_for_a_key(guarded: Guarded) -> None:
    key = guarded.keys["shop"]
    for headers in (
        {"cookie": f"authorization=Bearer {key}"},
        {"authorization": f"Basic {key}"},
        {"authorization": key},
        {"authorization": f"Bearer {key}, Bearer {key}"},
        {"proxy-authorization": f"Bearer {key}"},
        {"x-forwarded-for": "127.0.0.1"},
    ):
        assert guarded.ask("GET", f"/v2?authorization=Bearer%20{key}", **headers)[0] == 401
    for headers in ({"authorization": f"bearer  {key} "}, {"x-api-key": key}):
        assert guarded.ask("GET", "/v2", **headers)[0] == 200


def test_roles(guarded: Guarded) -> None:
    shop, operator = guarded.keys["shop"], guarded.keys["operator"]
    for method, path, role in paths_of(guarded):
        if role == "admin":
            status, body, _ = guarded.ask(method, path, shop)
            assert (status, "role admin" in json.loads(body)["error"]) == (403, True), path
    assert guarded.models.asked == []
    assert guarded.ask("POST", "/v2/repository/models/m/load", operator)[0] == 200
    assert guarded.ask("POST", "/v2/repository/models/m/unload", operator)[0] == 200
    assert guarded.models.asked == ["load m", "unload m"]
    for key in (shop, operator):
        assert guarded.ask("POST", INFER, key, BODY)[0] == 200


def test_a_key_that_is_used_too_often_is_told_when_to_come_again(guarded: Guarded) -> None:
    slow = guarded.keys["slow"]
    assert guarded.ask("GET", "/v2", slow)[0] == 200
    for path in ("/v2", "/nowhere", "/v2/repository/index"):
        status, body, headers = guarded.ask("GET", path, slow)
        assert (status, list(json.loads(body))) == (429, ["error"])
        assert 3500 < int(headers["retry-after"]) <= 3600
    assert guarded.ask("GET", "/v2/health/live", slow)[0] == 200


def test_a_large_body_of_somebody_who_is_not_let_in_is_not_waited_for(guarded: Guarded) -> None:
    for told in ("content-length: 100000", "transfer-encoding: chunked"):
        head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\n{told}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", guarded.server.port), timeout=60) as stranger:
            stranger.sendall(head)
            response = http.client.HTTPResponse(stranger)
            response.begin()
            assert (response.status, response.getheader("connection")) == (401, "close")
            response.read()
            assert stranger.recv(1) == b""
    assert "connection" not in guarded.ask("POST", INFER, None, BODY)[2]


def test_without_keys_nothing_is_changed_unless_it_was_allowed_and_never_by_a_web_page(
    cascade: Callable[..., Any], served: Any
) -> None:
    loaded = cascade().loaded
    models = Models()
    with served([loaded], repository=models) as server:
        status, said, _ = server.ask("POST", "/v2/repository/models/m/unload")
        assert (status, "--admin" in said["error"]) == (403, True)
        assert server.ask("GET", "/v2/models/m")[0] == 200
    with served([loaded], repository=models, gate=KeyGate(admin=True)) as server:
        path = "/v2/repository/models/m/unload"
        assert server.ask("POST", path, headers={"origin": "http://evil.example"})[0] == 403
        assert server.ask("POST", path, headers={"origin": "null"})[0] == 403
        assert models.asked == []
        assert server.ask("POST", path)[0] == 200
        assert models.asked == ["unload m"]


def test_a_request_leaves_one_line_and_nothing_of_what_it_brought(guarded: Guarded) -> None:
    shop = guarded.keys["shop"]
    asked = [
        guarded.ask("POST", INFER, shop, BODY, **{"x-request-id": "one"}),
        guarded.ask("POST", "/v1/predict/m", shop, {"rows": IMAGES.tolist()}, **{"x-request-id": "two"}),
        guarded.ask("POST", INFER, shop, BODY | {"inputs": ["sam@home"]}, **{"x-request-id": "three"}),
        guarded.ask("GET", "/v2/models/a%0Ab%22", shop, **{"x-request-id": "four"}),
        guarded.ask("GET", "/sam@home", shop, **{"x-request-id": "five"}),
        guarded.ask("POST", INFER, "sam@home", BODY, **{"x-request-id": "six"}),
    ]
    lines = guarded.lines(len(asked))
    assert [(line["event"], line["request_id"]) for line in lines] == [
        ("request", name) for name in ("one", "two", "three", "four", "five", "six")
    ]
    for line, (status, body, headers) in zip(lines, asked, strict=True):
        assert (line["status"], line["bytes"]) == (status, len(body))
        assert line["request_id"] == headers["x-request-id"]
        assert line["seconds"] > 0
    one, two, three, four, five, six = lines
    for line, route in ((one, "/v2/models/{model}/infer"), (two, "/v1/predict/{model}")):
        found = {name: line[name] for name in ("key", "method", "route", "model", "version", "rows", "level")}
        assert found == {
            "key": "shop", "method": "POST", "route": route, "model": "m", "version": "1", "rows": 2, "level": "info",
        }  # fmt: skip
    assert (three["error"], three["status"], "rows" in three) == ("BadRequest", 400, False)
    assert (four["model"], four["error"]) == ('a\nb"', "NotFound")
    assert ("route" in five, five["key"], five["status"]) == (False, "shop", 404)
    assert ("key" in six, six["error"]) == (False, "Unauthorized")
    assert len(guarded.log_path.read_text().splitlines()) == len(lines)
    said = json.dumps([{name: line[name] for name in line if name not in ("time", "seconds")} for line in lines])
    for secret in (*guarded.keys.values(), "sam@home", "213", "logits"):
        assert secret not in said


def test_what_fails_in_a_model_is_told_with_its_place_and_without_its_words(
    cascade: Callable[..., Any], gate: Any, serving: Any, served: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def full(images: Any) -> bool:
        raise MemoryError("cannot compute this")

    gate.open.set()
    gate.raises_on = full
    with served([cascade().gated(0, gate)]) as server:
        status, said, headers = server.ask("POST", INFER, BODY)
        assert (status, "cannot compute" in said["error"]) == (500, True)
    (record,) = [record for record in caplog.records if record.name == "equipoise.endpoint.failures"]
    assert record.fields == {"request_id": headers["x-request-id"]}  # type: ignore[attr-defined]
    assert record.exc_info is not None
    assert not isinstance(record.exc_info[1], StageFailed)
    assert "cannot compute" not in record.getMessage()


def test_bodies_that_are_on_their_way_share_one_room(cascade: Callable[..., Any], served: Any) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 199000\r\n\r\n".encode()
    limits = Limits(body_bytes=200_000, together_bytes=300_000)
    with served([cascade().loaded], limits) as server:

        def start(size: int) -> socket.socket:
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
            connection.sendall(head + b" " * size)
            return connection

        with start(198_000) as first:
            wait_until(lambda: server.rest.room.free_bytes == 300_000 - 198_000)
            with start(300_000 - 198_000 + 1) as second:
                response = http.client.HTTPResponse(second)
                response.begin()
                assert (response.status, response.getheader("connection")) == (503, "close")
                assert "300,000 bytes" in json.loads(response.read())["error"]
            assert server.ask("POST", INFER, BODY)[0] == 200
            first.sendall(b" " * 1000)
            response = http.client.HTTPResponse(first)
            response.begin()
            assert response.status == 400
        with start(100_000):
            wait_until(lambda: server.rest.room.free_bytes < 300_000)
        wait_until(lambda: server.rest.room.free_bytes == 300_000)
