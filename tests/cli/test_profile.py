"""`equipoise profile` as people run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.core.anatomy import Anatomy

WEIGHTS = np.ones((4, 3), np.float32)


def run(*arguments: Any, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "equipoise.cli.main", "profile", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_every_option_is_on_its_page():
    from equipoise.cli.profile import profile

    page = (Path(__file__).resolve().parents[2] / "docs" / "profile.md").read_text()
    options = [option for parameter in profile.params for option in parameter.opts if option.startswith("--")]
    assert len(options) > 10
    assert [option for option in options if f"`{option}" not in page] == []


@pytest.fixture
def model(tmp_path: Path, linear: Any) -> Path:
    return linear(tmp_path / "model", WEIGHTS) / "model.onnx"


def test_tables_on_the_terminal_and_figures_in_files(tmp_path, model, monkeypatch):
    monkeypatch.setenv("EQUIPOISE_STORE", f"sqlite:///{tmp_path / 'store.db'}")
    from equipoise.core.estimate import Estimate
    from equipoise.core.roofline import Roofline
    from equipoise.host.environment import environment
    from equipoise.store.rooflines import keep_roofline

    bandwidth = Estimate(value=1e10, low=None, high=None, n=1, method="")
    machine = environment().content_digest
    keep_roofline(Roofline(environment=machine, threads=1, peaks=(), bytes_per_s=bandwidth))
    done = run(model, "--batch", 3, "--threads", 1, "--seconds", 0.2, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "MatMul" in done.stdout
    assert "image uint8 [3, 2, 2] (random numbers)" in " ".join(done.stdout.split())
    assert "10 GB/s" in done.stdout
    found = Anatomy.model_validate_json((tmp_path / "out" / "anatomy.json").read_text())
    assert found.model == "model.onnx"
    assert found.flops == 2 * 3 * 4 * 3
    printed = run(model, "--threads", 1, "--seconds", 0.2, "--json")
    assert Anatomy.model_validate_json(printed.stdout).settings.batch == 1


def test_wrong_input_is_one_line_and_status_2(tmp_path, model):
    (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:40])
    (tmp_path / "model.pkl").write_bytes(b"cos\nsystem\n(S'touch it-was-run'\ntR.")
    (tmp_path / "text.txt").write_text("no model")
    for arguments in (
        ["cut.onnx"],
        ["model.pkl"],
        [model, "--shape", "picture=2,2"],
        [model, "--data", "text.txt"],
        [model, "--out", model, "--seconds", "0.1"],
        [model, "--faster"],
        [],
    ):
        done = run(*arguments, folder=tmp_path)
        assert done.returncode == 2, (arguments, done.stderr)
        if arguments:
            assert done.stderr.startswith("error: ")
            assert done.stderr.count("\n") == 1
    assert not (tmp_path / "it-was-run").exists()
