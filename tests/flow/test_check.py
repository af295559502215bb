"""A bundle, its certificate and new rows: what the gate lets through, and what it says of the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from equipoise.cli.check import check
from equipoise.core.certificate import Certificate, Margin, SliceVerdict
from equipoise.core.check import Check, CheckedClaim
from equipoise.core.estimate import Estimate
from equipoise.core.plan import Plan
from equipoise.errors import BriefError, BundleError, DataError, InputError, ModelError
from equipoise.flow.check import CheckWish, check_bundle
from equipoise.store.artifacts import artifact_digest
from equipoise.store.manifest import MANIFEST, write_manifest

ROWS = 900
LABELS = ("cat", "dog", "eel")
RIGHT = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=np.float32) / 64
BLIND = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [4, 0, 0]], dtype=np.float32) / 64
"""Says `cat` wherever the last pixel is bright."""


def _figure(value: float) -> Estimate:
    return Estimate(value=value, low=None, high=None, n=1, method="")


def _slice(name: str, **changes: Any) -> SliceVerdict:
    values: dict[str, Any] = {"kind": "slice", "margin": Margin(drop=0.05), "verdict": "within", "blocks": False}
    return SliceVerdict(**{"name": name, "n": 500, "needed": None, "difference": None} | values | changes)


def _certificate(*slices: SliceVerdict, **changes: Any) -> Certificate:
    values: dict[str, Any] = {
        "metric": "accuracy",
        "margin": Margin(drop=0.03),
        "confidence": 0.95,
        "n": 1000,
        "baseline": _figure(0.9),
        "chosen": _figure(0.9),
        "difference": _figure(0.0),
        "method": "",
        "candidates_tried": 1,
        "candidates_certified": 1,
        "slices": slices,
        "reused": 0,
        "passed": True,
    }
    return Certificate(**values | changes)


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, linear: Any, bundled: Any, images: Any) -> Make:
    """Writes a bundle that serves some weights under some certificate."""

    def made(
        *slices: SliceVerdict, weights: Any = RIGHT, certificate: Certificate | None = None, **changes: Any
    ) -> Path:
        artifact = linear(tmp_path / "artifact", weights)
        proof = certificate or _certificate(*slices, **changes)
        folder: Path = bundled(
            tmp_path / "bundle", artifact, {"image": images[:3]}, labels=LABELS, batch=64, certificate=proof
        )
        return folder

    return made


@pytest.fixture
def original(tmp_path: Path, linear: Any) -> Path:
    """The model that the bundles are compared with."""
    return Path(linear(tmp_path / "original", RIGHT)) / "model.onnx"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return _rows(tmp_path / "new.npz", ROWS)


def _rows(path: Path, n: int, bright: float = 0.0, bright_in_f: float = 0.0, seed: int = 3) -> Path:
    """Images whose brightest of three pixels says what they show, one of ten labelled wrongly."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 100, (n, 2, 2), dtype=np.uint8)
    label = rng.integers(0, 3, n)
    flat = image.reshape(n, 4)
    flat[np.arange(n), label] = 200
    sex = np.where(rng.random(n) < 0.4, "F", "M")
    flat[:, 3] = np.where(rng.random(n) < np.where(sex == "F", bright_in_f, bright), 250, 0)
    seen = np.where(rng.random(n) < 0.1, (label + 1) % 3, label)
    age = rng.integers(18, 90, n)
    np.savez(path, image=image, label=np.array(LABELS)[seen], sex=sex, age=age, site=np.arange(n) // 10)
    return path


def _claims(found: Check) -> dict[str, CheckedClaim]:
    return {claim.name: claim for claim in found.claims}


def _outcomes(found: Check) -> dict[str, str]:
    return {claim.name: claim.outcome for claim in found.claims}


def test_a_bundle_that_answers_like_the_original_passes_beside_it(make: Make, original: Path, data: Path) -> None:
    found = check_bundle(make(_slice("sex=F"), _slice("sex=M")), CheckWish(data, baseline=original))
    assert found.ok
    assert found.basis == "paired"
    assert found.notes == ()
    assert _outcomes(found) == dict.fromkeys(("files", "golden answers", "main", "sex=F", "sex=M"), "holds")
    main = _claims(found)["main"]
    assert main.n == ROWS
    assert main.quality is not None
    assert main.quality.value == pytest.approx(0.9, abs=0.03)
    assert main.margin == Margin(drop=0.03)


def test_a_bundle_that_is_worse_on_new_rows_fails(make: Make, original: Path, tmp_path: Path) -> None:
    data = _rows(tmp_path / "dark.npz", ROWS, bright=0.2, bright_in_f=0.2)
    found = check_bundle(make(weights=BLIND), CheckWish(data, baseline=original))
    main = _claims(found)["main"]
    assert not found.ok
    assert (main.outcome, main.verdict) == ("fails", "worse")
    assert main.difference is not None
    assert main.difference.value > 0.05


def test_a_loss_on_one_slice_alone_fails(make: Make, original: Path, tmp_path: Path) -> None:
    data = _rows(tmp_path / "f.npz", 4 * ROWS, bright_in_f=0.2)
    slices = (_slice("sex=F", margin=Margin(drop=0.05)), _slice("sex=M"))
    bundle = make(*slices, weights=BLIND, margin=Margin(drop=0.15))
    found = check_bundle(bundle, CheckWish(data, baseline=original))
    assert _outcomes(found) == {
        "files": "holds", "golden answers": "holds", "main": "holds", "sex=F": "fails", "sex=M": "holds",
    }  # fmt: skip
    assert _claims(found)["sex=F"].verdict == "worse"


def test_slices_are_those_of_the_certificate(make: Make, original: Path, data: Path) -> None:
    """Quartiles keep their ends; a value without new rows is not proved; one that came later is no claim."""
    ages = [_slice(f"age=[{least}, {greatest}]", margin=Margin(drop=0.2)) for least, greatest in ((18, 50), (51, 80))]
    found = check_bundle(make(*ages, _slice("sex=F"), _slice("sex=X")), CheckWish(data, baseline=original))
    claims = _claims(found)
    with np.load(data) as rows:
        assert claims["age=[18, 50]"].n == np.sum(rows["age"] <= 50)
        assert claims["age=[51, 80]"].n == np.sum(rows["age"] > 50)
        men = int(np.sum(rows["sex"] == "M"))
    assert (claims["sex=X"].outcome, claims["sex=X"].verdict, claims["sex=X"].n) == ("fails", "too few", 0)
    assert found.notes == (f"{men} rows of sex=M, of which the certificate says nothing",)


def test_small_slices_may_be_reported_only(make: Make, original: Path, data: Path) -> None:
    bundle = make(_slice("sex=F"), _slice("sex=X"))
    found = check_bundle(bundle, CheckWish(data, baseline=original, small_slices="report"))
    assert found.ok
    assert _outcomes(found)["sex=X"] == "not tested"


def test_without_the_original_the_figure_itself_is_tested(make: Make, data: Path, tmp_path: Path) -> None:
    bundle = make(_slice("sex=F"), baseline=_figure(0.88))
    found = check_bundle(bundle, CheckWish(data))
    assert found.ok
    assert found.basis == "floor"
    assert _outcomes(found)["sex=F"] == "not tested"
    assert _claims(found)["main"].floor == pytest.approx(0.85)
    assert any("says less than a comparison" in note for note in found.notes)
    assert not check_bundle(bundle, CheckWish(_rows(tmp_path / "few.npz", 30))).ok


def test_out_of_distribution_sets_need_rows_of_their_own(
    make: Make, original: Path, data: Path, tmp_path: Path
) -> None:
    bundle = make(_slice("night", kind="ood"), _slice("snow", kind="ood"), weights=BLIND)
    night = _rows(tmp_path / "night.npz", ROWS, bright=0.5, bright_in_f=0.5)
    found = check_bundle(bundle, CheckWish(data, baseline=original, ood={"night": night}))
    assert (_outcomes(found)["main"], _outcomes(found)["night"]) == ("holds", "fails")
    assert _claims(found)["snow"].outcome == "not tested"
    assert "--ood snow=PATH" in _claims(found)["snow"].details[0]


def test_a_certificate_by_group_is_tested_by_group(make: Make, original: Path, data: Path) -> None:
    bundle = make(groups=50, margin=Margin(drop=0.1))
    found = check_bundle(bundle, CheckWish(data, baseline=original, group="site"))
    assert found.ok
    assert "90 groups" in _claims(found)["main"].details[0]


def test_agreement_is_with_the_originals_answers(make: Make, original: Path, tmp_path: Path) -> None:
    data = _rows(tmp_path / "half.npz", ROWS, bright=0.5, bright_in_f=0.5)
    bundle = make(weights=BLIND, metric="agreement")
    main = _claims(check_bundle(bundle, CheckWish(data, baseline=original)))["main"]
    assert main.outcome == "fails"
    assert main.quality is not None
    assert main.quality.value == pytest.approx(2 / 3, abs=0.06)


def test_nothing_is_opened_where_a_file_changed(make: Make, data: Path) -> None:
    bundle = make(_slice("sex=F"))
    (bundle / "labels.json").write_text('["dog", "cat", "eel"]\n')
    found = check_bundle(bundle, CheckWish(data))
    assert not found.ok
    assert _outcomes(found) == {"files": "fails", "golden answers": "not tested"}
    assert found.metric is None


def test_another_model_under_agreeing_digests_fails(make: Make, original: Path, data: Path, linear: Any) -> None:
    bundle = make()
    swapped = linear(bundle.parent / "swapped", BLIND)
    plan = Plan.model_validate_json((bundle / "plan.json").read_text())
    (old,) = (bundle / "artifacts").iterdir()
    digest = artifact_digest(swapped)
    (old / "model.onnx").write_bytes((swapped / "model.onnx").read_bytes())
    old.rename(bundle / "artifacts" / digest)
    model = plan.stages[0].models[0].model_copy(update={"artifact": digest})
    stage = plan.stages[0].model_copy(update={"models": (model,)})
    (bundle / "plan.json").write_text(plan.model_copy(update={"stages": (stage,)}).model_dump_json())
    (bundle / MANIFEST).unlink()
    write_manifest(bundle, "somebody")
    found = check_bundle(bundle, CheckWish(data, baseline=original))
    assert _outcomes(found) == {"files": "holds", "golden answers": "fails", "main": "holds"}


WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], type[InputError], str]] = {
    "no such slice column": ({"slices": (_slice("town=Ulm"),)}, {"baseline": True}, DataError, "town"),
    "an unknown set": ({}, {"ood": {"fog": Path("fog.npz")}}, BriefError, "it has none"),
    "no group": ({"groups": 40}, {}, BriefError, "--group"),
    "agreement with nobody": ({"metric": "agreement"}, {}, BriefError, "--baseline"),
    "no positive class": ({"metric": "f1_binary"}, {}, BriefError, "cat, dog, eel"),
    "a class that is none": ({}, {"positive_class": "cow"}, BriefError, "cow"),
    "no such target": ({}, {"target": "truth"}, DataError, "truth"),
    "no such data": ({}, {"data": Path("nowhere.npz")}, DataError, "nowhere.npz"),
    "no such original": ({}, {"baseline": Path("nowhere.onnx")}, ModelError, "nowhere.onnx"),
    "a pickle": ({}, {"baseline": Path("m.joblib")}, ModelError, "--trust"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_is_one_clear_error(
    what: str, make: Make, original: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certified, wish, kind, said = WRONG[what]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.joblib").write_bytes(b"\x80\x04N.")
    changes = {name: value for name, value in certified.items() if name != "slices"}
    bundle = make(*certified.get("slices", ()), **changes)
    options = {"data": data} | wish
    if options.get("baseline") is True:
        options["baseline"] = original
    with pytest.raises(kind, match=said):
        check_bundle(bundle, CheckWish(**options))


def test_a_bundle_that_certifies_nothing_is_refused(onnx_bundle: Path, data: Path) -> None:
    with pytest.raises(BundleError, match="certifies no answers"):
        check_bundle(onnx_bundle, CheckWish(data))


def test_the_command_exits_by_what_it_found(make: Make, original: Path, data: Path, tmp_path: Path) -> None:
    bundle = make(_slice("sex=F"), _slice("night", kind="ood"))
    junit = tmp_path / "check.xml"
    run = CliRunner().invoke(check, [str(bundle), "--data", str(data), "--baseline", str(original), "--json"])
    assert run.exit_code == 0
    assert Check.model_validate(json.loads(run.output)).ok
    few = _rows(tmp_path / "few.npz", 40)
    run = CliRunner().invoke(
        check, [str(bundle), "--data", str(few), "--baseline", str(original), "--junit", str(junit)]
    )
    assert run.exit_code == 1
    lines = run.output.splitlines()
    assert lines[0] == "ok    files              as they were written"
    assert lines[2].startswith("FAIL  accuracy ")
    assert "these rows cannot tell" in lines[2]
    assert lines[-1].endswith("2 of 5 claims are not proved, do not serve it")
    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "2", "1")
    cases = {case.get("name"): [part.tag for part in case] for case in suite.iter("testcase")}
    assert cases == {
        "files": ["system-out"],
        "golden answers": ["system-out"],
        "accuracy": ["failure"],
        "accuracy on sex=F": ["failure"],
        "accuracy on night": ["skipped"],
    }
    missing = str(tmp_path / "nowhere" / "check.xml")
    run = CliRunner().invoke(check, [str(bundle), "--data", str(few), "--junit", missing])
    assert isinstance(run.exception, BriefError)
