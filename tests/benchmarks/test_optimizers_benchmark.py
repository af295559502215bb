"""The contest of optimisers runs end to end on a small model of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

RUN = Path(__file__).resolve().parents[2] / "benchmarks" / "optimizers" / "run.py"
TOOLS = (
    "Equipoise",
    "the model as given",
    "ONNX Runtime dynamic",
    "ONNX Runtime static",
    "NNCF",
    "NNCF accuracy control",
)


def make_study(folder: Path, rows: int = 3000, features: int = 16, hidden: int = 64, classes: int = 4) -> None:
    """A perceptron with one hidden layer, and rows of which it gets nine in ten right."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    first = rng.standard_normal((features, hidden)).astype(np.float32) / 4
    second = rng.standard_normal((hidden, classes)).astype(np.float32) / 8
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "second"], ["logits"]),
        ],
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", features])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "perceptron.onnx"
    )
    x = rng.standard_normal((rows, features)).astype(np.float32)
    label = (np.maximum(x @ first, 0) @ second).argmax(axis=1)
    wrong = rng.random(rows) < 0.1
    label[wrong] = (label[wrong] + 1) % classes
    np.savez(folder / "rows.npz", x=x, label=label)


@pytest.mark.slow
def test_quick_contest_writes_every_competitor(tmp_path: Path) -> None:
    make_study(tmp_path)
    out = tmp_path / "out"
    ran = subprocess.run(
        [
            sys.executable, str(RUN), "--quick", "--out", str(out), "--max-drop", "0.05",
            "--model", str(tmp_path / "perceptron.onnx"), "--data", str(tmp_path / "rows.npz"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    rows = json.loads((out / "result.json").read_text())["cases"]["perceptron"]["rows"]

    assert {row["tool"] for row in rows} == set(TOOLS)
    table = [line for line in ran.stdout.splitlines() if line.startswith("| ")]
    assert all(any(line.startswith(f"| {tool} |") for line in table) for tool in TOOLS)
    assert "perceptron: ours is never dearer at equal certified quality:" in ran.stdout

    ours, given = rows[0], [row for row in rows if row["tool"] == "the model as given"]
    assert ours["tool"] == "Equipoise"
    assert ours["certified"]
    assert ours["cost_to_ours"]["value"] == 1
    assert [row["setting"] for row in given] == ["as the tool leaves it", "its own best settings"]
    for row in rows:  # whoever was timed was judged, and whoever was not says why
        timed = row["cost_to_ours"] is not None
        assert timed == (row["quality"] is not None)
        assert timed or row["note"]


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("")
    ran = subprocess.run(
        [sys.executable, str(RUN), "--out", str(tmp_path), "--model", "m.onnx", "--data", "d.npz"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "is not empty" in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
