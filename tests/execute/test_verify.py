from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from equipoise.cli.verify import verify
from equipoise.core.plan import Plan
from equipoise.errors import BundleError
from equipoise.execute.verify import changed_answers, verify_bundle
from equipoise.store.artifacts import artifact_digest
from equipoise.store.bundle import read_bundle
from equipoise.store.manifest import MANIFEST, write_manifest

Array = NDArray[Any]


def swap_artifact(bundle: Path, artifact: Path) -> None:
    """Put another model into a bundle, with every digest made to agree."""
    plan = Plan.model_validate_json((bundle / "plan.json").read_text())
    shutil.rmtree(bundle / "artifacts")
    digest = artifact_digest(artifact)
    shutil.copytree(artifact, bundle / "artifacts" / digest)
    stages = tuple(
        stage.model_copy(
            update={"models": tuple(model.model_copy(update={"artifact": digest}) for model in stage.models)}
        )
        for stage in plan.stages
    )
    (bundle / "plan.json").write_text(plan.model_copy(update={"stages": stages}).model_dump_json())
    reseal(bundle)


def reseal(bundle: Path) -> None:
    (bundle / MANIFEST).unlink()
    write_manifest(bundle, "somebody")


@pytest.mark.parametrize("name", ["onnx_bundle", "sklearn_bundle"])
def test_an_intact_bundle_is_ok(name: str, request: pytest.FixtureRequest) -> None:
    found = verify_bundle(request.getfixturevalue(name))
    assert (found.ok, found.changed_files, found.changed_answers) == (True, (), ())
    assert found.same_environment
    assert found.notes == ()


@pytest.mark.parametrize("name", ["onnx_bundle", "sklearn_bundle"])
def test_a_flipped_byte_in_any_file_is_found(name: str, request: pytest.FixtureRequest) -> None:
    bundle = request.getfixturevalue(name)
    for path in [path for path in bundle.rglob("*") if path.is_file()]:
        intact = path.read_bytes()
        damaged = bytearray(intact)
        damaged[len(damaged) // 2] ^= 4
        path.write_bytes(bytes(damaged))
        found = verify_bundle(bundle)
        assert not found.ok
        assert any(line.startswith(path.relative_to(bundle).as_posix()) for line in found.changed_files)
        path.write_bytes(intact)
    assert verify_bundle(bundle).ok


def test_another_model_with_consistent_digests_answers_differently(
    onnx_bundle: Path, tmp_path: Path, linear: Any
) -> None:
    weights = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.002, 0, 0]], dtype=np.float32) / 64
    swap_artifact(onnx_bundle, linear(tmp_path / "swapped", weights))
    found = verify_bundle(onnx_bundle)
    assert not found.ok
    assert found.changed_files == ()
    assert len(found.changed_answers) == 1
    assert "'logits' differs by" in found.changed_answers[0]


def test_an_artifact_under_another_digest_is_refused(onnx_bundle: Path) -> None:
    model = next(onnx_bundle.glob("artifacts/*/model.onnx"))
    model.write_bytes(model.read_bytes() + b"\0")
    reseal(onnx_bundle)
    with pytest.raises(BundleError, match="another digest"):
        verify_bundle(onnx_bundle)


def test_a_model_that_does_not_open_is_a_changed_answer(onnx_bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"not a model")
    swap_artifact(onnx_bundle, broken)
    found = verify_bundle(onnx_bundle)
    assert not found.ok
    assert "cannot be opened here" in found.changed_answers[0]


def test_another_machine_is_said_and_is_no_change(onnx_bundle: Path) -> None:
    environment = json.loads((onnx_bundle / "environment.json").read_text())
    environment["cpu_flags"] = ["amx_tile"]
    environment["libraries"]["onnxruntime"] = "0.0.1"
    (onnx_bundle / "environment.json").write_text(json.dumps(environment))
    reseal(onnx_bundle)
    found = verify_bundle(onnx_bundle)
    assert found.ok
    assert not found.same_environment
    assert "speed was measured elsewhere" in found.notes[0]
    assert "instead of 0.0.1" in found.notes[0]


def test_numbers_may_differ_by_the_rounding_of_their_precision(onnx_bundle: Path) -> None:
    plan = read_bundle(onnx_bundle).plan
    golden = {"logits": np.array([[1.0, 2.0, 100.0]], dtype=np.float32)}
    assert changed_answers(plan, golden, {"logits": golden["logits"] + 0.009}) == ()
    assert changed_answers(plan, golden, {"logits": golden["logits"] + 0.011})
    assert changed_answers(plan, golden, {"logits": golden["logits"][:, :2]})
    assert changed_answers(plan, golden, {})
    assert changed_answers(plan, golden, {"logits": np.array([[1.0, np.nan, 100.0]])})
    near_tie = {"logits": np.array([[1.0, 99.999, 100.0]])}
    assert changed_answers(plan, near_tie, {"logits": np.array([[1.0, 100.001, 100.0]])}) == ()


def test_command_line_statuses(onnx_bundle: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(verify, [str(onnx_bundle)]).exit_code == 0
    (onnx_bundle / "README.md").write_text("other")
    changed = run(verify, [str(onnx_bundle)])
    assert changed.exit_code == 1
    assert "README.md: changed" in changed.output
    as_json = json.loads(run(verify, [str(onnx_bundle), "--json"]).output)
    assert as_json["ok"] is False
    assert as_json["changed_files"] == ["README.md: changed (5 bytes instead of 7)"]
    assert isinstance(run(verify, [str(tmp_path)]).exception, BundleError)
