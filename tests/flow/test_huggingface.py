"""A Hugging Face folder and sentences, from the folder to a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from equipoise.core.result import Result
from equipoise.flow.api import optimize, predict
from equipoise.store.bundle import read_bundle
from sentencing import LABELS, sentences_file, vocabulary

torch = pytest.importorskip("torch", reason="needs the extra torch")
transformers = pytest.importorskip("transformers", reason="needs the extra huggingface")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "sst2_huggingface.py"


@pytest.mark.slow
def test_a_folder_becomes_a_bundle_that_reads_sentences(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=40, id2label=dict(enumerate(LABELS)),
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "model")
    vocabulary(tmp_path / "model" / "vocab.txt")
    data = sentences_file(tmp_path / "test.txt", 800)
    result = optimize(
        tmp_path / "model", data=data, metric="agreement", max_drop=0.1, budget="90s", out=tmp_path / "study"
    )
    assert isinstance(result, Result)
    assert result.padding is not None
    bundle = read_bundle(tmp_path / "study" / "bundle")
    assert bundle.labels == LABELS
    assert bundle.preprocessing is not None
    predict(tmp_path / "study" / "bundle", data=data, out=tmp_path / "answers.csv")
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 801


@pytest.mark.slow
def test_the_example_asks_a_server_what_predict_says(shared_data: Path, tmp_path: Path) -> None:
    if not (shared_data / "sst2").is_dir():
        pytest.skip(f"no SST-2 under {shared_data}")
    done = subprocess.run(
        [
            sys.executable, str(EXAMPLE), "--data", str(shared_data / "sst2"), "--out", str(tmp_path), "--rows", "600",
            "--epochs", "1", "--hidden", "32", "--budget", "90s", "--max-drop", "0.1",
        ],
        capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the server" in done.stdout
    settings = json.loads((tmp_path / "study" / "bundle" / "preprocess.json").read_text())
    assert (settings["tokenizer"], settings["max_length"]) == ("tokenizer.json", 128)
