from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from equipoise.core.result import Result
from equipoise.report.details import ReportDetails
from equipoise.report.study import report_page, write_report

VOID = {"meta", "input", "path", "circle", "wbr"}
HOSTILE = '<script>alert("1")</script>\'"&<img src=http://evil.example/x onerror=1>'


class Page(HTMLParser):
    """What a browser would see: elements, text, and everything that could load something."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.scripts: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "poster", "data") and not (value or "").startswith("#"):
                self.loads.append(f"{tag} {name}={value}")
            if name.startswith("on"):
                self.handlers.append(f"{tag} {name}={value}")
            if name == "id":
                self.ids.append(value or "")
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not self.open or self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def seen(result: Result, details: ReportDetails) -> Page:
    content = report_page(result, details)
    page = Page(content)
    assert page.open == []
    assert page.loads == []
    assert page.handlers == []
    assert len(page.ids) == len(set(page.ids))
    style = content[content.index("<style>") : content.index("</style>")]
    assert not re.search(r"url\(|@import|//", style)
    assert "default-src 'none'" in content
    return page


@pytest.mark.parametrize("name", ["replaced", "kept", "infeasible", "speed_only"])
@pytest.mark.parametrize("bare", [False, True])
def test_every_ending_renders_whole(
    name: str, bare: bool, details: ReportDetails, request: pytest.FixtureRequest
) -> None:
    result: Result = request.getfixturevalue(name)
    told = ReportDetails(model="m.onnx", data="d.npz") if bare or name == "speed_only" else details
    page = seen(result, told)
    assert result.sentence.replace("`", "") in page.words.replace("  ", " ").replace(" ,", ",")
    for failure in result.rejected:
        assert failure.reason in page.words
    for warning in result.warnings:
        assert warning in page.words
    assert page.tags.count("h1") == 1
    assert page.tags.count("figure") == page.tags.count("details") - sum(1 for f in result.rejected if f.log)


def test_contents_come_in_their_order(replaced: Result, details: ReportDetails) -> None:
    page = seen(replaced, details)
    titles = [
        "Key figures", "What each candidate costs, and how good it is", "What it costs as traffic grows",
        "What a faster answer costs", "What a little more loss would save", "How long answers take", "What is proved",
        "Every candidate, and what became of it", "Where these figures come from", "What else you should know",
    ]  # fmt: skip
    places = [page.words.index(title) for title in titles]
    assert places == sorted(places)
    assert page.words.index("$0.0953") < places[0]


def test_the_certificate_is_told_in_plain_words(replaced: Result, details: ReportDetails) -> None:
    words = seen(replaced, details).words
    assert "loses at most 1 point of accuracy against your model" in words
    assert "at most 1 in 20 is wrong by chance" in words
    assert "3,000 rows that had no part in choosing" in words
    assert "the true loss is at most 0.31 points" in words
    assert "41 candidates were tried on other rows, 6 of them put to this test" in words
    assert "One earlier study has already opened these same rows" in words
    assert "race=Other" in words
    assert "41 (needs 134)" in words
    assert "blocks the candidate" in words
    assert "What this does not cover" in words
    assert "takes 730 rows for the proof (1,216 in the whole file)" in words


def test_other_endings_are_told(
    infeasible: Result, speed_only: Result, kept: Result, replaced: Result, details: ReportDetails
) -> None:
    words = seen(infeasible, details).words
    assert "Nothing meets these limits" in words
    assert "What binds is p99: 43 ms, needed at most 5 ms" in words
    assert "No claim is made about quality" in seen(speed_only, ReportDetails(model="m", data="d")).words
    assert "Keep what you have" in seen(kept, details).words
    assert replaced.certificate is not None
    failed = replaced.certificate.model_copy(update={"passed": False})
    words = seen(replaced.model_copy(update={"certificate": failed}), details).words
    assert "✗ Not proved" in words
    assert "It could not be shown that" in words


def test_a_model_that_no_number_of_machines_could_serve(replaced: Result, details: ReportDetails) -> None:
    slow = replaced.baseline.model_copy(update={"usd_per_million_provisioned": None, "usd_per_million_correct": None})
    cost = replaced.cost.model_copy(
        update={"usd_per_million_baseline": None, "ratio": None, "monthly_usd_baseline": None}
    )
    points = tuple(point for point in details.screened if point.name != slow.name)
    result = replaced.model_copy(update={"baseline": slow, "cost": cost})
    words = seen(result, replace(details, screened=points)).words
    assert "too slow → $0.0953" in words.replace("too slow→$", "too slow → $")
    assert "Not drawn, since no number of machines would keep the limit: your model as it is." in words
    tuned = replaced.baseline_tuned.model_copy(update={"usd_per_million_provisioned": None})
    nothing = result.model_copy(update={"baseline_tuned": tuned, "chosen": None, "frontier": (), "certificate": None})
    assert "No number of machines answers your traffic" in seen(nothing, replace(details, screened=())).words


def test_hostile_names_stay_text(replaced: Result, details: ReportDetails) -> None:
    assert replaced.certificate is not None
    bad_slice = replaced.certificate.slices[0].model_copy(update={"name": HOSTILE})
    failure = replaced.rejected[0].model_copy(update={"name": HOSTILE, "reason": HOSTILE, "log": HOSTILE})
    told_of = {"slices": (bad_slice,), "metric": HOSTILE, "method": HOSTILE}
    certificate = replaced.certificate.model_copy(update=told_of)
    update = {"sentence": HOSTILE, "warnings": (HOSTILE,), "rejected": (failure,), "certificate": certificate}
    result = replaced.model_copy(update=update)
    points = tuple(replace(point, name=HOSTILE + point.name, settings=HOSTILE) for point in details.screened)
    told = replace(
        details, model=HOSTILE, data=HOSTILE, metric=HOSTILE, screened=points, latency_samples_s={HOSTILE: np.ones(9)}
    )
    page = seen(result, told)
    assert "img" not in page.tags
    assert page.words.count('<script>alert("1")</script>') >= 8
    executable = [script for script in page.scripts if not script.startswith("{")]
    assert len(executable) == 2
    figures = [json.loads(script) for script in page.scripts if script.startswith("{")]
    assert figures
    assert "<img" not in json.dumps(figures)
    assert "&lt;img" in json.dumps(figures)


def test_the_file_appears_whole(replaced: Result, details: ReportDetails, tmp_path: Path) -> None:
    write_report(replaced, details, tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("<html") >= 1


def test_how_the_answer_is_put_together(composed: Result, together: Result, composed_details: ReportDetails) -> None:
    page = seen(composed, composed_details)
    titles = ["Key figures", "How the answer is put together", "What each candidate costs"]
    places = [page.words.index(title) for title in titles]
    assert places == sorted(places)
    section = page.words[places[1] : places[2]]
    for words in ("Its stages", "What each part saves", "Under pressure", "When it is not sure", "Answers from memory"):
        assert words in section
    assert {"data-who-answers", "data-savings"} <= set(page.ids)
    content = report_page(composed, composed_details)
    for key in ("who-answers", "savings"):
        assert re.search(rf'role="img" aria-label="[^"]{{40,}}" class="plot" data-figure="{key}"', content)
    words = seen(together, composed_details).words
    assert "✗ Not offered" in words
    assert "✗ Left out" in words


def test_long_names_are_told_in_short(composed: Result, composed_details: ReportDetails) -> None:
    words = seen(composed, composed_details).words
    short = "the cascade of resnet20.onnx + int8_nncf (openvino int8), then int8_static (openvino int8_bf16)"
    assert f"On rows like yours, {short} loses at most 1 point" in words
    assert f"certified, but {short} is cheaper" in words
    assert "plan=fba84dbc7ae3" not in words
    assert "Runs on onnxruntime, f32, 2 threads, batch 1" in words
    assert "openvino, int8 and int8_bf16, 1 thread × 2 replicas, batch 8" in words


def test_nothing_is_put_together_of_a_single_model(replaced: Result, details: ReportDetails) -> None:
    page = seen(replaced, details)
    assert "How the answer is put together" not in page.words
    assert "data-who-answers" not in page.ids
    assert "ol" not in page.tags


def test_hostile_names_of_parts_stay_text(composed: Result, composed_details: ReportDetails) -> None:
    chosen, fallback, doubt, cache = composed.chosen, composed.fallback, composed.distrust, composed.cache
    assert chosen is not None
    assert fallback is not None
    assert doubt is not None
    assert cache is not None
    stages = tuple(stage.model_copy(update={"name": HOSTILE, "accepts": HOSTILE}) for stage in chosen.stages)
    savings = tuple(saving.model_copy(update={"part": HOSTILE, "note": HOSTILE}) for saving in chosen.savings)
    named = f"cascade: {HOSTILE} @ openvino int8 where margin >= 0.5, else {HOSTILE} @ openvino f32"
    bad = chosen.model_copy(update={"name": named, "stages": stages, "savings": savings})
    worse = doubt.certificate.model_copy(update={"method": HOSTILE, "metric": HOSTILE})
    result = composed.model_copy(
        update={
            "chosen": bad,
            "fallback": fallback.model_copy(update={"name": HOSTILE, "certificate": worse}),
            "distrust": doubt.model_copy(update={"answer": "default", "default": HOSTILE, "certificate": worse}),
            "cache": cache.model_copy(update={"source": HOSTILE}),
        }
    )
    samples = {named: np.ones(9)}
    page = seen(result, replace(composed_details, latency_samples_s=samples))
    assert "img" not in page.tags
    drawn = [script for script in page.scripts if script.startswith("{")]
    assert "<img" not in json.dumps([json.loads(script) for script in drawn])
