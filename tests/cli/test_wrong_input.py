"""Wrong input through the real command line: one clear line, exit status 2, no traceback, nothing left behind."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Edit = Callable[[Path], None]
FEATURES, CLASSES, ROWS = 4, 3, 60
X = np.random.default_rng(0).standard_normal((ROWS, FEATURES)).astype(np.float32)
LABEL = np.arange(ROWS) % CLASSES
GOOD = ["--data", "data.npz", "--budget", "10s"]
OWN = """def raises(outputs, targets):
    raise KeyError("logit")


def short(outputs, targets):
    return [1.0]
"""


# --- files ----------------------------------------------------------------------------------------------------------


def onnx_model(path: Path, *, opset: int = 17, dims: list[int] | None = None, location: str | None = None) -> None:
    """A linear classifier; its weights may claim to be large, or to lie in another file."""
    import onnx
    from onnx import helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((FEATURES, CLASSES), np.float32), "w")
    if dims is not None:
        weights.dims[:] = dims
    if location is not None:
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", str(FEATURES * CLASSES * 4))):
            weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "linear",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", CLASSES])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def model(**changes: Any) -> Edit:
    return lambda folder: onnx_model(folder / "bad.onnx", **changes)


def data(**arrays: Any) -> Edit:
    return lambda folder: np.savez(folder / "bad.npz", **arrays)


def text(name: str, content: str | bytes) -> Edit:
    return lambda folder: (
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content) and None
    )


def truncated(folder: Path) -> None:
    content = (folder / "model.onnx").read_bytes()
    (folder / "bad.onnx").write_bytes(content[: len(content) // 2])


def reaching_out(folder: Path) -> None:
    onnx_model(folder / "bad.onnx", location="../outside.bin")
    (folder.parent / "outside.bin").write_bytes(bytes(FEATURES * CLASSES * 4))


class _Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("it-was-run"),))


def bomb(folder: Path) -> None:
    (folder / "bad.pkl").write_bytes(pickle.dumps(_Bomb()))


def nan_target(folder: Path) -> None:
    np.savez(folder / "bad.npz", x=X, label=np.where(np.arange(ROWS) == 7, np.nan, LABEL))


def table_model(folder: Path) -> None:
    """A pipeline that rejects missing values, and a table that has one."""
    import pandas as pd
    import skops.io
    from sklearn.linear_model import LogisticRegression

    frame = pd.DataFrame(X, columns=list("abcd"))
    skops.io.dump(LogisticRegression().fit(frame, LABEL), folder / "table.skops")
    frame.loc[5, "b"] = np.nan
    frame.assign(label=LABEL).to_csv(folder / "bad.csv", index=False)


def untrusted(folder: Path) -> None:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    skops.io.dump(FunctionTransformer(subprocess.getoutput), folder / "bad.skops")


# --- what is wrong, how it is asked for, and what the line must say -------------------------------------------------

OPTIONS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "no command": (["optimise"], ("optimise",)),
    "no source": (["optimize"], ("SOURCE", "needed a model")),
    "unknown option": (["optimize", "model.onnx", *GOOD, "--max-dorp", "0.1"], ("--max-dorp", "--max-drop")),
    "an option without value": (["optimize", "model.onnx", "--data"], ("--data",)),
    "two models": (["optimize", "model.onnx", "other.onnx", *GOOD], ("other.onnx",)),
    "no data": (["optimize", "model.onnx"], ("--data", "found nothing")),
    "no such model": (["optimize", "gone.onnx", *GOOD], ("gone.onnx", "check the path")),
    "no such data": (["optimize", "model.onnx", "--data", "gone.npz"], ("--data", "gone.npz")),
    "a folder for the data": (["optimize", "model.onnx", "--data", "."], ("--data", "a folder")),
    "another kind of model": (["optimize", "model.pt", *GOOD], ("model.pt", ".onnx, .xml")),
    "another kind of data": (["optimize", "model.onnx", "--data", "model.pt"], (".npz, .csv, .parquet",)),
    "a drop of 100 points": (
        ["optimize", "model.onnx", *GOOD, "--max-drop", "1"],
        ("--max-drop", "1 means 100 points; did you mean 0.01?"),
    ),
    "a drop that is no number": (["optimize", "model.onnx", *GOOD, "--max-drop", "few"], ("--max-drop", '"few"')),
    "a floor in points": (["optimize", "model.onnx", *GOOD, "--floor", "80"], ("--floor", "found 80", "such as 0.8")),
    "distrust without a floor": (
        ["optimize", "model.onnx", *GOOD, "--distrust", "refer"],
        ("--distrust", "no floor", "--floor"),
    ),
    "a trust that nothing uses": (
        ["optimize", "model.onnx", *GOOD, "--floor", "0.5", "--distrust-below", "0.5"],
        ("--distrust-below", "--distrust"),
    ),
    "a default that is no class": (
        ["optimize", "model.onnx", *GOOD, "--floor", "0.5", "--distrust", "default", "--distrust-default", "zebra"],
        ("--distrust-default", "'zebra'", "0, 1, 2"),
    ),
    "a share of repeats above one": (
        ["optimize", "model.onnx", *GOOD, "--repeat-share", "1.2"],
        ("--repeat-share", "between 0 and 1"),
    ),
    "a negative drop": (["optimize", "model.onnx", *GOOD, "--max-drop", "-1"], ("--max-drop", "0 or more")),
    "unknown metric": (["optimize", "model.onnx", *GOOD, "--metric", "acuracy"], ("did you mean accuracy",)),
    "corruption that nobody judges": (
        ["optimize", "model.onnx", *GOOD, "--metric", "none", "--corrupt", "missing_values"],
        ("--corrupt", "needed a metric"),
    ),
    "certainty": (["optimize", "model.onnx", *GOOD, "--confidence", "1"], ("--confidence", "below 1")),
    "no time": (["optimize", "model.onnx", *GOOD, "--p99-ms", "0"], ("--p99-ms", "above 0, in milliseconds")),
    "no memory": (["optimize", "model.onnx", *GOOD, "--memory-mb", "-5"], ("--memory-mb", "-5")),
    "too small a budget": (["optimize", "model.onnx", "--data", "data.npz", "--budget", "2s"], ("at least 10 s",)),
    "two prices": (
        ["optimize", "model.onnx", *GOOD, "--price", "1", "--instance", "aws:c7i.large"],
        ("--price and --instance", "at most one"),
    ),
    "unknown instance": (["optimize", "model.onnx", *GOOD, "--instance", "aws:c99.huge"], ("aws:c99.huge", "prices")),
    "rate and trace": (
        ["optimize", "model.onnx", *GOOD, "--rate", "9", "--trace", "trace.csv"],
        ("--rate and --trace", "needed one"),
    ),
    "a slice without drop": (["optimize", "model.onnx", *GOOD, "--slice", "sex"], ("--slice", "COL:max_drop")),
    "a set that is not there": (["optimize", "model.onnx", *GOOD, "--ood", "w=gone.npz:0.1"], ("--ood w", "no file")),
    "half a machine": (["optimize", "model.onnx", *GOOD, "--owned", "1,2"], ("--owned", "capex_usd")),
    "a folder that is taken": (["optimize", "model.onnx", *GOOD, "--out", "taken"], ("--out taken", "not empty")),
    "a folder below a file": (["optimize", "model.onnx", *GOOD, "--out", "data.npz/out"], ("data.npz/out",)),
    "nothing to resume": (["optimize", "--resume", "taken"], ("--resume taken", "holds no study")),
    "resume and out": (["optimize", "--resume", "taken", "--out", "new"], ("--out and --resume", "needed one")),
    "no brief": (["optimize", "gone.toml"], ("gone.toml", "equipoise init")),
    "a brief that is there": (["init", "trace.csv"], ("trace.csv", "already there")),
    "no bundle to verify": (["verify", "taken"], ("taken", "manifest.json")),
    "no bundle to check": (["check", "taken", "--data", "data.npz"], ("taken", "manifest.json")),
    "new rows of a set without a name": (
        ["check", "taken", "--data", "data.npz", "--ood", "w.npz"],
        ("--ood", "NAME=PATH"),
    ),
    "a use of data that is none": (["optimize", "model.onnx", *GOOD, "--data-use", "some"], ("--data-use", "some")),
    "no bundle to predict": (["predict", "gone", "--data", "data.npz", "--out", "a.csv"], ("gone",)),
    "no prices": (["prices", "import", "gone.csv"], ("gone.csv",)),
    "no such schema": (["schema", "model"], ("brief", "result")),
}

FILES: dict[str, tuple[Edit, list[str], tuple[str, ...]]] = {
    "a key that is unknown": (
        text("brief.toml", '[model]\npath="model.onnx"\n[data]\npath="data.npz"\n[quality]\nmax_dorp=1'),
        ["brief.toml"],
        ("brief.toml: quality.max_dorp", "did you mean quality.max_drop"),
    ),
    "a brief that is no TOML": (text("brief.toml", "[model\n"), ["brief.toml"], ("not valid TOML", "line 1")),
    # hostile and damaged models
    "weights outside the folder": (reaching_out, ["bad.onnx", *GOOD], ("bad.onnx", "../outside.bin")),
    "weights at an absolute path": (model(location="/etc/hostname"), ["bad.onnx", *GOOD], ("/etc/hostname",)),
    "weights that are not there": (model(location="gone.bin"), ["bad.onnx", *GOOD], ("bad.onnx", "gone.bin")),
    "half a model": (truncated, ["bad.onnx", *GOOD], ("bad.onnx", "ONNX")),
    "an opset of the future": (model(opset=99), ["bad.onnx", *GOOD], ("bad.onnx", "99")),
    "an opset of the past": (model(opset=3), ["bad.onnx", *GOOD], ("bad.onnx", "operator set 3")),
    "weights that claim a terabyte": (model(dims=[10**6, 10**6]), ["bad.onnx", *GOOD], ("bad.onnx", "'w'")),
    "an empty model": (text("bad.onnx", b""), ["bad.onnx", *GOOD], ("bad.onnx", "0 bytes")),
    "a picture for a model": (text("bad.onnx", b"GIF89a and more"), ["bad.onnx", *GOOD], ("bad.onnx", "ONNX")),
    "a pickle": (bomb, ["bad.pkl", *GOOD], ("bad.pkl", "can run any code", "--trust")),
    "a pickle for an alternative": (bomb, ["model.onnx", *GOOD, "--alternative", "bad.pkl"], ("bad.pkl", "--trust")),
    "a function in skops": (untrusted, ["bad.skops", *GOOD], ("bad.skops", "getoutput")),
    "no zip for skops": (text("bad.skops", b"nothing"), ["bad.skops", *GOOD], ("bad.skops",)),
    # data
    "empty data": (text("bad.npz", b""), ["model.onnx", "--data", "bad.npz"], ("bad.npz", "0 bytes")),
    "no rows": (data(x=X[:0], label=LABEL[:0]), ["model.onnx", "--data", "bad.npz"], ("bad.npz", "no rows")),
    "half an archive": (text("bad.npz", b"PK\x03\x04"), ["model.onnx", "--data", "bad.npz"], ("bad.npz", "complete")),
    "objects": (
        data(x=np.array([[1], [1, 2]], dtype=object), label=LABEL[:2]),
        ["model.onnx", "--data", "bad.npz"],
        ("'x'", "Python objects"),
    ),
    "ragged lengths": (
        data(x=X, label=LABEL[:-1]), ["model.onnx", "--data", "bad.npz"], ("bad.npz", "x 60, label 59"),
    ),
    "a column too many": (
        data(x=np.ones((ROWS, 5)), label=LABEL), ["model.onnx", "--data", "bad.npz"], ("'x'", "[5]", "[4]"),
    ),
    "a missing input": (
        data(y1=X, y2=X, label=LABEL), ["model.onnx", "--data", "bad.npz"], ("no array 'x'", "y1, y2, label"),
    ),
    "words for numbers": (
        data(x=X.astype(str), label=LABEL), ["model.onnx", "--data", "bad.npz"], ("'x' holds text", "float32"),
    ),
    "a missing target": (
        data(x=X), ["model.onnx", "--data", "bad.npz", "--metric", "accuracy"], ("label or y", "--target"),
    ),
    "a target of another name": (lambda _: None, ["model.onnx", *GOOD, "--target", "truth"], ("'truth'", "x, label")),
    "no number in the target": (nan_target, ["model.onnx", "--data", "bad.npz"], ("'label'", "row 8")),
    "a class too many": (
        data(x=X, label=np.arange(ROWS) % 4), ["model.onnx", "--data", "bad.npz"], ("classes [3]", "[0, 1, 2]"),
    ),
    "no such slice": (lambda _: None, ["model.onnx", *GOOD, "--slice", "sex:0.1"], ("'sex'", "x, label")),
    "no such group": (lambda _: None, ["model.onnx", *GOOD, "--group", "patient"], ("'patient'", "x, label")),
    "no such output": (lambda _: None, ["model.onnx", *GOOD, "--output", "probs"], ("--output", "logits")),
    "no such class": (
        lambda _: None,
        ["model.onnx", *GOOD, "--metric", "f1_binary", "--positive-class", "yes"],
        ("--positive-class", "'yes'"),
    ),
    "all rows alike": (data(x=X * 0, label=LABEL), ["model.onnx", "--data", "bad.npz"], ("60 of 60 rows",)),
    "a hole that the model rejects": (
        table_model, ["table.skops", "--data", "bad.csv"], ("bad.csv", "'b'", "missing"),
    ),
    "a trace without times": (
        text("bad.csv", "when\n1\n2\n"), ["model.onnx", *GOOD, "--trace", "bad.csv"], ("bad.csv", "timestamp"),
    ),
    "a trace with rows and no keys": (
        text("bad.csv", "timestamp,row\n1,0\n2,3\n"),
        ["model.onnx", *GOOD, "--trace", "bad.csv"],
        ("bad.csv", "the column row and no column key", "equal keys are equal requests"),
    ),
    "a trace of other data": (
        text("bad.csv", "timestamp,key,row\n1,a,59\n2,b,60\n3,c,400\n"),
        ["model.onnx", *GOOD, "--trace", "bad.csv"],
        ("bad.csv", "request 2 asks for row 60, and 1 more", "data.npz has 60 rows", "a row of 0 to 59"),
    ),
    "no such module": (lambda _: None, ["model.onnx", *GOOD, "--metric", "gone_module:f"], ("gone_module",)),
    "no such function": (text("own_wrong.py", OWN), ["model.onnx", *GOOD, "--metric", "own_wrong:f"], ("'f'",)),
    "a metric that raises": (
        text("own_wrong.py", OWN), ["model.onnx", *GOOD, "--metric", "own_wrong:raises"], ("KeyError",),
    ),
    "a metric of one figure": (
        text("own_wrong.py", OWN), ["model.onnx", *GOOD, "--metric", "own_wrong:short"], ("[1]", "one number a row"),
    ),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a model and data that are in order, below a home that must stay as it is."""
    folder = tmp_path / "home" / "here"
    (folder / "taken").mkdir(parents=True)
    (folder / "taken" / "file").write_text("mine")
    onnx_model(folder / "model.onnx")
    onnx_model(folder / "other.onnx")
    np.savez(folder / "data.npz", x=X, label=LABEL)
    (folder / "model.pt").write_bytes(b"torch")
    (folder / "trace.csv").write_text("timestamp\n0\n1\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return folder


def _all_below(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts  # of the person's own metric
    }


def _is_refused(
    arguments: list[str], says: tuple[str, ...], place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from equipoise.cli.main import main

    before = _all_below(place.parent)
    monkeypatch.setattr("sys.argv", ["equipoise", *arguments])
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main()
    printed = capsys.readouterr()
    assert end.value.code == 2, printed.err
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    for part in says:
        assert part in line, line
    assert printed.out == ""
    assert _all_below(place.parent) == before


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_option_is_refused(name: str, place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (verb, *arguments), says = OPTIONS[name]
    quiet = ["--quiet"] if verb == "optimize" else []  # progress goes to standard error too
    _is_refused([verb, *quiet, *arguments], says, place, capsys, monkeypatch)


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_is_refused(name: str, place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    edit, arguments, says = FILES[name]
    edit(place)
    _is_refused(["optimize", *arguments, "--quiet", "--out", "new"], says, place, capsys, monkeypatch)


def test_a_folder_that_was_there_stays_and_stays_empty(
    place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "new").mkdir()
    onnx_model(place / "bad.onnx", opset=99)
    _is_refused(["optimize", "bad.onnx", *GOOD, "-q", "--out", "new"], ("bad.onnx",), place, capsys, monkeypatch)


def test_a_bundle_that_is_damaged_is_refused(place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "bundle").mkdir()
    (place / "bundle" / "manifest.json").write_text('{"files": {"../../model.onnx": "0"}}')
    arguments = ["predict", "bundle", "--data", "data.npz", "--out", "answers.csv"]
    _is_refused(arguments, ("manifest.json",), place, capsys, monkeypatch)


@pytest.mark.parametrize("name", ["weights outside the folder", "a pickle", "a class too many"])
def test_as_a_process_it_is_refused_alike(name: str, place: Path) -> None:
    edit, arguments, says = FILES[name]
    edit(place)
    before = _all_below(place.parent)
    done = subprocess.run(
        [sys.executable, "-c", "from equipoise.cli.main import main; main()", "optimize", *arguments, "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert all(part in line for part in says)
    assert done.stdout == ""
    assert _all_below(place.parent) == before
