"""Bundles for the benchmarks: models in plans made for the case, with seconds measured on the server's own core."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from server import SERVER_CORE

from equipoise.core.plan import AcceptRule, BatchRule, CacheRule, Forecast, Plan, PlanStage, StageModel
from equipoise.core.profile import Settings
from equipoise.core.splits import Duplicates, Splits
from equipoise.execute.plan import OpenPlan, open_plan_from
from equipoise.execute.stages import OpenStage
from equipoise.host.environment import environment
from equipoise.store.artifacts import artifact_digest
from equipoise.store.bundle import write_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = NDArray[Any]
REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("EQUIPOISE_DATA", REPOSITORY.parent / "shared" / "data"))
CIFAR = DATA / "cifar10"
GOLDEN_ROWS = 8
MEASURE_S, LEAST_RUNS, MOST_RUNS = 2.0, 20, 300


@dataclass(frozen=True)
class StageOf:
    """A stage to be.

    Attributes:
        model: Its ONNX file.
        batch: Rows of its largest batch.
        accept: When its answer stands; null where it always does.
        share: Share of rows that reach it.
    """

    model: Path
    batch: int
    accept: AcceptRule | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Made:
    """A bundle.

    Attributes:
        folder: Where it lies.
        plan: What is served.
        direct: The plan, open in this process: what its answers should be.
        service: For each stage, rows of a batch to measured seconds.
    """

    folder: Path
    plan: Plan
    direct: OpenPlan
    service: tuple[dict[int, Array], ...]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """This process runs on that core in here."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def make_bundle(
    folder: Path,
    name: str,
    stages: Sequence[StageOf],
    rows: Mapping[str, Array],
    *,
    limit_s: float | None,
    max_wait_s: float = 0.0,
    cache: CacheRule | None = None,
    labels: tuple[str, ...] | None = None,
) -> Made:
    """Make a bundle of ONNX classifiers whose output is called `logits`, one thread each.

    Args:
        folder: Where it will be.
        name: Of the plan.
        stages: In the order they are asked.
        rows: Input name to rows that its seconds are measured with.
        limit_s: The p99 limit; null for none.
        max_wait_s: Longest wait of the first stage for a fuller batch.
        cache: What is remembered.
        labels: Class names.
    """
    artifacts: dict[str, Path] = {}
    planned = []
    for place, stage in enumerate(stages):
        artifact = folder.parent / f"{folder.name}-{place}"
        artifact.mkdir(parents=True)
        shutil.copyfile(stage.model, artifact / "model.onnx")
        digest = artifact_digest(artifact)
        artifacts[digest] = artifact
        settings = Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=1, batch=stage.batch)
        rule = BatchRule(max_rows=stage.batch, limit_s=limit_s, max_wait_s=0.0 if place else max_wait_s)
        models = (StageModel(artifact=digest, format="onnx", settings=settings),)
        planned.append(PlanStage(models=models, batch_rule=rule, accept=stage.accept, share=stage.share))
    forecast = Forecast(
        quality=None, p99_s=None, throughput_rps=1, usd_per_million_packed=1, usd_per_million_provisioned=None
    )
    plan = Plan(
        name=name,
        output="logits",
        output_kind="logits",
        stages=tuple(planned),
        cache=cache,
        usd_per_hour=0.1,
        forecast=forecast,
    )
    direct = open_plan_from(plan, artifacts)
    with on_core(SERVER_CORE):
        service = tuple(measured(stage, rows) for stage in direct.stages.stages)
        environment.cache_clear()
        where = environment()  # of one core, as the server's
    environment.cache_clear()
    golden = {name: array[:GOLDEN_ROWS] for name, array in rows.items()}
    nothing = Duplicates(exact=0, near=0, in_training=None, conflicting_targets=0)
    splits = Splits(calibrate=1, search=1, certify=1, groups_in_certify=None, data_digest="0" * 64, duplicates=nothing)
    write_bundle(
        folder, plan, None, where, splits, labels, golden, direct.answer(golden), artifacts, "", service=service
    )
    return Made(folder, plan, direct, service)


def measured(stage: OpenStage, rows: Mapping[str, Array]) -> dict[int, Array]:
    """Seconds of batches of 1, 2, 4 ... rows up to a stage's largest."""
    sizes = sorted({*(2**power for power in range(stage.rows.bit_length())), stage.rows})
    found = {}
    for size in sizes:
        feeds = {name: np.resize(array, (size, *array.shape[1:])) for name, array in rows.items()}
        stage.ask(feeds, stage.prepare(feeds))
        samples: list[float] = []
        while len(samples) < LEAST_RUNS or (sum(samples) < MEASURE_S / len(sizes) and len(samples) < MOST_RUNS):
            start_s = time.perf_counter()
            stage.ask(feeds, stage.prepare(feeds))
            samples.append(time.perf_counter() - start_s)
        found[size] = np.array(samples)
    return found


def mlp(path: Path, seed: int = 0) -> Path:
    """A perceptron of 784, 64 and 10 units with random weights: `x` float32 [n, 784] to `logits` [n, 10]."""
    rng = np.random.default_rng(seed)
    weights = {
        "w1": rng.standard_normal((784, 64)) * np.sqrt(2 / 784),
        "b1": rng.standard_normal(64) * 0.1,
        "w2": rng.standard_normal((64, 10)) * np.sqrt(1 / 64),
        "b2": rng.standard_normal(10) * 0.1,
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "w2", "b2"], ["logits"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 784])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "mlp", [x], [logits], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def flat_images(n: int) -> Array:
    """Images of 784 numbers from 0 to 1, float32[n, 784]: Fashion-MNIST's where it lies beside the project."""
    path = DATA / "fashion_mnist" / "test.npz"
    if not path.is_file():
        return np.random.default_rng(0).random((n, 784), dtype=np.float32)
    with np.load(path) as file:
        return (file["x"][:n].reshape(n, 784) / np.float32(255)).astype(np.float32)


def cifar_images(n: int, skip: int = 0) -> Array:
    """Test images, uint8[n, 32, 32, 3].

    Raises:
        SystemExit: They do not lie beside the project.
    """
    with np.load(real(CIFAR / "test.npz")) as file:
        images: Array = file["image"][skip : skip + n]
    return images


def real(path: Path) -> Path:
    """A real model or data file that lies beside the project.

    Raises:
        SystemExit: It does not.
    """
    if not path.is_file():
        raise SystemExit(f"{path} is not there: set EQUIPOISE_DATA to the folder of the real models and data")
    return path


def resnet50(path: Path, pixels: int = 224) -> Path:
    """A model shaped like a ResNet-50, as `examples/slow_int8.py` makes it: `image` float32 [n, 3, pixels, pixels]."""
    spec = spec_from_file_location("slow_int8", REPOSITORY / "examples" / "slow_int8.py")
    assert spec is not None
    assert spec.loader is not None
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    onnx.save(example.resnet50(np.random.default_rng(0), pixels), path)
    return path
