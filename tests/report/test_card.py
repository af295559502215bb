from __future__ import annotations

from equipoise.core.result import Result
from equipoise.report.card import model_card


def test_front_matter_holds_the_certified_figures(replaced: Result) -> None:
    card = model_card(replaced, "resnet56.onnx", "test.npz", 0.1)
    _, front, body = card.split("---\n", 2)
    assert front == (
        'license: "unknown"\n'
        'library_name: "openvino"\n'
        "tags:\n"
        '- "equipoise"\n'
        '- "openvino"\n'
        '- "bf16"\n'
        "metrics:\n"
        '- "accuracy"\n'
        "model-index:\n"
        '- name: "resnet56.onnx"\n'
        "  results:\n"
        "  - task:\n"
        '      type: "other"\n'
        "    dataset:\n"
        '      name: "test.npz"\n'
        '      type: "private"\n'
        "    metrics:\n"
        '    - type: "accuracy"\n'
        '      name: "accuracy"\n'
        "      value: 0.8298\n"
    )
    assert (
        "Certified: loses at most 1 point of accuracy against the original, with 95% confidence, on 3,000 rows." in body
    )
    assert "| race=Other (too few, 41 rows)" in body
    assert "$0.0953 per million answers (provisioned)" in body


def test_without_a_certificate_it_claims_nothing(speed_only: Result) -> None:
    card = model_card(speed_only, "m.onnx")
    assert "No claim is made about quality" in card
    assert "model-index" not in card


def test_hostile_names_stay_text(replaced: Result) -> None:
    front = model_card(replaced, 'x"\n---\nevil: [1]', "<script>|").split("\n---\n", 1)[0]
    assert "\nevil" not in front
    assert "<script>" not in model_card(replaced.model_copy(update={"sentence": "<script>"}), "m.onnx")


def test_a_cascade_is_told_with_its_thresholds_and_certificates(composed: Result) -> None:
    card = model_card(composed, "resnet56.onnx", "test.npz", 0.1)
    assert '- "cascade"\n' in card
    assert "## How the cascade is put together" in card
    assert (
        "| 1. resnet20.onnx + int8_nncf(preset=performance, target=openvino) @ openvino int8 | 100% | 80.3% "
        "| its likeliest answer has a probability of at least 0.5994 |"
    ) in card
    assert "reduce_range=False) @ openvino int8_bf16 | 19.7% | 19.7% | always |" in card
    assert "- Under pressure: resnet20.onnx + int8_nncf (openvino int8) answers, $0.0071 per million: accuracy" in card
    assert "79.11% (surely at least 78.01%, floor 75.00%, 95% confidence, 3,000 rows)" in card
    assert "- When it is not sure: 96 of 100 answers are trusted; for the others a person is asked" in card
    assert "- From memory: 30 of 100 requests find their answer in 31.2 MB of memory: $0.0701" in card
    assert "Test (under pressure): exact binomial test." in card
    assert "plan=" not in card


def test_what_was_rejected_is_not_promised(together: Result, replaced: Result) -> None:
    card = model_card(together, "m.onnx")
    assert "not offered: resnet20.onnx + int8_nncf (openvino int8) is not proved to reach the floor" in card
    assert "left out: 30 of 100 requests" in card
    assert "its memory would cost $0.004 per million and save $0.0032" in card
    single = model_card(replaced, "m.onnx")
    assert "put together" not in single
    assert "Under pressure" not in single


def test_hostile_stages_stay_text(composed: Result) -> None:
    chosen = composed.chosen
    assert chosen is not None
    stages = tuple(stage.model_copy(update={"name": "<script>|", "accepts": "a|\nb"}) for stage in chosen.stages)
    card = model_card(composed.model_copy(update={"chosen": chosen.model_copy(update={"stages": stages})}), "m.onnx")
    assert "<script>" not in card
    assert "| 1. &lt;script>\\| | 100% | 80.3% | a\\| b |" in card
