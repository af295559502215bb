from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from equipoise.core.environment import Environment
from equipoise.core.plan import BatchRule, Forecast, Plan, PlanStage, StageModel
from equipoise.core.profile import Settings
from equipoise.core.splits import Duplicates, Splits
from equipoise.errors import BundleError
from equipoise.store.artifacts import artifact_bytes, artifact_digest
from equipoise.store.bundle import read_bundle, write_bundle
from equipoise.store.manifest import MANIFEST, changed_files, write_manifest

SPLITS = Splits(
    calibrate=1,
    search=2,
    certify=3,
    groups_in_certify=None,
    data_digest="d" * 64,
    duplicates=Duplicates(exact=0, near=0, in_training=None, conflicting_targets=0),
)
ENVIRONMENT = Environment(
    cpu_model="cpu",
    cpu_flags=("avx2",),
    cores=2,
    memory_bytes=1,
    system="Linux",
    python="3.11",
    libraries={"onnx": "1"},
)
TEXT = np.array(["a", None, "ünï"], dtype=object)[:, None]


def linear_onnx(folder: Path, external: bool = False) -> Path:
    folder.mkdir()
    weights = numpy_helper.from_array(np.arange(512, dtype=np.float32).reshape(2, 256), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["logits"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, 256])
    model = helper.make_model(helper.make_graph([node], "g", [x], [logits], [weights]))
    where = {"location": "model.onnx.data", "size_threshold": 0} if external else {}
    onnx.save(model, folder / "model.onnx", save_as_external_data=external, **where)
    return folder


def plan_of(digest: str, kind: str = "onnx") -> Plan:
    settings = Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=1, batch=2)
    model = StageModel(artifact=digest, format=kind, settings=settings)
    stage = PlanStage(models=(model,), batch_rule=BatchRule(max_rows=2))
    forecast = Forecast(
        quality=None, p99_s=None, throughput_rps=1, usd_per_million_packed=1, usd_per_million_provisioned=None
    )
    return Plan(name="n", output="logits", output_kind="logits", stages=(stage,), usd_per_hour=1, forecast=forecast)


def written(place: Path, artifact: Path, kind: str = "onnx") -> Path:
    plan = plan_of(artifact_digest(artifact), kind)
    write_bundle(
        place,
        plan,
        None,
        ENVIRONMENT,
        SPLITS,
        ("no", "yes"),
        {"x": np.ones((3, 2), np.float32), "../odd": TEXT},
        {"logits": np.ones((3, 256), np.float32)},
        {plan.models[0].artifact: artifact},
        "# card\n",
    )
    return place


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return written(tmp_path / "bundle", linear_onnx(tmp_path / "made"))


def test_digest_depends_on_names_and_contents_alone(tmp_path: Path) -> None:
    first = linear_onnx(tmp_path / "first")
    second = Path(shutil.copytree(first, tmp_path / "second"))
    assert artifact_digest(first) == artifact_digest(second)
    (second / "model.onnx").rename(second / "other.onnx")
    assert artifact_digest(first) != artifact_digest(second)
    assert artifact_bytes(first) == (first / "model.onnx").stat().st_size


def test_holds_what_the_contract_names_and_reads_back(bundle: Path) -> None:
    read = read_bundle(bundle)
    assert {path.name for path in bundle.iterdir()} == {
        "manifest.json", "plan.json", "certificate.json", "environment.json", "data.json", "labels.json", "golden.npz",
        "README.md", "artifacts",
    }  # fmt: skip
    assert read.plan.content_digest == plan_of(read.plan.models[0].artifact).content_digest
    assert read.certificate is None
    assert read.environment == ENVIRONMENT
    assert read.data.splits == SPLITS
    assert read.labels == ("no", "yes")
    assert read.golden_inputs["../odd"].tolist() == TEXT.tolist()
    assert read.golden_outputs["logits"].shape == (3, 256)
    assert read.manifest.created_with.startswith("equipoise ")
    assert artifact_digest(next(iter(read.artifacts.values()))) == read.plan.models[0].artifact


def test_every_flipped_byte_is_found(bundle: Path) -> None:
    random = np.random.default_rng(0)
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert len(files) == 9
    for path in files:
        intact = path.read_bytes()
        for at in {0, len(intact) - 1, *random.integers(0, len(intact), 10).tolist()}:
            damaged = bytearray(intact)
            damaged[at] ^= 1
            path.write_bytes(bytes(damaged))
            _, changes = changed_files(bundle)
            assert any(line.startswith(path.relative_to(bundle).as_posix()) for line in changes), (path, at)
            with pytest.raises(BundleError):
                read_bundle(bundle)
        path.write_bytes(intact)
    assert changed_files(bundle)[1] == ()


def test_missing_added_and_linked_files_are_named(bundle: Path, tmp_path: Path) -> None:
    (bundle / "labels.json").unlink()
    (bundle / "extra.txt").write_text("x")
    secret = tmp_path / "secret"
    shutil.move(bundle / "README.md", secret)
    (bundle / "README.md").symlink_to(secret)
    with pytest.raises(BundleError, match=r"README\.md: not a plain file.*labels\.json: missing.*extra\.txt: added"):
        read_bundle(bundle)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../../b", "..\\b", "C:/b"])
def test_a_manifest_cannot_name_files_outside(bundle: Path, name: str) -> None:
    manifest, _ = changed_files(bundle)
    assert manifest is not None
    record = next(iter(manifest.files.values()))
    (bundle / MANIFEST).write_text(manifest.model_copy(update={"files": {**manifest.files, name: record}}).render())
    with pytest.raises(BundleError, match="not inside the bundle"):
        read_bundle(bundle)


def test_a_pickle_never_gets_in(tmp_path: Path) -> None:
    artifact = linear_onnx(tmp_path / "made")
    (artifact / "model.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(BundleError, match=r"model\.pkl"):
        written(tmp_path / "bundle", artifact)
    assert not (tmp_path / "bundle").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_pickle_in_a_bundle_is_refused_though_the_manifest_lists_it(bundle: Path) -> None:
    artifact = next((bundle / "artifacts").iterdir())
    (artifact / "model.joblib").write_bytes(pickle.dumps([1]))
    (bundle / MANIFEST).unlink()
    write_manifest(bundle, "somebody")
    with pytest.raises(BundleError, match=r"model\.joblib, which a bundle never holds"):
        read_bundle(bundle)


def test_weights_beside_an_onnx_file_come_along(tmp_path: Path) -> None:
    bundle = written(tmp_path / "bundle", linear_onnx(tmp_path / "made", external=True))
    folder = next((bundle / "artifacts").iterdir())
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "model.onnx.data"}
    assert read_bundle(bundle).labels == ("no", "yes")


def test_an_artifact_brings_no_allow_list(tmp_path: Path) -> None:
    artifact = tmp_path / "made"
    artifact.mkdir()
    for name, text in (("model.skops", "s"), ("spec.json", "{}"), ("trusted.json", '["os.system"]')):
        (artifact / name).write_text(text)
    with pytest.raises(BundleError, match=r"trusted\.json, which a bundle never holds"):
        written(tmp_path / "bundle", artifact, "sklearn")


def test_golden_answers_are_never_unpickled(bundle: Path) -> None:
    with (bundle / "golden.npz").open("wb") as file:
        np.savez(file, **{"input/x": np.array([{"a": 1}], dtype=object), "output/y": np.zeros(1)})  # type: ignore[arg-type]
    (bundle / MANIFEST).unlink()
    write_manifest(bundle, "somebody")
    with pytest.raises(BundleError, match=r"golden\.npz"):
        read_bundle(bundle)


def _without_name(plan: dict[str, object]) -> None:
    del plan["name"]


def _another_layout(plan: dict[str, object]) -> None:
    plan["surprise"] = 1


@pytest.mark.parametrize("change", [_without_name, _another_layout])
def test_a_plan_of_another_layout_is_one_clear_error(bundle: Path, change: Callable[[dict[str, object]], None]) -> None:
    plan = json.loads((bundle / "plan.json").read_text())
    change(plan)
    (bundle / "plan.json").write_text(json.dumps(plan))
    (bundle / MANIFEST).unlink()
    write_manifest(bundle, "somebody")
    with pytest.raises(BundleError, match=r"plan\.json"):
        read_bundle(bundle)


def test_replaces_a_bundle_and_nothing_else(bundle: Path, tmp_path: Path) -> None:
    written(bundle, tmp_path / "made")
    assert read_bundle(bundle).plan.name == "n"
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "made"}
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_text("meow")
    with pytest.raises(BundleError, match="not a bundle"):
        written(other, tmp_path / "made")
    assert (other / "cat.jpg").read_text() == "meow"


@pytest.mark.parametrize("name", ["nothing", "file", "folder"])
def test_what_is_no_bundle_is_said_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BundleError, match="equipoise optimize"):
        read_bundle(tmp_path / name)
