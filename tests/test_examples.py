"""Examples that make inputs: what they write is what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from equipoise.core.profile import Settings
from equipoise.ingest.model import import_model
from equipoise.runtimes.openvino import OpenVino

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_the_tflite_file_answers_like_the_network_it_was_made_from(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / "tflite_digits.py"), "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    said = re.search(r"accuracy (\S+) on ([\d,]+) rows", run.stdout)
    assert said is not None
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
