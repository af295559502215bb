"""An OpenVINO IR of one batch size under study, a TensorFlow Lite model beside it, from files to a served bundle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from equipoise.core.result import Result
from equipoise.execute.predict_file import predict_file
from equipoise.execute.verify import verify_bundle
from equipoise.flow.optimize import optimize_from
from equipoise.store.bundle import read_bundle

FEATURES, CLASSES = 16, 4


@pytest.fixture(scope="module")
def files(inputs: Path, tmp_path_factory: pytest.TempPathFactory, tflite_writer: Any) -> Path:
    folder = tmp_path_factory.mktemp("files")
    large = openvino.Core().read_model(inputs / "large.onnx")
    large.reshape([1, FEATURES])
    openvino.save_model(large, folder / "large.xml", compress_to_fp16=False)
    writer = tflite_writer()
    x = writer.input("x", (1, FEATURES))
    logits = writer.dense(x, np.eye(CLASSES, FEATURES), np.zeros(CLASSES), name="logits")
    (folder / "small.tflite").write_bytes(writer.content([logits]))
    return folder


@pytest.fixture(scope="module")
def answer(files: Path, inputs: Path) -> tuple[Result, Path]:
    options = {
        "data": str(inputs / "test.npz"),
        "alternative": [str(files / "small.tflite")],
        "max_drop": 0.02,
        "budget": "15s",
    }
    return optimize_from(files / "large.xml", options, out=files / "out")


def test_the_baseline_is_the_ir_in_float32_one_row_at_a_time(answer: tuple[Result, Path]) -> None:
    baseline = answer[0].baseline
    assert (baseline.runtime, baseline.precision, baseline.batch) == ("openvino", "f32", 1)
    assert baseline.recipe.is_original
    assert any("batches of 1 only" in warning for warning in answer[0].warnings)


def test_a_form_that_takes_any_batch_or_the_small_model_is_served(answer: tuple[Result, Path]) -> None:
    result, folder = answer
    assert result.decision == "replace"
    assert result.chosen is not None
    assert result.certificate is not None
    assert result.certificate.passed
    tried = {result.chosen.name, *(each.name for each in (*result.frontier, *result.rejected))}
    assert any("free_batch" in name for name in tried)
    assert any("small.tflite" in name for name in tried)
    assert verify_bundle(folder / "bundle").ok


def test_the_bundle_answers_like_the_model_that_was_given(
    answer: tuple[Result, Path], files: Path, inputs: Path
) -> None:
    predict_file(read_bundle(answer[1] / "bundle"), inputs / "test.npz", files / "out.npz")
    with np.load(inputs / "test.npz") as rows, np.load(files / "out.npz") as answers:
        x, label = rows["x"], answers["label"]
    assert np.mean(label.astype(int) == x[:, :CLASSES].argmax(1)) > 0.97


def test_a_tflite_file_can_be_served_as_it_is(files: Path, inputs: Path, bundled: Any, tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    shutil.copyfile(files / "small.tflite", tmp_path / "artifact" / "model.tflite")
    with np.load(inputs / "few.npz") as rows:
        x = rows["x"]
    bundle = bundled(
        tmp_path / "bundle", tmp_path / "artifact", {"x": x[:5]}, runtime="openvino", kind="tflite", batch=1
    )
    assert verify_bundle(bundle).ok
    predict_file(read_bundle(bundle), inputs / "few.npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as answers:
        np.testing.assert_array_equal(answers["label"].astype(int), x[:, :CLASSES].argmax(1))
