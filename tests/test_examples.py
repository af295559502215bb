"""Examples that make inputs: what they write is what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from equipoise.compress.conversion import check_conversion
from equipoise.core.profile import Settings
from equipoise.ingest.model import import_model
from equipoise.ingest.table import read_table
from equipoise.registry import runtimes
from equipoise.runtimes.openvino import OpenVino

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_the_tflite_file_answers_like_the_network_it_was_made_from(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / "tflite_digits.py"), "--out", str(tmp_path), "--budget", "12s"],
        capture_output=True,
        text=True,
        check=True,
    )
    said = re.search(r"accuracy (\S+) on ([\d,]+) rows", run.stdout)
    assert said is not None
    assert f"answers.csv: {int(said[2].replace(',', '')):,} answers" in run.stdout
    (tmp_path / "artifact").mkdir()
    import_model(tmp_path / "digits.tflite", False, tmp_path / "artifact", None)
    settings = Settings(runtime="openvino", precision="f32", threads=1, replicas=1, batch=1)
    session = OpenVino().open(tmp_path / "artifact", settings)
    with np.load(tmp_path / "digits.npz") as rows:
        image, label = rows["image"], rows["label"]
    answers = np.concatenate([session.run(session.prepare({"image": row[None]}))["probabilities"] for row in image])
    assert len(label) == int(said[2].replace(",", ""))
    # float32 here, float64 there: a row whose two best digits are alike may go the other way.
    assert abs(np.mean(answers.argmax(1) == label) - float(said[1])) <= 1 / len(label) + 1e-4


def test_the_torch_resnet_is_the_one_that_the_weights_were_trained_in(shared_data: Path, tmp_path: Path) -> None:
    files = shared_data / "cifar10"
    table = read_table(files / "test.npz").head(64)
    answers = []
    for name, state in ((f"{EXAMPLES}/cifar_resnet.py:resnet20", "resnet20-12fca82f.th"), ("resnet20.onnx", None)):
        folder = tmp_path / name.rpartition("/")[2]
        folder.mkdir()
        path = Path(name) if state else files / name
        model = import_model(path, False, folder, table, None if state is None else files / state)
        runtime = "torch" if state else "onnxruntime"
        settings = Settings(runtime=runtime, precision="f32", threads=1, replicas=1, batch=64)
        session = runtimes()[runtime].open(folder, settings)
        assert [each.name for each in (*model.spec.inputs, *model.spec.outputs)] == ["image", "logits"]
        answers.append(session.run(session.prepare(table.columns)))
    check_conversion(*answers, "exact")


@pytest.mark.slow
def test_the_torch_resnet_goes_from_its_weights_to_a_bundle(shared_data: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / "torch_resnet.py"), "--data", str(shared_data), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith(("Serve", "Keep"))
    assert "bundle: intact" in run.stdout
    assert "answers.csv: 2,000 answers" in run.stdout
