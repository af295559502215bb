"""`equipoise serve` as a process: what it says, how it ends, and that no request is lost when it does."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from equipoise.cli.main import main
from equipoise.endpoint.keys import add_key, remove_key

Array = NDArray[Any]
PROGRAM = (sys.executable, "-c", "from equipoise.cli.main import main; main()")


def client(port: int, images: Sequence[Array], asked: list[int], answers: list[tuple[int, Any]]) -> None:
    """Ask on one connection after the other until the server says that it goes away, as a balancer would."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    number = 0
    while True:
        number = (number + 1) % len(images)
        asked.append(number)
        connection.request("POST", "/v1/predict/m", json.dumps({"rows": images[number].tolist(), "id": str(number)}))
        response = connection.getresponse()
        answers.append((response.status, json.loads(response.read())))
        if response.getheader("connection") == "close":
            connection.close()
            return


@pytest.mark.parametrize(
    ("number", "workers"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGTERM, 2), (signal.SIGINT, 2)]
)
def test_a_signal_under_load_loses_no_request(
    cascade: Callable[..., Any], serving: Any, number: signal.Signals, workers: int
) -> None:
    made = cascade(lanes=2)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (1 + place % 5, 2, 2), dtype=np.uint8) for place in range(16)]
    expected = [[code + 1 for code in made.expected(each)["equipoise_stage"]] for each in images]
    asked: list[list[int]] = [[] for _ in range(6)]
    answers: list[list[tuple[int, Any]]] = [[] for _ in range(6)]
    with serving(f"m={made.folder}", "--workers", str(workers)) as server:
        process, port = server.process, server.port
        assert server.said[0] == "serving m, version 1: cascade"
        children = psutil.Process(process.pid).children()
        assert len(children) == workers
        clients = [
            threading.Thread(target=client, args=(port, images, *mine)) for mine in zip(asked, answers, strict=True)
        ]
        for each in clients:
            each.start()
        while min(map(len, answers)) < 20:
            time.sleep(0.005)
        for each in (*children, process):  # as a terminal and some supervisors do
            each.send_signal(number)
        for each in clients:
            each.join()
        assert process.wait(60) == 0
        assert not psutil.wait_procs(children, 60)[1]
        assert "Traceback" not in server.errors.read_text()
    for mine, found in zip(asked, answers, strict=True):
        assert [(status, said.get("id")) for status, said in found] == [(200, str(place)) for place in mine]
        for place, (_, answer) in zip(mine, found, strict=True):
            assert [row["stage"] for row in answer["predictions"]] == expected[place]


def test_a_second_signal_ends_it_at_once(cascade: Callable[..., Any], serving: Any) -> None:
    with serving(str(cascade().folder), "--drain-s", "3600") as server:
        process, port = server.process, server.port
        process.send_signal(signal.SIGTERM)
        status = 200
        while status == 200:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/v2/health/ready")
            status = connection.getresponse().status
            connection.close()
        assert status == 503
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM


def test_bundles_of_one_name_are_its_versions(cascade: Callable[..., Any], serving: Any) -> None:
    made = cascade()
    with serving(f"m={made.folder}", f"m={made.folder}", str(made.folder)) as server:
        names = [line.split(":")[0] for line in server.said[:-1]]
        parent = made.folder.parent.name
        assert names == ["serving m, version 1", "serving m, version 2", f"serving {parent}, version 1"]
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/v2/models/m")
        assert json.loads(connection.getresponse().read())["versions"] == ["1", "2"]
        connection.close()


@pytest.mark.parametrize("arguments", [["nowhere"], [], ["--http", "x", "nowhere"], ["--http", "70000", "nowhere"]])
def test_what_cannot_be_served_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["equipoise", "serve", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_changed_bundle_is_refused(
    cascade: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cascade().folder
    (folder / "README.md").write_text("another card")
    monkeypatch.setattr(sys, "argv", ["equipoise", "serve", str(folder), "--http", "0"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "README.md" in capsys.readouterr().err


def test_without_its_extra_it_says_what_to_install(cascade: Callable[..., Any], tmp_path: Any) -> None:
    (tmp_path / "uvloop.py").write_text("raise ModuleNotFoundError('No module named uvloop', name='uvloop')\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [*PROGRAM, "serve", str(cascade().folder)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 2
    assert done.stderr.strip() == 'error: equipoise serve: uvloop is not installed; run: pip install "equipoise[serve]"'


def test_keys_come_and_go_and_its_log_says_what_happens_to_it(
    cascade: Callable[..., Any], serving: Any, tmp_path: Any
) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file, "shop", "infer", None)

    def ask(with_key: str | None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/v2", headers={} if with_key is None else {"authorization": f"Bearer {with_key}"})
        status = connection.getresponse().status
        connection.close()
        return status

    with serving(f"m={cascade().folder}", "--keys", str(file), "--drain-s", "0", "--log", "json") as server:
        assert (ask(None), ask(key)) == (401, 200)
        other = add_key(file, "other", "infer", None)
        while ask(other) == 401:
            time.sleep(0.05)
        remove_key(file, "shop")
        while ask(key) == 200:
            time.sleep(0.05)
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as broken:
            broken.sendall(b"no HTTP at all\r\n\r\n")
            assert broken.recv(100).startswith(b"HTTP/1.1 400")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        written = server.errors.read_text()
    lines = [json.loads(line) for line in written.splitlines()]
    events = [line["event"] for line in lines if line["event"] != "request"]
    assert (events[0], events[-2:]) == ("ready", ["stopping", "stopped"])
    messages = [line["message"] for line in lines if line["event"] == "message"]
    assert messages.count("read 2 keys again") == messages.count("read 1 keys again") == 1
    assert any("Invalid HTTP" in message for message in messages)
    assert {line.get("key") for line in lines if line["event"] == "request"} == {None, "shop", "other"}
    assert key not in written
    assert other not in written


def test_text_is_for_people_and_none_is_nothing(cascade: Callable[..., Any], serving: Any) -> None:
    folder = cascade().folder
    for form, words in (("text", ("ready url=http://127.0.0.1:", "stopping signal=SIGTERM", "stopped")), ("none", ())):
        with serving(str(folder), "--drain-s", "0", "--log", form) as server:
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(60) == 0
            lines = server.errors.read_text().splitlines()
        assert len(lines) == len(words)
        assert all(word in line for word, line in zip(words, lines, strict=True))
