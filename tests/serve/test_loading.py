"""Bundles on their way into a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.errors import BundleError
from equipoise.host.environment import environment
from equipoise.serve import load_plan, loading
from equipoise.serve.opening import measured

Array = NDArray[Any]
Cascades = Callable[..., Any]


def test_a_changed_bundle_is_not_served(cascade: Cascades) -> None:
    made = cascade()
    model = next((made.folder / "artifacts").rglob("model.onnx"))
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(BundleError):
        load_plan(made.folder)
    with pytest.raises(BundleError, match="answers differently here"):
        cascade(golden=lambda answers: answers | {"logits": answers["logits"] + 1})


def test_speed_is_measured_where_the_bundle_does_not_know_it(cascade: Cascades) -> None:
    loaded = cascade(service_s=()).loaded
    assert [service.largest_rows for service in loaded.services] == [4, 4]
    assert loaded.notes == ()


def test_lanes_are_timed_while_all_of_them_are_busy() -> None:
    computing: set[int] = set()
    at_once: dict[int, list[int]] = {}

    def ask(feeds: Mapping[str, Array]) -> tuple[dict[str, Array], Array]:
        computing.add(threading.get_ident())
        time.sleep(0.002)
        at_once.setdefault(len(feeds["x"]), []).append(len(computing))
        computing.discard(threading.get_ident())
        return {}, np.ones(1)

    lanes = 3
    service = measured([ask] * lanes, {"x": np.arange(5)}, 9)
    assert [rows for rows, _ in service.points] == [1, 4, 9]
    assert list(at_once) == [1, 4, 9]
    assert all(max(found[lanes:]) == lanes for found in at_once.values())  # the first ones only warm up


def test_a_plan_for_more_cores_is_shrunk_measured_again_and_says_so(
    cascade: Cascades, monkeypatch: pytest.MonkeyPatch, images: Array
) -> None:
    made = cascade(lanes=2, service_s=(100, 100))
    monkeypatch.setattr(loading, "cores", lambda: 1)
    loaded = load_plan(made.folder)
    assert loaded.bundle.plan.stages[0].lanes == 2
    assert loaded.plan.stages[0].lanes == len(loaded.asks) == 1
    assert all(service.seconds(1) < 100 for service in loaded.services)
    assert len(loaded.notes) == 1
    assert "instead of 2 with 1: this process may use 1 cores" in loaded.notes[0]


def test_a_bundle_of_another_machine_is_measured_again_and_says_so(
    cascade: Cascades, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cascade(service_s=(100, 100))
    assert made.loaded.services[0].seconds(1) == 100
    elsewhere = environment().model_copy(update={"cpu_model": "another"})
    monkeypatch.setattr(loading, "environment", lambda: elsewhere)
    loaded = load_plan(made.folder)
    assert all(service.seconds(1) < 100 for service in loaded.services)
    assert [note.split(":")[0] for note in loaded.notes] == ["speed was measured elsewhere, and again here"]
