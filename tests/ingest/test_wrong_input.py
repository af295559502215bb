"""Each kind of wrong input gives one error that says where, what was found and what is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.errors import BriefError, DataError, InputError, ModelError
from equipoise.ingest.brief import brief_from_options, brief_from_toml
from equipoise.ingest.model import import_model
from equipoise.ingest.splits import split_rows
from equipoise.ingest.study_data import load_study_data
from equipoise.preprocess.meaning import infer_meaning

X = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
LABEL = np.arange(60) % 3
Edit = Callable[[Path], None]


@dataclass(frozen=True)
class Wrong:
    """A wrong input: how the files differ from good ones, what is asked, and what the error must say."""

    name: str
    says: tuple[str, ...]
    error: type[InputError] = BriefError
    options: dict[str, Any] = field(default_factory=dict)
    toml: str | None = None
    edit: Edit | None = None


def npz(**arrays: Any) -> Edit:
    def write(folder: Path) -> None:
        np.savez(folder / "data.npz", **arrays)

    return write


def text(name: str, content: str | bytes) -> Edit:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def with_value(array: np.ndarray, row: int, value: float) -> np.ndarray:
    changed = array.astype(np.float64)
    changed[row] = value
    return changed


def unnamed(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, X)


HEAD = '[model]\npath = "model.onnx"\n[data]\npath = "data.npz"\n'
CSV = {"data": "data.csv"}
ROWS = "\n".join("1,2,3,4,0" for _ in range(3))

WRONG = [
    # the brief
    Wrong("unknown option", ("options.max_dorp", "unknown key", "did you mean max_drop"), options={"max_dorp": 1}),
    Wrong(
        "unknown key",
        ("brief.toml: quality.max_dorp", "did you mean quality.max_drop"),
        toml=HEAD + "[quality]\nmax_dorp=0.1",
    ),
    Wrong(
        "key in the wrong table", ("limits.metric", "did you mean quality.metric"), toml=HEAD + "[limits]\nmetric='mae'"
    ),
    Wrong("unknown table", ("brief.toml: qualty", "did you mean quality"), toml=HEAD + "[qualty]\nmetric='mae'"),
    Wrong("a key for a table", ("brief.toml: model", "needed a table"), toml="model = 'model.onnx'"),
    Wrong("no model", ("model.path", "found nothing"), toml="[data]\npath = 'data.npz'"),
    Wrong("no data", ("--data", "found nothing"), options={"data": None}),
    Wrong("broken TOML", ("brief.toml", "not valid TOML", "line 1"), toml="[model\n"),
    Wrong(
        "wrong type",
        ("data.real_golden_rows", '"yes"', "true or false"),
        toml=HEAD.replace("[data]", "[data]\nreal_golden_rows='yes'"),
    ),
    Wrong("trust in a file", ("model.trust", "run code", "--trust"), toml=HEAD.replace("[data]", "trust=true\n[data]")),
    Wrong(
        "a drop of 100 points",
        ("--max-drop", "found 1", "1 means 100 points; did you mean 0.01?"),
        options={"max_drop": "1"},
    ),
    Wrong("a slice's drop of 90 points", ("--slice sex", "0.9 means 90 points"), options={"slice": ["sex:0.9"]}),
    Wrong("an ood set's drop of 200 points", ("--ood w", "2 means 200 points"), options={"ood": ["w=data.npz:2"]}),
    Wrong("a negative drop", ("--max-drop", "-0.1", "0 or more"), options={"max_drop": "-0.1"}),
    Wrong("a drop that is no number", ("--max-drop", "small", "needed a number"), options={"max_drop": "small"}),
    Wrong("a drop of all quality", ("--max-drop", "100%", "below 100%"), options={"max_drop": "100%"}),
    Wrong("a drop that is not finite", ("quality.max_drop", "nan"), toml=HEAD + "[quality]\nmax_drop = nan"),
    Wrong("unknown metric", ("--metric", "acuracy", "did you mean accuracy"), options={"metric": "acuracy"}),
    Wrong("no positive class", ("--positive-class", "f1_binary"), options={"metric": "f1_binary"}),
    Wrong("a sure answer", ("--confidence", '"1"', "below 1"), options={"confidence": "1"}),
    Wrong("no latency at all", ("--p99-ms", '"0"', "above 0, in milliseconds"), options={"p99_ms": "0"}),
    Wrong("unknown unit of time", ("--budget", "5 weeks", "such as 90, 300s, 5m or 1h"), options={"budget": "5 weeks"}),
    Wrong("a budget too small", ("--budget", '"5"', "at least 10 s"), options={"budget": "5"}),
    Wrong("a slice without drop", ("--slice", '"sex"', "COL:max_drop"), options={"slice": ["sex"]}),
    Wrong("a slice twice", ("--slice", "'sex' twice"), options={"slice": ["sex:0.1", "sex:0.2"]}),
    Wrong("an ood set without path", ("--ood", "NAME=PATH:max_drop"), options={"ood": ["winter:0.1"]}),
    Wrong("an ood set named main", ("--ood", "'main'"), options={"ood": ["main=data.npz:0.1"]}),
    Wrong("an ood table without drop", ("data.ood.w", "no max_drop"), toml=HEAD + "[data.ood.w]\npath='data.npz'"),
    Wrong("an ood set that is missing", ("--ood w", "no file"), options={"ood": ["w=gone.npz:0.1"]}),
    Wrong(
        "three figures of a machine", ("--owned", "capex_usd, months, watts, usd_per_kwh"), options={"owned": "1,2,3"}
    ),
    Wrong("two prices", ("--price and --instance", "at most one"), options={"price": "1", "instance": "aws:c7i.large"}),
    Wrong("rate and trace", ("--rate and --trace", "needed one"), options={"rate": "9", "trace": "trace.csv"}),
    Wrong(
        "a word outside the choice",
        ("--small-slices", "ignore", "block, report, pool"),
        options={"small_slices": "ignore"},
    ),
    Wrong("a seed below 0", ("--seed", "-1"), options={"seed": -1}),
    Wrong("a label twice", ("--labels", "cat more than once"), options={"labels": "cat,cat"}),
    Wrong("no such model", ("MODEL", "gone.onnx", "check the path"), options={"model": "gone.onnx"}),
    Wrong("a folder for a file", ("--data", "a folder"), options={"data": "."}),
    Wrong(
        "a kind of data file",
        ("--data", ".docx", ".npz, .csv, .parquet"),
        options={"data": "d.docx"},
        edit=text("d.docx", "1"),
    ),
    Wrong("a kind of model file", ("MODEL", ".pt", ".onnx, .xml"), options={"model": "m.pt"}, edit=text("m.pt", "1")),
    # the model
    Wrong("an empty model", ("model.onnx", "0 bytes"), ModelError, edit=text("model.onnx", b"")),
    Wrong("no model at all", ("model.onnx", "ONNX"), ModelError, edit=text("model.onnx", b"GIF89a is not a model")),
    Wrong(
        "a pickle without trust",
        ("m.pkl", "can run any code", "--trust"),
        ModelError,
        {"model": "m.pkl"},
        edit=text("m.pkl", b"cos"),
    ),
    # the data
    Wrong("empty file", ("data.npz", "0 bytes"), DataError, edit=text("data.npz", b"")),
    Wrong("no rows", ("data.npz", "no rows"), DataError, edit=npz(x=X[:0], label=LABEL[:0])),
    Wrong(
        "truncated file",
        ("data.npz", "not a complete .npz"),
        DataError,
        edit=text("data.npz", b"PK\x03\x04 and then nothing"),
    ),
    Wrong("one unnamed array", ("data.npz", "without a name"), DataError, edit=lambda f: unnamed(f / "data.npz")),
    Wrong("unequal lengths", ("data.npz", "x 60, label 59"), DataError, edit=npz(x=X, label=LABEL[:59])),
    Wrong(
        "objects",
        ("data.npz", "'x' is an array of Python objects"),
        DataError,
        edit=npz(x=np.array([[1], [1, 2]], dtype=object), label=LABEL[:2]),
    ),
    Wrong(
        "wrong shape",
        ("'x' has the shape [5] a row", "takes [4]"),
        DataError,
        edit=npz(x=np.ones((60, 5)), label=LABEL),
    ),
    Wrong(
        "missing input",
        ("no array 'x' among a, b, label", "float32 [4] a row"),
        DataError,
        edit=npz(a=X[:, None], b=X[:, :3], label=LABEL),
    ),
    Wrong("text for numbers", ("'x' holds text", "takes float32"), DataError, edit=npz(x=X.astype(str), label=LABEL)),
    Wrong(
        "numbers that do not fit",
        ("16777217 in row 3", "takes float32"),
        DataError,
        edit=npz(x=np.where(np.arange(60)[:, None] == 2, 2**24 + 1, 0) + np.zeros((60, 4), np.int64), label=LABEL),
    ),
    Wrong(
        "missing target",
        ("no column label or y", "the metric accuracy needs", "--target"),
        DataError,
        {"metric": "accuracy"},
        edit=npz(x=X, answer=LABEL),
    ),
    Wrong("a named target that is missing", ("no column 'answer'", "it has x, label"), DataError, {"target": "answer"}),
    Wrong(
        "NaN in the target",
        ("'label' has no finite value in 1 of 60 rows, first in row 8",),
        DataError,
        edit=npz(x=X, label=with_value(LABEL, 7, np.nan)),
    ),
    Wrong(
        "a class too many",
        ("classes [3]", "the model's [0, 1, 2]", "--labels"),
        DataError,
        edit=npz(x=X, label=np.arange(60) % 4),
    ),
    Wrong("too few labels", ("--labels", "found 2 names", "has 3 classes"), options={"labels": "a,b"}),
    Wrong("no such output", ("--output", "'probs'", "logits"), options={"output": "probs"}),
    Wrong(
        "the wrong kind of output",
        ("'logits'", "needed 0 to 1: is its kind logits?"),
        options={"output_kind": "probabilities"},
    ),
    Wrong("slice column missing", ("no column 'sex'", "it has x, label"), DataError, {"slice": ["sex:0.1"]}),
    Wrong("group column missing", ("no column 'patient'", "it has x, label"), DataError, {"group": "patient"}),
    Wrong(
        "a slice of a thousand values",
        ("'id' has 300 different values", "at most 200"),
        DataError,
        {"slice": ["id:0.1"]},
        edit=npz(x=np.tile(X, (5, 1)), id=np.arange(300).astype(str), label=np.tile(LABEL, 5)),
    ),
    Wrong(
        "group missing in a row",
        ("'g' is missing in 1 of 60 rows, first in row 1",),
        DataError,
        {"group": "g"},
        edit=npz(x=X, g=with_value(LABEL, 0, np.nan), label=LABEL),
    ),
    Wrong(
        "all rows the same", ("60 of 60 rows repeat each other",), DataError, edit=npz(x=np.ones((60, 4)), label=LABEL)
    ),
    Wrong(
        "calibration on the data itself",
        ("60 of them in the calibration data too", "0 are left"),
        DataError,
        {"calibration": "more.npz"},
        edit=lambda f: np.savez(f / "more.npz", **np.load(f / "data.npz")),
    ),
    Wrong(
        "text in calibration's target",
        ("more.npz", "its target holds text", "needed numbers"),
        DataError,
        {"calibration": "more.npz"},
        edit=lambda f: np.savez(f / "more.npz", x=X, label=LABEL.astype(str)),
    ),
    Wrong(
        "a duplicate column",
        ("data.csv", "named a more than once"),
        DataError,
        CSV,
        edit=text("data.csv", f"a,b,c,a,label\n{ROWS}"),
    ),
    Wrong(
        "too many cells",
        ("data.csv", "unequal length", "needed 5 cells"),
        DataError,
        CSV,
        edit=text("data.csv", f"a,b,c,d,label\n{ROWS}\n1,2,3,4,0,9"),
    ),
    Wrong(
        "a name too few",
        ("data.csv", "5 columns in its first row", "needed 4"),
        DataError,
        CSV | {"columns": "a,b,c,label"},
        edit=text("data.csv", ROWS),
    ),
    Wrong(
        "not enough columns",
        ("data.csv", "3 columns besides the target (a, b, c)", "takes 4"),
        DataError,
        CSV,
        edit=text("data.csv", "a,b,c,label\n1,2,3,0\n"),
    ),
    Wrong(
        "text among numbers",
        ("data.csv", "'b' holds text, 'NA' in row 2 for example"),
        DataError,
        CSV,
        edit=text("data.csv", "a,b,c,d,label\n1,2,3,4,0\n1,NA,3,4,1\n"),
    ),
    Wrong(
        "no rows below the header", ("data.csv", "no rows"), DataError, CSV, edit=text("data.csv", "a,b,c,d,label\n")
    ),
    Wrong(
        "not UTF-8", ("data.csv", "not UTF-8"), DataError, CSV, edit=text("data.csv", b"a,b,c,d,label\n1,2,3,4,\xff\n")
    ),
    Wrong(
        "not Parquet",
        ("data.parquet", "not a complete Parquet file"),
        DataError,
        {"data": "data.parquet"},
        edit=text("data.parquet", b"PAR1 and then nothing"),
    ),
]


def _study(folder: Path, wrong: Wrong) -> None:
    """What a study does with its input before any long work."""
    if wrong.toml is not None:
        (folder / "brief.toml").write_text(wrong.toml)
        brief = brief_from_toml(folder / "brief.toml")
    else:
        brief = brief_from_options(**{"model": "model.onnx", "data": "data.npz"} | wrong.options)
    artifact = folder / "artifact"
    artifact.mkdir()
    model = import_model(Path(brief.model.path), brief.model.trust, artifact, None)
    data = load_study_data(brief, model.spec)
    split_rows(data.rows, groups=data.groups, calibration=data.calibration, train=data.train, source=brief.data.path)
    feeds = data.rows.feeds["x"]
    infer_meaning(
        model.spec,
        {"logits": feeds @ np.ones((4, 3), np.float32)},
        target=data.rows.target,
        metric=brief.quality.metric,
        output=brief.model.output,
        output_kind=brief.model.output_kind,
        labels=brief.model.labels,
    )


def test_what_is_in_order_is_not_refused(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    np.savez(files / "more.npz", x=X + 1, label=LABEL)
    np.savez(files / "winter.npz", x=X + 2, label=LABEL)
    _study(files, Wrong("nothing", (), options={"calibration": "more.npz", "ood": ["winter=winter.npz:0.1"]}))


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_wrong_input(wrong: Wrong, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    if wrong.edit is not None:
        wrong.edit(files)
    with pytest.raises(InputError) as caught:
        _study(files, wrong)
    message = str(caught.value)
    assert type(caught.value) is wrong.error, message
    assert caught.value.where
    assert caught.value.found
    assert caught.value.needed
    for part in wrong.says:
        assert part in message, message
    assert "\n" not in message
