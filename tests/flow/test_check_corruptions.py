"""The gate and corrupted rows: they are made of the new rows, and a bundle that does not stand them fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.core.certificate import Certificate, Margin, SliceVerdict
from equipoise.core.check import Check
from equipoise.core.estimate import Estimate
from equipoise.flow.check import CheckWish, check_bundle

SIDE, ROWS = 8, 900
LABELS = ("top", "middle", "bottom")
LINES = np.repeat([0, 1, 2, 3], 2 * SIDE)
BROAD = np.stack([place == LINES for place in range(3)], axis=1).astype(np.float32) / 4096
"""Looks at all 16 pixels of a band."""
NARROW = np.stack([np.arange(SIDE * SIDE) == 16 * place for place in range(3)], axis=1).astype(np.float32) / 256
"""Looks at one pixel of each: right as long as that one is."""
UNREAL = Estimate(value=0.9, low=None, high=None, n=1, method="")


def _model(folder: Path, weights: Any) -> Path:
    """`logits = image @ weights`, for uint8 images of 8 x 8."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir()
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "g", [image], [logits], [numpy_helper.from_array(weights, "w")])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )
    return folder


def _verdict(name: str, **changes: Any) -> SliceVerdict:
    values: dict[str, Any] = {"kind": "corruption", "margin": Margin(drop=0.03), "verdict": "within", "blocks": False}
    return SliceVerdict(**{"name": name, "n": 500, "needed": None, "difference": None} | values | changes)


@pytest.fixture
def outcomes(tmp_path: Path, bundled: Any) -> Any:
    """Checks a bundle of some weights against a certificate about corruptions."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, ROWS)
    image = np.where(label[:, None] == LINES, 200, 60).astype(np.uint8).reshape(ROWS, SIDE, SIDE)
    np.savez(tmp_path / "new.npz", image=image, label=np.array(LABELS)[label])

    def run(weights: Any, *verdicts: SliceVerdict, baseline: bool = True) -> tuple[Check, dict[str, str]]:
        certificate = Certificate(
            metric="accuracy", margin=Margin(drop=0.03), confidence=0.95, n=1000, baseline=UNREAL, chosen=UNREAL,
            difference=UNREAL, method="", candidates_tried=1, candidates_certified=1, slices=verdicts, reused=0,
            passed=True,
        )  # fmt: skip
        folder = bundled(
            tmp_path / "bundle", _model(tmp_path / "made", weights), {"image": image[:3]}, labels=LABELS, batch=64,
            certificate=certificate,
        )  # fmt: skip
        original = _model(tmp_path / "original", BROAD) / "model.onnx" if baseline else None
        found = check_bundle(folder, CheckWish(tmp_path / "new.npz", baseline=original))
        return found, {claim.name: claim.outcome for claim in found.claims}

    return run


def test_a_bundle_that_is_right_on_clean_rows_alone_fails(outcomes: Any) -> None:
    shown = _verdict("impulse_noise:4", verdict="worse")
    found, by_name = outcomes(NARROW, _verdict("impulse_noise:5"), _verdict("brightness:3"), shown)
    assert by_name["main"] == "holds"
    assert by_name["impulse_noise:5"] == "fails"
    assert by_name["brightness:3"] == "holds"
    assert by_name["impulse_noise:4"] == "not tested"  # the study only reported it
    assert not found.ok


def test_a_bundle_that_stands_them_passes(outcomes: Any) -> None:
    found, by_name = outcomes(BROAD * 2, _verdict("impulse_noise:5"), _verdict("typos"))
    assert found.ok
    assert by_name["impulse_noise:5"] == "holds"
    assert by_name["typos"] == "not tested"
    assert {claim.name: claim.details for claim in found.claims}["typos"] == ("the new rows cannot take it",)


def test_without_the_original_they_are_not_tested(outcomes: Any) -> None:
    found, by_name = outcomes(BROAD, _verdict("impulse_noise:5"), baseline=False)
    assert by_name["impulse_noise:5"] == "not tested"
    assert "--baseline" in found.claims[-1].details[0]
