"""PyTorch models from their files to bundles that are verified, asked and served."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from equipoise.core.tensor import ModelSpec
from equipoise.errors import BriefError, BundleError, ModelError
from equipoise.execute.predict_file import predict_file
from equipoise.execute.verify import verify_bundle
from equipoise.flow.optimize import optimize_from
from equipoise.flow.original import original_answers
from equipoise.ingest.brief import brief_from_options
from equipoise.ingest.table import read_table
from equipoise.preprocess.rows import Rows
from equipoise.runtimes.torch_program import export_program, save_program
from equipoise.serve import Engine, load_plan
from equipoise.store.bundle import read_bundle
from torch_nets import classifier, exported, rewritten

NETS = Path(__file__).resolve().parents[1] / "torch_nets.py"
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
FEATURES, CLASSES = 16, 4


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("net")
    save_program(exported(), folder, "net")
    return folder


@pytest.fixture(scope="module")
def expected() -> Any:
    with torch.no_grad():
        return classifier()(torch.from_numpy(IMAGES))["logits"].numpy()


@pytest.fixture
def bundle(tmp_path: Path, net: Path, bundled: Any) -> Path:
    made: Path = bundled(tmp_path / "bundle", net, {"image": IMAGES[:5]}, runtime="torch", kind="torch", batch=4)
    return made


def test_a_bundle_of_a_program_is_verified_and_asked(bundle: Path, tmp_path: Path, expected: Any) -> None:
    assert verify_bundle(bundle).ok
    np.savez(tmp_path / "rows.npz", image=IMAGES)
    predict_file(read_bundle(bundle), tmp_path / "rows.npz", tmp_path / "answers.npz")
    with np.load(tmp_path / "answers.npz") as answers:
        assert (answers["label"].astype(int) == expected.argmax(1)).all()


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_it_is_served(workers: int, bundle: Path, expected: Any) -> None:
    async def main() -> Any:
        async with Engine([await asyncio.to_thread(load_plan, bundle, "m", "1", workers)]) as engine:
            return await engine.infer("m", {"image": IMAGES})

    answer = asyncio.run(main())
    assert np.allclose(answer.outputs["logits"], expected, atol=1e-5)


def test_a_hostile_program_in_a_bundle_is_not_opened(net: Path, tmp_path: Path, bundled: Any) -> None:
    def hostile(document: dict[str, Any]) -> None:
        node = document["graph_module"]["graph"]["nodes"][-1]
        node["target"] = "torch.os.system"

    changed = tmp_path / "net"
    changed.mkdir()
    rewritten(net / "model.pt2", changed / "model.pt2", hostile)
    (changed / "spec.json").write_bytes((net / "spec.json").read_bytes())
    with pytest.raises(ModelError, match=r"torch\.os\.system"):
        bundled(tmp_path / "bundle", changed, {"image": IMAGES[:5]}, runtime="torch", kind="torch")


def test_a_bundle_holds_nothing_but_the_program(net: Path, tmp_path: Path, bundled: Any) -> None:
    more = tmp_path / "net"
    shutil.copytree(net, more)
    (more / "weights.pkl").touch()
    with pytest.raises(BundleError, match=r"weights\.pkl"):
        bundled(tmp_path / "bundle", more, {"image": IMAGES[:5]}, runtime="torch", kind="torch")


def test_the_original_of_a_function_answers_again(tmp_path: Path, expected: Any) -> None:
    torch.save(classifier().state_dict(), tmp_path / "weights.pt")
    np.savez(tmp_path / "rows.npz", image=IMAGES)
    table = read_table(tmp_path / "rows.npz")

    def bound(spec: ModelSpec) -> Rows:
        return Rows({"image": IMAGES}, None, population=np.zeros(len(IMAGES), dtype=object))

    found = original_answers(Path(f"{NETS}:Classifier"), False, table, bound, tmp_path / "weights.pt")
    assert np.allclose(found["logits"], expected, atol=1e-5)


def test_to_go_on_with_a_study_of_a_function_takes_trust(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", image=IMAGES, label=np.arange(30) % 4)
    brief = brief_from_options(model=f"{NETS}:classifier", data=tmp_path / "data.npz")
    (tmp_path / "out" / "study").mkdir(parents=True)
    (tmp_path / "out" / "study" / "brief.json").write_text(brief.model_dump_json())
    with pytest.raises(BriefError, match=r"pickles or modules .*torch_nets\.py:classifier.*--trust again"):
        optimize_from(None, {}, resume=tmp_path / "out")


@pytest.mark.slow
def test_a_program_is_studied_and_a_cheaper_form_of_it_served(tmp_path: Path) -> None:
    wide = torch.nn.Sequential(torch.nn.Linear(FEATURES, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, CLASSES)).eval()
    with torch.no_grad():
        for layer in (wide[0], wide[2]):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[:CLASSES, :CLASSES] = torch.eye(CLASSES)
    program = export_program(wide, {"input": torch.rand(7, FEATURES)}, "wide")
    torch.export.save(program, tmp_path / "wide.pt2")
    x = np.random.default_rng(0).random((3000, FEATURES), dtype=np.float32)
    np.savez(tmp_path / "data.npz", input=x, label=x[:, :CLASSES].argmax(1))
    options = {"data": str(tmp_path / "data.npz"), "max_drop": 0.02, "budget": "2m"}
    result, folder = optimize_from(tmp_path / "wide.pt2", options, out=tmp_path / "out")
    assert (result.baseline.runtime, result.baseline.precision, result.baseline.batch) == ("torch", "f32", 1)
    assert result.certificate is not None
    assert result.certificate.passed
    assert result.chosen is not None
    assert result.chosen.runtime != "torch"
    tried = {result.chosen.name, *(each.name for each in (*result.frontier, *result.rejected))}
    assert any("torch_onnx" in name for name in tried)
    assert any("torch_openvino" in name for name in tried)
    assert verify_bundle(folder / "bundle").ok
