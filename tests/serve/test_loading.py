"""Bundles on their way into a server."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from numpy.typing import NDArray

from equipoise.errors import BundleError
from equipoise.serve import load_plan

Array = NDArray[Any]
Cascades = Callable[..., Any]
Run = Callable[[Coroutine[Any, Any, None]], None]


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
