"""What training cost and brought, in words, as a picture, and on the page."""

from __future__ import annotations

import dataclasses

import pytest

from equipoise.core.payback import Payback
from equipoise.core.result import Result
from equipoise.core.training import TrainingPoint, TrainingRecord
from equipoise.report.details import ReportDetails
from equipoise.report.parts import payback_line
from equipoise.report.study import report_page
from equipoise.report.training import learning_curves

PAID = Payback(
    plan="tree @ onnxruntime f32, 1 thread", instead_of="onnx_form @ onnxruntime f32, 1 thread", trained_s=720.0,
    training_usd=0.0178, saved_per_million_usd=0.05, requests=356_800.0, days=4.13, within_days=90.0, in_time=True,
)  # fmt: skip


def record(*qualities: float | None, finished: bool = True) -> TrainingRecord:
    points = tuple(
        TrainingPoint(step=step, steps=len(qualities), elapsed_s=2.0 * step, loss=1.0 / step, quality=quality)
        for step, quality in enumerate(qualities, 1)
    )
    return TrainingRecord(train_s=60.0, elapsed_s=2.0 * len(qualities), finished=finished, points=points)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "12 min 0 s of training cost $0.0178 and has paid for itself after 356,800 requests, 4.13 days"),
        ({"days": None}, "after 356,800 requests: each million saves $0.05 against "),
        ({"in_time": False}, "would pay for itself only after 356,800 requests, 4.13 days at your rate (90 days are"),
        ({"requests": None, "days": None, "saved_per_million_usd": 0.0, "in_time": False}, "never pays for itself"),
        ({"instead_of": None, "saved_per_million_usd": None}, "no plan without it meets the limits"),
    ],
)  # fmt: skip
def test_when_it_pays_is_said(change: dict[str, object], said: str) -> None:
    assert said in payback_line(PAID.model_copy(update=change))


def test_learning_curves_show_the_quality_of_each_student(details: ReportDetails) -> None:
    trained = {"tree": record(0.7, 0.8), "net <b>": record(0.6, None, 0.75, finished=False), "silent": record(None)}
    picture = learning_curves(dataclasses.replace(details, metric="accuracy", trainings=trained))
    assert picture.plot is not None
    assert [trace["y"] for trace in picture.plot["data"]] == [[0.7, 0.8], [0.6, 0.75]]
    assert [trace["x"] for trace in picture.plot["data"]] == [[2.0, 4.0], [2.0, 6.0]]
    assert "<b>" not in picture.plot["data"][1]["name"]
    done = picture.columns.index("Done")
    assert [row[done] for row in picture.rows] == ["yes", "the time ended", "yes"]


def test_students_that_never_looked_are_told_without_a_picture(details: ReportDetails) -> None:
    assert learning_curves(dataclasses.replace(details, trainings={"silent": record(None)})).plot is None


def test_the_page_has_a_section_where_something_was_trained(replaced: Result, details: ReportDetails) -> None:
    assert 'id="training"' not in report_page(replaced, details)
    paid = replaced.model_copy(update={"payback": PAID})
    page = report_page(paid, dataclasses.replace(details, trainings={"tree": record(0.7, 0.8)}))
    assert 'id="training"' in page
    assert "has paid for itself after 356,800 requests" in page
    unpaid = report_page(replaced, dataclasses.replace(details, trainings={"tree": record(0.7, 0.8)}))
    assert "No trained model was certified" in unpaid
