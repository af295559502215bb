"""Models and data that are small, and whole studies of them: each is run once, when a test first asks for it.

One ONNX classifier is large for what it does: its answer is the greatest of the first four features, which it computes
through two dense layers that change nothing. The person's alternative to it is one small layer, hundreds of times as
cheap, that goes wrong where it is made to: on some rows of one sex, on all rows of a few patients, in winter. So the
alternative is the cheapest, and right nearly everywhere; each of `--slice`, `--group` and `--ood` has cause to refuse
it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.core.result import Result

FEATURES, CLASSES, WIDTH, ROWS = 16, 4, 768, 4000
WRONG_IN_SEX, WRONG_FOR_PATIENT, WRONG_IN_WINTER = 5, 6, 7
BUDGET = "12s"
METRIC = '''"""A metric of one's own: how far the right logit is ahead, at most one."""

import numpy as np


def lead(outputs, targets):
    logits = outputs["logits"].copy()
    rows = np.arange(len(logits))
    right = logits[rows, targets]
    logits[rows, targets] = -np.inf
    return np.clip(right - logits.max(axis=1), -1, 1)
'''


@dataclass(frozen=True)
class Study:
    """A study that ended: its answer and the folder that holds it."""

    result: Result
    folder: Path

    def reasons(self, name: str) -> str:
        """Why candidates whose name contains `name` were rejected, one a line."""
        return "\n".join(failure.reason for failure in self.result.rejected if name in failure.name)


def write_layers(
    path: Path, *weights: Any, output: str = "logits", more: Callable[[list[Any], list[Any]], None] | None = None
) -> None:
    """Write dense layers with ReLU between them, from `x` to `output`; `more` adds nodes and constants at the end."""
    import onnx
    from onnx import helper, numpy_helper

    nodes, constants, last = [], [], "x"
    for layer, weight in enumerate(weights):
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [f"h{layer}"]))
        constants.append(numpy_helper.from_array(np.asarray(weight, np.float32), f"w{layer}"))
        last = f"h{layer}"
        if layer + 1 < len(weights):
            nodes.append(helper.make_node("Relu", [last], [f"r{layer}"]))
            last = f"r{layer}"
    if more is not None:
        more(nodes, constants)
    nodes[-1].output[0] = output
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["n", np.shape(weights[-1])[1]])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def _by_detours(layer: Any) -> tuple[Any, ...]:
    """The same as one layer [FEATURES, k], by way of two large ones that change nothing."""
    head = np.zeros((FEATURES, WIDTH))
    head[:, :FEATURES], head[:, FEATURES : 2 * FEATURES] = np.eye(FEATURES), -np.eye(FEATURES)
    tail = np.zeros((WIDTH, layer.shape[1]))
    tail[:FEATURES], tail[FEATURES : 2 * FEATURES] = layer, -layer
    return head, np.eye(WIDTH), np.eye(WIDTH), tail


def _small_layer() -> Any:
    layer = np.eye(FEATURES, CLASSES)
    layer[[WRONG_IN_SEX, WRONG_FOR_PATIENT, WRONG_IN_WINTER], 0] = 100
    return layer


def _rough_layer() -> Any:
    """Like the small layer without its blind spots, and off by a little everywhere: wrong where it is unsure."""
    layer = 2.0 * np.eye(FEATURES, CLASSES)
    layer[8:] = 0.08 * np.random.default_rng(3).standard_normal((FEATURES - 8, CLASSES))
    return layer


def _sigmoid(nodes: list[Any], constants: list[Any]) -> None:
    from onnx import helper

    nodes.append(helper.make_node("Sigmoid", [nodes[-1].output[0]], ["share"]))


def _hungry_end(nodes: list[Any], constants: list[Any]) -> None:
    """Adds nothing to the answers, by way of 600 MB."""
    from onnx import helper, numpy_helper

    constants.append(numpy_helper.from_array(np.array([1, 150_000_000]), "wide"))
    constants.append(numpy_helper.from_array(np.float32(0), "nothing"))
    nodes += [
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=1),
        helper.make_node("Expand", ["mean", "wide"], ["much"]),
        helper.make_node("ReduceMax", ["much"], ["most"], keepdims=1),
        helper.make_node("Mul", ["most", "nothing"], ["none"]),
        helper.make_node("Add", ["h0", "none"], ["sum"]),
    ]


def _write_arrays(folder: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, FEATURES)).astype(np.float32)
    x[:, WRONG_IN_SEX : WRONG_IN_WINTER + 1] = 0
    sex = np.where(rng.random(ROWS) < 0.1, "F", "M")
    patient = rng.integers(0, 120, ROWS)
    x[(sex == "F") & (rng.random(ROWS) < 0.15), WRONG_IN_SEX] = 1
    x[np.isin(patient, [7, 33, 50, 90]), WRONG_FOR_PATIENT] = 1
    label = x[:, :CLASSES].argmax(1)
    label = np.where(rng.random(ROWS) < 0.1, (label + 1) % CLASSES, label)  # the large model errs as well
    site = np.where(np.arange(ROWS) < 30, "small", "large")
    columns = {"sex": sex, "patient": patient, "site": site}
    np.savez(folder / "test.npz", x=x, label=label, **columns)
    np.savez(folder / "unlabelled.npz", x=x, **columns)
    np.savez(folder / "few.npz", x=x[:500], label=label[:500])
    winter = rng.standard_normal((400, FEATURES)).astype(np.float32)
    winter[:, WRONG_IN_SEX : WRONG_IN_WINTER + 1] = 0
    winter[:100, WRONG_IN_WINTER] = 1
    np.savez(folder / "winter.npz", x=winter, label=winter[:, :CLASSES].argmax(1))
    pair = x[:, :2] > 0
    np.savez(folder / "pair.npz", x=x, label=np.where(rng.random((ROWS, 2)) < 0.05, ~pair, pair).astype(np.int64))
    np.savez(folder / "number.npz", x=x, y=x[:, 0] + 2 * x[:, 1] + 0.1 * rng.standard_normal(ROWS))
    seconds = np.sort(np.random.default_rng(1).uniform(0, 120, 12_000))
    (folder / "trace.csv").write_text("timestamp\n" + "\n".join(f"{second:.4f}" for second in seconds) + "\n")
    _write_places(folder)
    (folder / "own_metric.py").write_text(METRIC)


def _write_places(folder: Path) -> None:
    """Rows of 600 places, four of each and close together, and traces that ask for them again and again."""
    rng = np.random.default_rng(5)
    place = np.zeros((600, FEATURES))
    place[:, :CLASSES] = 4 * rng.random((600, CLASSES))
    x = np.repeat(place, 4, axis=0)
    x[:, :CLASSES] += 1e-3 * rng.random((len(x), CLASSES))
    label = x[:, :CLASSES].argmax(1)
    np.savez(folder / "places.npz", x=x.astype(np.float32), label=label)
    row = rng.integers(0, len(x), 12_000)
    lines = [f"{second / 200:.3f},k{number},{number}" for second, number in enumerate(row)]
    (folder / "asked.csv").write_text("timestamp,key,row\n" + "\n".join(lines) + "\n")
    keyed = [line.rpartition(",")[0] for line in lines]
    (folder / "keyed.csv").write_text("timestamp,key\n" + "\n".join(keyed) + "\n")


def _write_table_model(folder: Path) -> None:
    """A pipeline over numbers with holes and text, trained on some rows; others in `people.csv`."""
    import pandas as pd
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    rng = np.random.default_rng(0)
    n = 4000
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "pay-rate": np.where(rng.random(n) < 0.1, np.nan, rng.gamma(2.0, 500.0, n)),
            "job": rng.choice(np.array(["clerk", "nurse", "smith"], dtype=object), n),
        }
    )
    pay = frame["pay-rate"].fillna(900)
    score = frame["age"] + 20 * (frame["job"] == "nurse") + pay / 50 + 5 * rng.standard_normal(n)
    features = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["pay-rate"]),
        (StandardScaler(), ["age"]),
        (OneHotEncoder(handle_unknown="ignore"), ["job"]),
    )
    answer = np.where(score > 75, ">50K", "<=50K").astype(object)
    train = slice(0, 1000)
    model = make_pipeline(features, LogisticRegression())
    skops.io.dump(model.fit(frame[train], answer[train]), folder / "people.skops")
    frame.assign(pay_class=answer)[1000:].to_csv(folder / "people.csv", index=False)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every model and data file of these tests."""
    folder = tmp_path_factory.mktemp("inputs")
    write_layers(folder / "large.onnx", *_by_detours(np.eye(FEATURES, CLASSES)))
    write_layers(folder / "small.onnx", _small_layer())
    write_layers(folder / "rough.onnx", _rough_layer())
    write_layers(folder / "hungry.onnx", _small_layer(), more=_hungry_end)
    pair, number = np.eye(FEATURES, 2), np.eye(FEATURES, 2) @ np.array([[1.0], [2.0]])
    for kind, layers in (("", _by_detours), ("small-", lambda layer: (0.99 * layer,))):
        write_layers(folder / f"{kind}pair.onnx", *layers(pair), output="probabilities", more=_sigmoid)
        write_layers(folder / f"{kind}number.onnx", *layers(number), output="value")
    _write_arrays(folder)
    _write_table_model(folder)
    return folder


ONNX: dict[str, Any] = {"source": "large.onnx", "data": "test.npz", "alternative": ["small.onnx"], "max_drop": 0.05}
TABLE: dict[str, Any] = {"source": "people.skops", "data": "people.csv", "target": "pay_class"}
NUMBER: dict[str, Any] = {"source": "number.onnx", "data": "number.npz", "alternative": ["small-number.onnx"]}
STUDIES: dict[str, dict[str, Any]] = {
    "table": TABLE | {"max_drop": 0.02, "price": 0.1, "budget": "60s"},
    "plain": ONNX,
    "slice": ONNX | {"slice": ["sex:0.05"]},
    "ood": ONNX | {"ood": ["winter=winter.npz:0.05"]},
    "group": ONNX | {"group": "patient"},
    "small slice": ONNX | {"slice": ["site:0.05"]},
    # Two things at once where they have nothing to do with each other, to save time.
    "no labels, small slice reported, rate": ONNX
    | {"data": "unlabelled.npz", "slice": ["site:0.05"], "small_slices": "report"}
    | {"rate": 50, "p99_ms": 200, "price": 0.1},
    "own metric, trace": ONNX | {"metric": "own_metric:lead", "max_drop": 0.1, "trace": "trace.csv", "p99_ms": 200},
    "speed alone, memory": ONNX | {"metric": "none", "alternative": ["hungry.onnx"], "memory_mb": 400},
    "cascade": ONNX
    | {"alternative": ["rough.onnx"], "max_drop": 0.03, "floor": 0.6, "distrust": "refer", "distrust_below": 0.5}
    | {"repeat_share": 0.3, "price": 0.1, "budget": "60s"},
    "keyed": ONNX | {"data": "places.npz", "trace": "keyed.csv", "p99_ms": 200, "price": 0.1},
    "few rows": ONNX | {"data": "few.npz", "max_drop": 0.005},
    "nothing faster": {"source": "small.onnx", "data": "test.npz"},
    "number": NUMBER,
    "pair": {"source": "pair.onnx", "data": "pair.npz", "alternative": ["small-pair.onnx"], "metric": "f1_macro"},
    "mae": NUMBER | {"metric": "mae", "max_drop": "10%", "instance": "aws:c7i.large"},
    "log loss": TABLE
    | {"metric": "log_loss", "max_drop": 0.02, "owned": "2400,36,180,0.15", "budget": "60s"},
    "auroc": TABLE | {"metric": "auroc", "positive_class": ">50K", "budget": "60s"},
}  # fmt: skip


@pytest.fixture(scope="session")
def study(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Study]:
    """Runs a study by name, once in a session."""
    from equipoise.flow.optimize import optimize_from

    done: dict[str, Study] = {}

    def run(name: str) -> Study:
        if name not in done:
            options: dict[str, Any] = {"budget": BUDGET} | STUDIES[name]
            source = Path(options.pop("source"))
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(inputs)
                result, folder = optimize_from(source, options, out=tmp_path_factory.mktemp("study") / "out")
            done[name] = Study(result, folder)
        return done[name]

    return run
