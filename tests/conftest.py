"""What tests share: real data, and real, tiny bundles (an image-like ONNX classifier, scikit-learn models)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from numpy.typing import NDArray

from equipoise.core.certificate import Certificate
from equipoise.core.plan import BatchRule, Forecast, Plan, PlanStage, StageModel
from equipoise.core.profile import Precision, Settings
from equipoise.core.splits import Duplicates, Splits
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.execute.plan import open_plan_from
from equipoise.host.environment import environment
from equipoise.store.artifacts import artifact_digest
from equipoise.store.bundle import write_bundle

Array = NDArray[Any]

pytest_plugins = ["serving"]
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real models, data, traces and prices that lies beside the project; the test skips without it."""
    folder = Path(os.environ.get("EQUIPOISE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set EQUIPOISE_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def tflite_writer() -> Any:
    """The class that writes TensorFlow Lite files without TensorFlow: `examples/tflite_writer.py`."""
    spec = importlib.util.spec_from_file_location("tflite_writer", REPOSITORY / "examples" / "tflite_writer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TfliteWriter


@pytest.fixture(scope="session", autouse=True)
def own_register(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Studies of tests are noted in a register of their own, never in the person's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EQUIPOISE_STORE", f"sqlite:///{tmp_path_factory.mktemp('register') / 'store.db'}")
        yield


def sign_itself(folder: Path, name: str, password: bytes | None = None) -> tuple[Path, Path]:
    """A certificate that signs itself, for this machine, and its key."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, hidden))
    return folder / f"{name}.pem", folder / f"{name}.key"


@pytest.fixture
def signed() -> Any:
    return sign_itself


def make_linear(folder: Path, weights: Array, fixed_batch: int | None = None) -> Path:
    """An ONNX model: `logits = image @ weights`, for uint8 images of 2 x 2."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir()
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [fixed_batch, 2, 2])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [fixed_batch, weights.shape[1]])
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    graph = helper.make_graph(nodes, "g", [image], [logits], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    return folder


@pytest.fixture
def linear() -> Any:
    return make_linear


@pytest.fixture
def images() -> Array:
    return np.random.default_rng(0).integers(0, 256, (11, 2, 2), dtype=np.uint8)


def make_bundle(
    place: Path,
    artifact: Path,
    golden: dict[str, Array],
    *,
    runtime: str = "onnxruntime",
    kind: str = "onnx",
    precision: Precision = "f32",
    output: str = "logits",
    output_kind: str = "logits",
    labels: tuple[str, ...] | None = None,
    batch: int = 4,
    replicas: int = 1,
    columns: tuple[str, ...] = (),
    certificate: Certificate | None = None,
) -> Path:
    """Write a bundle whose golden answers are the plan's own."""
    settings = Settings(runtime=runtime, precision=precision, threads=1, replicas=replicas, batch=batch)
    digest = artifact_digest(artifact)
    model = StageModel(artifact=digest, format=kind, settings=settings)
    stage = PlanStage(models=(model,), batch_rule=BatchRule(max_rows=batch))
    forecast = Forecast(
        quality=0.9, p99_s=0.1, throughput_rps=1, usd_per_million_packed=1, usd_per_million_provisioned=None
    )
    plan = Plan(name="tiny", output=output, output_kind=output_kind, stages=(stage,), usd_per_hour=1, forecast=forecast)
    answers = open_plan_from(plan, {digest: artifact}).answer(golden)
    nothing = Duplicates(exact=0, near=0, in_training=None, conflicting_targets=0)
    splits = Splits(calibrate=1, search=1, certify=1, groups_in_certify=None, data_digest="0" * 64, duplicates=nothing)
    write_bundle(
        place,
        plan,
        certificate,
        environment(),
        splits,
        labels,
        golden,
        answers,
        {digest: artifact},
        "# card\n",
        columns,
    )
    return place


WEIGHTS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=np.float32) / 64


@pytest.fixture
def onnx_bundle(tmp_path: Path, images: Array, linear: Any) -> Path:
    artifact = linear(tmp_path / "onnx", WEIGHTS)
    return make_bundle(tmp_path / "onnx-bundle", artifact, {"image": images[:3]}, labels=("cat", "dog", "eel"))


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    random = np.random.default_rng(1)
    age = random.integers(18, 80, 60)
    return pd.DataFrame(
        {
            "other": "ignored",
            "age": age,
            "income": random.random(60) * 10,
            "town": random.choice(np.array(["Ulm", " NA", "42"], dtype=object), 60),
            "label": np.where(age > 45, "old", "young"),
        }
    )


@pytest.fixture
def sklearn_bundle(tmp_path: Path, table: pd.DataFrame) -> Path:
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (StandardScaler(), ["age", "income"]), (OneHotEncoder(handle_unknown="ignore"), ["town"])
    )
    estimator = make_pipeline(columns, LogisticRegression()).fit(table[["age", "income", "town"]], table["label"])
    folder = tmp_path / "sklearn"
    folder.mkdir()
    skops.io.dump(estimator, folder / "model.skops")
    spec = ModelSpec(
        inputs=(
            TensorSpec(name="age", dtype="int64", shape=(None, 1)),
            TensorSpec(name="income", dtype="float64", shape=(None, 1)),
            TensorSpec(name="town", dtype="string", shape=(None, 1)),
        ),
        outputs=(
            TensorSpec(name="label", dtype="string", shape=(None,)),
            TensorSpec(name="probabilities", dtype="float64", shape=(None, 2)),
        ),
    )
    (folder / "spec.json").write_text(spec.model_dump_json())
    golden = {
        "age": np.array([[20], [70]]),
        "income": np.array([[1.0], [2.0]]),
        "town": np.array([["Ulm"], ["42"]], dtype=object),
    }
    return make_bundle(
        tmp_path / "sklearn-bundle",
        folder,
        golden,
        runtime="sklearn",
        kind="sklearn",
        precision="f64",
        output="label",
        output_kind="labels",
        labels=("old", "young"),
    )


@pytest.fixture
def bundled() -> Any:
    return make_bundle


@pytest.fixture
def array_bundle(tmp_path: Path) -> Path:
    """A regression on a plain array of two columns, which were `width` and `height` of a table."""
    import skops.io
    from sklearn.linear_model import LinearRegression

    features = np.random.default_rng(2).random((30, 2))
    folder = tmp_path / "array"
    folder.mkdir()
    skops.io.dump(LinearRegression().fit(features, features @ [2.0, 3.0]), folder / "model.skops")
    spec = ModelSpec(
        inputs=(TensorSpec(name="x", dtype="float64", shape=(None, 2)),),
        outputs=(TensorSpec(name="value", dtype="float64", shape=(None,)),),
    )
    (folder / "spec.json").write_text(spec.model_dump_json())
    return make_bundle(
        tmp_path / "array-bundle",
        folder,
        {"x": features[:2]},
        runtime="sklearn",
        kind="sklearn",
        precision="f64",
        output="value",
        output_kind="value",
        columns=("width", "height"),
    )
