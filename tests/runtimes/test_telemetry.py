"""Nothing reports home: not ONNX Runtime, not OpenVINO, not NNCF."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CI_VARIABLES = {"CI", "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "TRAVIS", "JENKINS_URL"}

# Sockets that Python opens raise; native code's are seen by what it leaves in the home folder.
SCRIPT = """
import socket, sys
def forbidden(*arguments, **options):
    raise AssertionError("a connection was tried")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = forbidden

if sys.argv[2] == "silent":
    from equipoise.telemetry import silence
    silence()
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

weights = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "W"], ["y"])], "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
    [numpy_helper.from_array(weights, "W")],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), sys.argv[1])
onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
if sys.argv[2] == "silent":
    import nncf
    from nncf.telemetry.extractors import VerbatimTelemetryExtractor
    model = openvino.Core().read_model(sys.argv[1])
    nncf.quantize(model, nncf.Dataset([{"x": weights[:1]}]), subset_size=1)
    openvino.convert_model(sys.argv[1])
    assert "openvino_telemetry.main" not in sys.modules
"""


def left_in_home(tmp_path: Path, mode: str) -> list[str]:
    home = tmp_path / mode
    home.mkdir()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in CI_VARIABLES and not name.startswith(("XDG_", "ORT_"))
    } | {"HOME": str(home)}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "model.onnx"), mode]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def test_a_read_a_session_and_a_quantisation_leave_no_identifier_and_open_no_connection(tmp_path: Path) -> None:
    assert left_in_home(tmp_path, "silent") == []


@pytest.mark.skipif(sys.platform != "linux", reason="where ONNX Runtime keeps its device id was checked on Linux only")
def test_the_check_would_see_what_onnxruntime_does_when_nobody_stops_it(tmp_path: Path) -> None:
    from importlib.metadata import version

    if tuple(int(part) for part in version("onnxruntime").split(".")[:2]) < (1, 29):
        pytest.skip("ONNX Runtime before 1.29 sends nothing on Linux")
    assert any("onnxruntime" in path for path in left_in_home(tmp_path, "loud"))
