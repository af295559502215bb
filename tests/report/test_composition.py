from __future__ import annotations

import html
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from equipoise.core.plan import CacheRule
from equipoise.core.result import Result
from equipoise.report import figures
from equipoise.report.composition import (
    answerers,
    candidate_name,
    cards,
    is_put_together,
    stage_table,
    what_parts_save,
    who_answers,
)
from equipoise.report.details import ReportDetails, ScreenedPoint
from equipoise.report.figures import Picture
from equipoise.report.strokes import axis_labels, hover_name, wrapped

HOSTILE = "<img src=x onerror=1>.onnx @ openvino int8"


def drawable(picture: Picture) -> dict[str, dict[str, Any]]:
    import plotly.graph_objects as go

    assert picture.plot is not None
    go.Figure(picture.plot)
    assert picture.caption
    assert all(len(row) == len(picture.columns) for row in picture.rows)
    return {trace["name"]: trace for trace in picture.plot["data"]}


def bare(result: Result, **update: object) -> Result:
    return result.model_copy(update={"cache": None, "distrust": None, "fallback": None, **update})


def test_only_what_is_put_together_has_the_section(
    composed: Result, together: Result, replaced: Result, kept: Result, infeasible: Result
) -> None:
    assert is_put_together(composed)
    assert is_put_together(together)
    assert not any(is_put_together(result) for result in (replaced, kept, infeasible))
    for part in ("cache", "fallback", "distrust"):
        assert is_put_together(replaced.model_copy(update={part: getattr(composed, part)}))


def test_shares_of_a_cascade_by_itself(composed: Result) -> None:
    found = answerers(bare(composed))
    assert [(each.reached, each.answered) for each in found] == [(1.0, 0.803), (0.197, 0.197)]
    assert who_answers(bare(composed)).caption.endswith("Shares are those of the rows that chose among candidates.")
    assert [each.name for each in found] == [
        "resnet20.onnx + int8_nncf (openvino int8)",
        "int8_static (openvino int8_bf16)",
    ]


def test_every_request_ends_somewhere(composed: Result) -> None:
    found = answerers(composed)
    assert [each.name for each in found][0::3] == ["memory", "a person"]
    assert sum(each.answered for each in found) == pytest.approx(1)
    for before, after in pairwise(found):
        assert after.reached == pytest.approx(before.reached - before.answered)
    assert found[-1].answered == pytest.approx(0.7 * 0.042)


def test_bars_follow_one_another(composed: Result) -> None:
    picture = who_answers(composed)
    traces = drawable(picture)
    answered, passed = traces["answers"], traces["passes on"]
    assert answered["base"] == pytest.approx([0, 0.3, 0.3 + 0.7 * 0.803, 1 - 0.7 * 0.042])
    assert answered["x"] == pytest.approx([0.3, 0.7 * 0.803, 0.7 * (0.197 - 0.042), 0.7 * 0.042])
    ends = [start + width for start, width in zip(passed["base"], passed["x"], strict=True)]
    assert ends == pytest.approx([1, 1, 1, 1])
    assert "memory 30 of 100" in picture.caption
    assert "as if repeated requests were like all others" in picture.caption
    assert picture.rows[0] == ("memory", "100%", "30%")


def test_one_answerer_needs_no_picture(together: Result, replaced: Result, composed: Result) -> None:
    picture = who_answers(together)
    assert picture.plot is None
    assert picture.caption.startswith(
        "Every request is answered by the mean of resnet20.onnx + int8_nncf (openvino int8)"
    )
    alone = who_answers(replaced.model_copy(update={"fallback": composed.fallback}))
    assert alone.caption == "Every request is answered by original (openvino bf16)."
    unknown = composed.chosen.model_copy(update={"stages": ()}) if composed.chosen else None
    assert who_answers(bare(composed, chosen=unknown)).caption == (
        "Which stage answers what share of the requests was not kept."
    )


def test_a_single_model_with_memory_is_drawn(replaced: Result, composed: Result) -> None:
    traces = drawable(who_answers(replaced.model_copy(update={"cache": composed.cache})))
    assert traces["answers"]["x"] == pytest.approx([0.3, 0.7])


def test_what_each_part_saves(composed: Result) -> None:
    picture = what_parts_save(composed)
    (trace,) = drawable(picture).values()
    assert picture.plot is not None
    assert picture.plot["layout"]["xaxis"]["exponentformat"] == "none"
    assert trace["x"] == pytest.approx([0.0701, 0.21, 0.081, 0.166, 0.134, 0.0953])
    labels = trace["y"]
    assert isinstance(labels, list)
    assert labels[0] == "with every part"
    assert labels[1] == "1. without stage<br>resnet20.onnx +<br>int8_nncf (openvino<br>int8)"
    assert "it saves $0.14" in picture.caption
    assert picture.rows[1][1:3] == ("$0.21", "$0.14")
    assert "preset=performance" in picture.rows[1][0]


def test_a_part_that_saves_nothing_says_so(composed: Result) -> None:
    chosen = composed.chosen
    assert chosen is not None
    cheap = chosen.savings[1].model_copy(update={"usd_per_million_without": 0.05})
    picture = what_parts_save(composed.model_copy(update={"chosen": chosen.model_copy(update={"savings": (cheap,)})}))
    assert picture.rows[1][2] == "nothing: $0.0201 dearer with it"
    assert "saves" not in picture.caption
    assert what_parts_save(composed.model_copy(update={"chosen": None})).plot is None


def test_the_stages_as_a_table(composed: Result, replaced: Result) -> None:
    chosen = composed.chosen
    assert chosen is not None
    assert replaced.chosen is not None
    text = stage_table(chosen).replace("<wbr>", "")
    assert "1. resnet20.onnx + int8_nncf(preset=performance, target=openvino) @ openvino int8" in text
    assert "<td>100%</td><td>80.3%</td><td>its likeliest answer has a probability of at least 0.5994</td>" in text
    assert "<td>19.7%</td><td>19.7%</td><td>always</td>" in text
    assert stage_table(replaced.chosen) == ""


def test_cards_of_what_was_chosen(composed: Result) -> None:
    text = cards(composed)
    for words in (
        "✓ Offered", "79.11%, surely at least 78.01% (<wbr>95% confidence)", "75.00%", "3,000 rows",
        "exact binomial test",
        "✓ Proved", "95.8% of the rows of the proof", "a person is asked", "2,874 rows",
        "✓ Chosen", "30% of the requests", "31.2 MB for 100,000 answers: $0.00021", "12.3 µs",
        "$0.0701 with it, $0.0953 without",
    ):  # fmt: skip
        assert words in text
    assert "Why not" not in text


def test_cards_of_what_was_rejected(together: Result, composed: Result, replaced: Result) -> None:
    text = cards(together)
    assert "✗ Not offered" in text
    assert "It is not proved to reach the floor: requests are refused instead." in text
    assert "✗ Left out" in text
    assert "its memory would cost $0.004 per million and save $0.0032" in text
    assert "When it is not sure" not in text
    assert together.cache is not None
    slow = together.cache.model_copy(update={"usd_per_million_with": 0.31})
    assert "looking up costs more than it saves: $0.31 per million with it, $0.0953 without" in cards(
        together.model_copy(update={"cache": slow})
    )
    doubt, cache = composed.distrust, composed.cache
    assert doubt is not None
    assert cache is not None
    failed = doubt.model_copy(
        update={
            "answer": "default",
            "default": "7",
            "certificate": doubt.certificate.model_copy(update={"passed": False}),
        }
    )
    near = cache.model_copy(update={"rule": CacheRule(max_entries=5, entry_bytes=9, hit_share=0.1, near={"x": 0.25})})
    text = cards(composed.model_copy(update={"distrust": failed, "cache": near}))
    assert "✗ Not proved" in text
    assert "the answer 7 is given" in text
    assert "inputs are rounded first: x to 0.25" in text
    assert cards(replaced) == ""


def test_shapes_tell_what_a_candidate_is(composed: Result, composed_details: ReportDetails) -> None:
    traces = drawable(figures.frontier(composed, composed_details))
    assert list(traces) == [
        "best trade-offs", "single model", "cascade", "ensemble", "your model as it is", "chosen (cascade)",
    ]  # fmt: skip
    symbols = {
        name: set(trace["marker"]["symbol"])
        for name, trace in traces.items()
        if name in ("single model", "cascade", "ensemble")
    }
    assert symbols == {
        "single model": {"circle-open", "circle"}, "cascade": {"triangle-up"}, "ensemble": {"pentagon-open"},
    }  # fmt: skip
    (hover,) = traces["chosen (cascade)"]["text"]
    assert hover.startswith("<b>cascade</b><br>1. resnet20.onnx + int8_nncf (openvino int8), where")
    assert "answers 80 of<br>100" in hover or "answers 80 of 100" in hover
    assert max(len(line) for line in hover.split("<br>")) < 80
    every = sum(len(trace["x"]) for name, trace in traces.items() if name != "best trade-offs")
    assert every == len(composed_details.screened)


def test_without_composed_candidates_the_marks_are_as_ever(replaced: Result, details: ReportDetails) -> None:
    picture = figures.frontier(replaced, details)
    assert list(drawable(picture)) == [
        "best trade-offs", "other candidates", "proved candidates", "your model as it is", "chosen",
    ]  # fmt: skip
    assert "Shapes" not in picture.caption


def test_labels_are_short_lines_and_stay_apart(composed: Result, composed_details: ReportDetails) -> None:
    picture = figures.latencies(composed, composed_details)
    assert picture.plot is not None
    labels = {label for trace in picture.plot["data"] for label in trace["y"]}
    assert len(labels) == len(composed_details.latency_samples_s)
    assert max(len(line) for label in labels for line in label.split("<br>")) <= 26
    cascade = "cascade: a.onnx @ openvino int8 where margin >= {}, else original @ openvino f32, {} threads, batch 8"
    names = [cascade.format(0.5, 1), cascade.format(0.6, 1), cascade.format(0.6, 2)]
    assert [label.replace("<br>", " ") for label in axis_labels(names, 200)] == [
        "cascade of a.onnx (openvino int8), then original (openvino f32), margin &gt;= 0.5",
        "cascade of a.onnx (openvino int8), then original (openvino f32), margin &gt;= 0.6, 1 threads, batch 8",
        "cascade of a.onnx (openvino int8), then original (openvino f32), margin &gt;= 0.6, 2 threads, batch 8",
    ]


def test_names_are_escaped_everywhere(composed: Result) -> None:
    name = f"cascade: {HOSTILE} where margin >= 0.5, else {HOSTILE}"
    for text in (
        candidate_name(name),
        hover_name(ScreenedPoint(name=name, settings="", usd_per_million=1)),
        wrapped(HOSTILE, 30),
    ):
        assert "<img" not in text
        assert "&lt;img" in text
    fallback, chosen = composed.fallback, composed.chosen
    assert fallback is not None
    assert chosen is not None
    stages = tuple(stage.model_copy(update={"name": HOSTILE, "accepts": HOSTILE}) for stage in chosen.stages)
    savings = tuple(saving.model_copy(update={"part": HOSTILE, "note": HOSTILE}) for saving in chosen.savings)
    bad = chosen.model_copy(update={"stages": stages, "savings": savings})
    result = composed.model_copy(update={"chosen": bad, "fallback": fallback.model_copy(update={"name": HOSTILE})})
    assert "<img" not in stage_table(bad) + cards(result)
    assert "<img" not in str(who_answers(result).plot) + str(what_parts_save(result).plot)


def test_a_candidates_stages_are_a_list(composed: Result, together: Result) -> None:
    assert composed.chosen is not None
    assert together.chosen is not None
    text = html.unescape(candidate_name(composed.chosen.name, composed.chosen.stages).replace("<wbr>", ""))
    assert text.count("<li>") == 2
    assert "when its likeliest answer has a probability of at least 0.5994; answers 80 of 100" in text
    assert text.endswith("<small>1 thread x 2 replicas, batch 8</small>")
    text = candidate_name(together.chosen.name, together.chosen.stages)
    assert "ensemble: mean of" in text
    assert text.count("<li>") == 2


def test_details_need_no_stages(composed: Result, composed_details: ReportDetails) -> None:
    points = tuple(replace(point, stages=()) for point in composed_details.screened)
    drawable(figures.frontier(composed, replace(composed_details, screened=points)))
