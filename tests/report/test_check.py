from __future__ import annotations

from xml.etree import ElementTree

import pytest

from equipoise.core.certificate import Margin
from equipoise.core.check import Check, CheckedClaim
from equipoise.core.estimate import Estimate
from equipoise.report.check import check_lines, junit


def _check(*claims: CheckedClaim) -> Check:
    return Check(
        bundle="b", plan="p", data="d.csv", metric="accuracy", confidence=0.95, basis="paired", claims=claims, notes=()
    )


def _slice(name: str, **changes: object) -> CheckedClaim:
    loss = Estimate(value=0.02, low=0.01, high=0.034, n=400, method="")
    values = {"outcome": "fails", "verdict": "worse", "margin": Margin(drop=0.01), "difference": loss, "n": 400}
    return CheckedClaim.model_validate({"name": name, "kind": "slice", "p_value": 0.4} | values | changes)


def test_a_claim_is_a_line_with_its_figures() -> None:
    (line, verdict) = check_lines(_check(_slice("sex=F")))
    assert line == (
        "FAIL  accuracy on sex=F  400 rows, loses 2 points, surely at most 3.4 points, allowed 1 point, p = 0.4: "
        "there is evidence of harm"
    )
    assert verdict == "b: 1 of 1 claims are not proved, do not serve it"


@pytest.mark.parametrize(
    ("basis", "outcomes", "verdict"),
    [
        ("paired", ("holds", "holds"), "its certificate holds"),
        ("floor", ("holds",), "its figure is past the floor"),
        ("floor", ("holds", "not tested"), "what was tested holds; 1 of 2 claims were not tested"),
        ("paired", ("holds", "fails"), "1 of 2 claims are not proved, do not serve it"),
    ],
)
def test_the_verdict_says_no_more_than_was_tested(basis: str, outcomes: tuple[str, ...], verdict: str) -> None:
    claims = [_slice(f"s={number}", outcome=outcome) for number, outcome in enumerate(outcomes)]
    found = _check(*claims).model_copy(update={"basis": basis})
    assert check_lines(found)[-1] == f"b: {verdict}"


def test_changed_files_are_named() -> None:
    changed = CheckedClaim(name="files", kind="files", outcome="fails", details=("labels.json: changed",))
    assert check_lines(_check(changed))[:2] == ["FAIL  files  1 changed", "      labels.json: changed"]


def test_junit_is_xml_whatever_a_slice_is_called() -> None:
    text = junit(_check(_slice('city="<Ü&\x00\x1b]]>'), _slice("b", outcome="holds", verdict="within")))
    suite = ElementTree.fromstring(text)[0]
    names = [case.get("name") for case in suite.iter("testcase")]
    assert names == ['accuracy on city="<Ü&\ufffd\ufffd]]>', "accuracy on b"]
    assert suite.get("failures") == "1"
    assert [case.get("classname") for case in suite.iter("testcase")] == ["equipoise.check.slice"] * 2
