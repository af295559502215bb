"""A study that is killed or interrupted goes on where it was; one that ended measures nothing again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

FEATURES, CLASSES, ROWS, WIDTH = 16, 4, 2000, 512
PROGRAM = "from equipoise.cli.main import main; main()"
PATIENCE_S = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, another, and data."""
    import onnx
    from onnx import helper, numpy_helper

    folder = tmp_path_factory.mktemp("study")
    for name, seed in (("model", 0), ("other", 1)):
        rng = np.random.default_rng(seed)
        shapes = {"w0": (FEATURES, WIDTH), "w1": (WIDTH, WIDTH), "w2": (WIDTH, CLASSES)}
        weights = {key: rng.standard_normal(shape).astype(np.float32) / 8 for key, shape in shapes.items()}
        nodes = [
            helper.make_node("MatMul", ["x", "w0"], ["h0"]),
            helper.make_node("Relu", ["h0"], ["r0"]),
            helper.make_node("MatMul", ["r0", "w1"], ["h1"]),
            helper.make_node("MatMul", ["h1", "w2"], ["logits"]),
        ]
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", FEATURES])],
            [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", CLASSES])],
            [numpy_helper.from_array(value, key) for key, value in weights.items()],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(proto, folder / f"{name}.onnx")
    rng = np.random.default_rng(2)
    x = rng.standard_normal((ROWS, FEATURES)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, label=rng.integers(0, CLASSES, ROWS))
    np.savez(folder / "others.npz", x=x[::-1] + 1, label=rng.integers(0, CLASSES, ROWS))
    return folder


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "optimize", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    with start(folder, *arguments) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def journal(out: Path) -> list[str]:
    path = out / "study" / "journal.jsonl"
    return path.read_text().splitlines() if path.is_file() else []


def keys(lines: list[str]) -> list[str]:
    return [entry["key"] for line in lines if "key" in (entry := json.loads(line))]


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def killed(folder: Path) -> tuple[Path, list[str]]:
    """A study whose process was killed in the middle, and the journal it left; no child outlives it."""
    out = folder / "killed"
    arguments = ("model.onnx", "--data", "data.npz", "--budget", "12s", "--out", str(out))
    with start(folder, *arguments) as process:
        wait_until(lambda: len(keys(journal(out))) >= 4 and bool(children(process.pid)), "it had measured something")
        left_behind = children(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_S)
        wait_until(lambda: all(map(gone, left_behind)), "its children were gone")
    return out, journal(out)


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@pytest.fixture(scope="module")
def resumed(killed: tuple[Path, list[str]], folder: Path) -> tuple[Path, list[str]]:
    """The same study, gone on with to its end, and the journal as it was when it was killed."""
    out, before = killed
    code, printed, errors = run(folder, "--resume", str(out), "--json")
    assert code == 0, errors
    assert json.loads(printed)["decision"] in ("replace", "keep")
    return out, before


def test_after_kill_nothing_finished_is_measured_again(resumed: tuple[Path, list[str]]) -> None:
    out, before = resumed
    after = journal(out)
    whole = [line for line in before if line.endswith("}")]
    assert after[: len(whole)] == whole
    assert len(after) > len(whole)
    assert len(set(keys(after))) == len(keys(after))
    assert (out / "report.html").is_file()
    assert (out / "bundle" / "manifest.json").is_file()


def test_a_study_that_ended_measures_nothing_when_resumed(resumed: tuple[Path, list[str]], folder: Path) -> None:
    out, _ = resumed
    before, answer = journal(out), json.loads((out / "result.json").read_text())
    code, printed, errors = run(folder, "--resume", str(out), "--json")
    assert code == 0, errors
    assert journal(out) == before
    again = json.loads(printed)
    assert {key: again[key] for key in again if key != "wall_s"} == {
        key: answer[key] for key in answer if key != "wall_s"
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("other.onnx", "--data", "data.npz", "--budget", "12s"), "another brief"),
        (("model.onnx", "--data", "others.npz", "--budget", "12s"), "another brief"),
        (("model.onnx", "--data", "data.npz", "--budget", "12s", "--max-drop", "0.2"), "another brief"),
        (("--max-drop", "0.2"), "found max_drop beside it"),
    ],
)
def test_another_study_is_not_gone_on_with(
    resumed: tuple[Path, list[str]], folder: Path, arguments: tuple[str, ...], says: str
) -> None:
    out, _ = resumed
    before = journal(out), (out / "study" / "brief.json").read_bytes(), (out / "result.json").read_bytes()
    code, _, errors = run(folder, *arguments, "--quiet", "--resume", str(out))
    assert code == 2
    (line,) = errors.splitlines()
    assert says in line
    assert (journal(out), (out / "study" / "brief.json").read_bytes(), (out / "result.json").read_bytes()) == before


@pytest.mark.parametrize(("file", "what"), [("model.onnx", "model"), ("data.npz", "data")])
def test_a_file_that_changed_since_is_another_study(
    resumed: tuple[Path, list[str]], folder: Path, file: str, what: str
) -> None:
    out, _ = resumed
    content = (folder / file).read_bytes()
    try:
        (folder / file).write_bytes((folder / {"model": "other.onnx", "data": "others.npz"}[what]).read_bytes())
        code, _, errors = run(folder, "--quiet", "--resume", str(out))
        assert (code, f"another {what}" in errors, len(errors.splitlines())) == (2, True, 1)
        (folder / file).unlink()
        code, _, errors = run(folder, "--quiet", "--resume", str(out))
        assert (code, f"{file}: cannot be read" in errors, len(errors.splitlines())) == (2, True, 1)
    finally:
        (folder / file).write_bytes(content)


def test_an_interrupt_says_how_to_go_on(folder: Path) -> None:
    out = folder / "interrupted"
    with start(folder, "model.onnx", "--data", "data.npz", "--budget", "60s", "--out", str(out)) as process:
        wait_until(lambda: len(keys(journal(out))) >= 2, "it had begun")
        left_behind = children(process.pid)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == f"interrupted; go on with: equipoise optimize --resume {out}"
    assert "Traceback" not in errors
    wait_until(lambda: all(map(gone, left_behind)), "its children were gone")
    assert keys(journal(out))
