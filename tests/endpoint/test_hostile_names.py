"""Names that look like paths, on every route: a real server opens no file because of them."""

from __future__ import annotations

import json
import os
import socket
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import equipoise

LISTENING = """
import os, sys
TOUCHES = ("open", "os.", "shutil.", "subprocess.", "pathlib.", "glob.", "tempfile.", "import", "exec")

def heard(event, arguments):
    if event.startswith(TOUCHES) and event not in ("os.fork", "os.putenv"):
        os.write({file}, (event + " " + repr(arguments[:1]) + "\\n").encode("utf-8", "backslashreplace"))

sys.addaudithook(heard)
from equipoise.cli.main import main
main()
"""
HARMLESS = (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), str(Path(equipoise.__file__).parent))


def names(canary: Path) -> list[str]:
    """Names as they stand in a path; each means the canary, or something else that is no model."""
    plain = str(canary)
    up = "../" * 12 + plain.lstrip("/")
    encoded = {text: text.replace("/", "%2F") for text in (plain, up)}
    return [
        encoded[plain], encoded[up], encoded[up].replace(".", "%2e"), encoded[up].replace("%2F", "%252F"),
        encoded[up].replace("%2F", "%5C"), f"{encoded[up]}%00", f"m%00{encoded[plain]}", f"m%2F..%2F{encoded[up]}",
        f"file:%2F%2F{encoded[plain]}", "..", ".", "%2e%2e", "%2F", "~", "~root", "%00", "%FF", "%0A", "m%2Fbundle",
        "m%20", "$HOME", "%24%28touch%20canary%29", "%7B%7B7*7%7D%7D", "CON", "a" * 5000, f"..;%2F{encoded[plain]}",
    ]  # fmt: skip


def asked(port: int, method: str, path: str, body: bytes) -> int:
    """The status of a response to a request that no client library would send."""
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(head.encode("latin-1") + body)
        received = b""
        while part := connection.recv(1 << 16):
            received += part
    return int(received.split(b" ", 2)[1])


def bodies(canary: Path) -> list[bytes]:
    """Bodies that name files, in the ways that servers of this protocol know."""
    overridden = {"config": "{}", f"file:{canary}": "aGVsbG8=", "file:../../x/model.onnx": "aGVsbG8="}
    return [
        b"",
        json.dumps({"parameters": overridden}).encode(),
        json.dumps({"id": str(canary), "inputs": [{"name": str(canary), "datatype": "UINT8", "shape": [1]}]}).encode(),
        json.dumps({"rows": [{str(canary): f"file://{canary}"}], "model": str(canary)}).encode(),
    ]


def touched(lines: Sequence[str]) -> list[str]:
    """What was done to files that are not the program's own."""
    return [line for line in lines if not any(place in line for place in (*HARMLESS, "'/proc/", "'/sys/", "'/dev/"))]


@pytest.fixture
def routes(cascade: Callable[..., Any], served: Any) -> list[tuple[str, str]]:
    with served([cascade().loaded], repository=object()) as server:
        return [(route.method, route.path) for route in server.rest.router.routes]


def test_no_name_reaches_the_file_system(
    cascade: Callable[..., Any], serving: Any, routes: list[tuple[str, str]], tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    canary.write_text("not yours")
    log = tmp_path / "touched"
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    program = (sys.executable, "-c", LISTENING.format(file=file))
    made = cascade()
    with serving(f"m={made.folder}", "--admin", program=program, pass_fds=[file]) as server:
        for method, path in routes:  # what is opened once, for whatever name, is opened now
            asked(server.port, method, path.replace("{model}", "m").replace("{version}", "1"), b"")
        asked(server.port, "POST", "/v2/repository/models/m/load", b"")
        before = log.read_text().splitlines()
        assert any(str(made.folder) in line for line in before)
        statuses = set()
        for method, path in routes:
            for name in names(canary) if "{" in path else [""]:
                hostile = path.replace("{model}", name).replace("{version}", name).replace("{region}", name)
                for body in bodies(canary) if method == "POST" else [b""]:
                    statuses.add(asked(server.port, method, hostile, body))
        assert not statuses & {500, 502, 503}, statuses
        after = log.read_text().splitlines()[len(before) :]
        assert asked(server.port, "GET", "/v2/health/ready", b"") == 200
    os.close(file)
    assert touched(before)  # it does hear what is opened
    assert touched(after) == []
    assert "canary" not in "".join(after)
