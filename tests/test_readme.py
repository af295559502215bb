"""What the README says to type is typed: every block of shell and Python is run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text()
NOT_HERE = ("make ", "pip install")
FEATURES, CLASSES, WIDTH, ROWS = 4, 4, 256, 2000
BUDGET = "10s"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the `model.onnx` and `test.npz` that the README speaks of."""
    import onnx
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    first = rng.standard_normal((FEATURES, WIDTH)).astype(np.float32)
    last = rng.standard_normal((WIDTH, CLASSES)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "last"], ["logits"]),
        ],
        "model",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(last, "last")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    x = rng.standard_normal((ROWS, FEATURES)).astype(np.float32)
    np.savez(tmp_path / "test.npz", x=x, label=(np.maximum(x @ first, 0) @ last).argmax(1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_is_something_to_type() -> None:
    assert any(command.startswith("make demo") for command in commands())
    assert any(command.startswith("equipoise optimize") for command in commands())
    assert any(command.startswith("equipoise serve") for command in commands())
    assert blocks("python")


def test_every_target_of_make_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)", README)) <= targets


def test_every_link_leads_to_a_file() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (REPOSITORY / target).exists(), target


class Background:
    """What the README starts and leaves running, at a free port in place of its own."""

    def __init__(self, program: str, words: list[str]) -> None:
        place = words.index("--http") + 1
        self._told, words = words[place].rsplit(":")[-1], [*words[:place], "0", *words[place + 1 :]]
        self._process = subprocess.Popen([program, *words], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._port = next(line for line in self._process.stdout if line.startswith("ready at")).strip().rsplit(":")[-1]

    def here(self, text: str) -> str:
        """A text with the port that it really has."""
        return re.sub(rf":{self._told}\b", f":{self._port}", text)

    def end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0
        assert self._process.stdout is not None
        self._process.stdout.close()


def asked_with_curl(words: list[str], server: Background) -> None:
    done = subprocess.run([server.here(word) for word in words], capture_output=True, text=True, check=True)
    predictions = json.loads(done.stdout)["predictions"]
    rows = json.loads(words[words.index("-d") + 1])
    assert len(predictions) == len(rows)
    assert all(set(one) >= {"label", "confidence"} for one in predictions)


def asked_with_triton(server: Background) -> None:
    (block,) = (block for block in blocks("python") if "tritonclient" in block)
    done = subprocess.run([sys.executable, "-c", server.here(block)], capture_output=True, text=True, check=True)
    assert "logits" in done.stdout


def test_the_commands_do_what_they_say(folder: Path, signed: Any) -> None:
    program = shutil.which("equipoise", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("the command `equipoise` is not installed beside this Python")
    if shutil.which("curl") is None:
        pytest.skip("the command `curl` is not installed")
    signed(folder, "server")
    with ExitStack() as running:
        server: Background | None = None
        for command in commands():
            if command.startswith(NOT_HERE):
                continue
            words = shlex.split(command)
            if words[0] == "curl":
                assert server is not None
                asked_with_curl(words, server)
                asked_with_triton(server)
                continue
            made = re.fullmatch(r"KEY=\$\((.*)\)", command)
            words = shlex.split(made[1] if made else command)
            assert words[0] == "equipoise"
            if words[1] == "serve":
                server = Background(program, words[1:])
                running.callback(server.end)
                continue
            budget = ["--budget", BUDGET] if words[1] == "optimize" else []
            done = subprocess.run([program, *words[1:], *budget], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert not made or re.fullmatch(r"\S{40,}\n", done.stdout)
        assert server is not None
    answer = json.loads((folder / "equipoise-model" / "result.json").read_text())
    assert answer["decision"] in ("replace", "keep")
    assert {"report.html", "bundle"} <= {path.name for path in (folder / "equipoise-model").iterdir()}


def test_the_python_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks("python"):
        if "tritonclient" in block:
            continue  # it needs a server: see above
        exec(compile(re.sub(r'budget="[^"]*"', f'budget="{BUDGET}"', block), "README.md", "exec"), {})
    assert "Serve" in (printed := capsys.readouterr().out) or "Keep" in printed
    assert len((folder / "answers.csv").read_text().splitlines()) == ROWS + 1
