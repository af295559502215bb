"""The shapes that engines are compared on compute something, and torch computes the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ENGINES = Path(__file__).resolve().parents[2] / "benchmarks" / "engines"
WEIGHTS = {"resnet50": 25.5, "mobilenet-v2": 3.5, "efficientnet-b0": 5.3}
"""Millions, as their papers have them."""


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ENGINES))
    import shapes

    return shapes


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet-v2",
        "bert-base",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet50", "efficientnet-b0")),
    ],
)
def test_a_shape_answers_by_what_it_is_given_and_torch_answers_alike(shapes: Any, name: str) -> None:
    import onnxruntime

    shape = shapes.SHAPES[name]
    model, rows = shape.model(True), shape.rows(4, True)
    weights = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer) / 1e6
    assert name not in WEIGHTS or weights == pytest.approx(WEIGHTS[name], abs=0.06)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    expected = session.run(None, rows)[0]
    assert expected.std(axis=0).mean() > 0.05 * expected.std()  # rows differ, and not by their rounding alone

    torch = pytest.importorskip("torch", reason="torch is not installed")
    from torch_form import OnnxModule

    with torch.no_grad():
        found = OnnxModule(model).eval()(**{name: torch.from_numpy(array) for name, array in rows.items()})
    assert found["logits"].numpy() == pytest.approx(expected, abs=1e-4 * float(np.abs(expected).max()))


@pytest.mark.slow
def test_quick_contest_times_every_engine(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, str(ENGINES / "run.py"), "--quick", "--shape", "bert-base", "--out", str(out)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "AMX" in ran.stdout
    report = json.loads((out / "result.json").read_text())
    rows = report["shapes"]["bert-base"]["rows"]
    assert {row["tool"] for row in rows} >= {
        "Equipoise", "the model as given", "NNCF", "ONNX Runtime static", "ONNX Runtime dynamic",
    }  # fmt: skip
    assert report["shapes"]["bert-base"]["ratio_tuned"]["value"] > 0
