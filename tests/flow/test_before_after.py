from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.core.profile import Settings
from equipoise.errors import EquipoiseError
from equipoise.flow.before_after import time_by_kind


def test_time_of_a_row_by_kind_in_each_runtime(tmp_path: Path, linear: Any) -> None:
    artifact = linear(tmp_path / "model", np.ones((4, 2048), np.float32))  # OpenVINO counts whole microseconds
    rows = {"image": np.ones((5, 2, 2), np.uint8)}
    kinds = {}
    for runtime in ("onnxruntime", "openvino"):
        settings = Settings(runtime=runtime, precision="f32", threads=1, replicas=1, batch=256)
        found = time_by_kind("it", settings, artifact, rows, tmp_path / "log")
        assert (found.label, found.runtime) == ("it", runtime)
        kinds[runtime] = {kind for kind, seconds in found.seconds_per_row if seconds > 0}
    assert "MatMul" in kinds["onnxruntime"]
    assert kinds["openvino"]


def test_what_cannot_be_timed_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    settings = Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=1, batch=1)
    with pytest.raises(EquipoiseError):
        time_by_kind("it", settings, tmp_path, {"x": np.ones((1, 2), np.float32)}, tmp_path / "log")
