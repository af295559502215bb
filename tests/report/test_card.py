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
