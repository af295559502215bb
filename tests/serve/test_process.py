"""`equipoise serve` as a process: what it says, how it ends, and that no request is lost when it does."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.cli.main import main

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_no_request(
    cascade: Callable[..., Any], serving: Any, number: signal.Signals
) -> None:
    made = cascade(lanes=2)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (1 + place % 5, 2, 2), dtype=np.uint8) for place in range(16)]
    expected = [[code + 1 for code in made.expected(each)["equipoise_stage"]] for each in images]
    asked: list[list[int]] = [[] for _ in range(6)]
    answers: list[list[tuple[int, Any]]] = [[] for _ in range(6)]
    with serving(f"m={made.folder}") as server:
        process, port = server.process, server.port
        assert server.said[0] == "serving m, version 1: cascade"
        clients = [
            threading.Thread(target=client, args=(port, images, *mine)) for mine in zip(asked, answers, strict=True)
        ]
        for each in clients:
            each.start()
        while min(map(len, answers)) < 20:
            time.sleep(0.005)
        process.send_signal(number)
        for each in clients:
            each.join()
        assert process.wait(60) == 0
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
