from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from equipoise.core.anatomy import Anatomy
from equipoise.report.anatomy import anatomy_page, layer_rows, operator_rows, roofline, treemap, write_anatomy_page
from layering import KINDS


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
