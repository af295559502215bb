from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from equipoise.core.anatomy import Anatomy, FedInput
from equipoise.core.estimate import Estimate
from equipoise.core.profile import Settings
from equipoise.core.roofline import Peak, Roofline
from equipoise.host.environment import environment
from equipoise.measure.anatomy import known_sum, layer_costs, operator_costs
from equipoise.report.anatomy import anatomy_page, layer_rows, operator_rows, roofline, treemap, write_anatomy_page
from equipoise.runtimes.layers import Operation, TimedLayer

KINDS = ("Conv", "Relu", "Add", "MatMul", "Softmax", "Mystery <b>")


def measured(value: float) -> Estimate:
    return Estimate(value=value, low=None, high=None, n=1, method="")


@pytest.fixture
def anatomy() -> Anatomy:
    roofs = Roofline(
        environment="e" * 64,
        threads=2,
        peaks=tuple(
            Peak(precision=precision, flops_per_s=measured(value), runtime="openvino")
            for precision, value in (("f32", 1e11), ("int8", 4e11))
        ),
        bytes_per_s=measured(2e10),
    )
    layers = [
        TimedLayer(
            name=f"/block.{place}/{kind}",
            operator=kind,
            kernel="",
            precision="f32",
            operations=(Operation(kind, ((9, 64), (64, 64)), ((9, 64),)),),
            parameters=None if kind.startswith("Mystery") else 64,
            bytes_moved=4 * 9 * 64,
            seconds=np.array([1e-4 * (place + 1)]),
        )
        for place, kind in enumerate(KINDS)
    ]
    costs = layer_costs(layers, np.array([0]), roofs)
    return Anatomy(
        model="model <i>.onnx",
        format="onnx",
        settings=Settings(runtime="openvino", precision="f32", threads=2, replicas=1, batch=1),
        inputs=(FedInput(name="x", dtype="float32", shape=(1, 64)),),
        rows="random",
        whole_s=measured(2.2e-3),
        observed_s=measured(2.3e-3),
        layers_s=2.1e-3,
        flops=known_sum(cost.flops for cost in costs),
        unknown_share=6 / 21,
        parameters=1234,
        layers=costs,
        operators=operator_costs(costs),
        roofline=roofs,
        environment=environment(),
        notes=("Mind the <gap>.",),
    )


def test_the_page_loads_nothing_and_escapes_names(anatomy: Anatomy, tmp_path: Path) -> None:
    write_anatomy_page(anatomy, tmp_path / "anatomy.html")
    content = (tmp_path / "anatomy.html").read_text()
    assert content == anatomy_page(anatomy)
    assert "default-src 'none'" in content
    assert "<i>" not in content.replace(content[content.index("plotly.js v") : content.rindex("<script>")], "")
    assert "Mind the &lt;gap&gt;." in content
    for key in ("treemap", "roofline"):
        figure = re.search(rf'<script type="application/json" id="data-{key}">(.*?)</script>', content, re.S)
        assert figure is not None, key
        assert json.loads(figure[1])["data"]


def test_rectangles_add_up_to_the_whole(anatomy: Anatomy) -> None:
    plot = treemap(anatomy).plot
    assert plot is not None
    trace = plot["data"][0]
    parents = dict(zip(trace["ids"], trace["parents"], strict=True))
    values = dict(zip(trace["ids"], trace["values"], strict=True))
    for parent in ("all", *(f"kind {kind}" for kind in KINDS)):
        children = sum(value for name, value in values.items() if parents[name] == parent)
        assert values[parent] == pytest.approx(children)
        assert values[parent] >= children  # else Plotly draws nothing
    assert trace["branchvalues"] == "total"
    assert values["all"] == pytest.approx(anatomy.layers_s * 1000)


def test_every_layer_with_known_operations_is_under_a_roof(anatomy: Anatomy) -> None:
    plot = roofline(anatomy).plot
    assert plot is not None
    lines = [trace for trace in plot["data"] if trace["mode"] == "lines"]
    marks = [trace for trace in plot["data"] if trace["mode"] == "markers"]
    assert [line["name"] for line in lines] == ["most in f32", "most in int8"]
    assert max(lines[0]["y"]) == 1e11
    assert sum(len(trace["x"]) for trace in marks) == len(KINDS) - 1
    reach = [x for trace in marks for x in trace["x"]]
    assert min(lines[0]["x"]) < min(reach) <= max(reach) < max(lines[0]["x"])


def test_tables_say_what_is_not_known(anatomy: Anatomy) -> None:
    rows = {row[1]: row for row in layer_rows(anatomy.layers)}
    assert rows["Mystery <b>"][4:] == ("–", "–", "2.3 kB", "–", "–", "–")
    assert rows["MatMul"][4] == "73.7 k"
    assert operator_rows(anatomy)[0][:4] == ("Mystery <b>", "1", "600 µs", "28.6%")
