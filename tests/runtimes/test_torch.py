"""PyTorch as a runtime: eager, compiled, in half precision, in several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from equipoise.core.environment import Environment
from equipoise.errors import ModelError
from equipoise.measure.operations import flops
from equipoise.registry import runtimes
from equipoise.runtimes import torch as torch_runtime
from equipoise.runtimes.torch import Torch, TorchCompile, TorchCuda
from equipoise.runtimes.torch_program import export_program, save_program
from torch_nets import classifier, exported

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("net")
    save_program(exported(), folder, "net")
    return folder


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    with torch.no_grad():
        return {name: value.numpy() for name, value in classifier()(torch.from_numpy(IMAGES)).items()}


def machine(*flags: str) -> Environment:
    return Environment(
        cpu_model="", cpu_flags=flags, cores=2, memory_bytes=1, system="Linux", python="3.11", libraries={}
    )


def test_they_are_found_by_name() -> None:
    assert {"torch", "torch_compile", "torch_cuda"} <= runtimes().keys()


def test_eager_answers_like_the_module(net: Path, expected: dict[str, Any], setting: Any) -> None:
    session = Torch().open(net, setting("torch"))
    found = session.run(session.prepare({"image": IMAGES, "other": IMAGES}))
    assert list(found) == ["logits", "features"]
    assert all(np.allclose(found[name], expected[name], atol=1e-6) for name in expected)
    assert session.spec.fixed_batch is None


def test_rows_that_cannot_be_written_to_are_taken_as_well(net: Path, setting: Any) -> None:
    session = Torch().open(net, setting("torch"))
    frozen = IMAGES.copy()
    frozen.flags.writeable = False
    assert session.run(session.prepare({"image": frozen}))["logits"].shape == (9, 4)


def test_bfloat16_is_near_and_is_not_float32(net: Path, expected: dict[str, Any], setting: Any) -> None:
    session = Torch().open(net, setting("torch", precision="bf16"))
    found = session.run(session.prepare({"image": IMAGES}))["logits"]
    assert found.dtype == np.float32
    assert np.allclose(found, expected["logits"], atol=0.05)
    assert not np.array_equal(found, expected["logits"])


def test_half_precision_is_offered_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for runtime in (Torch(), TorchCompile()):
        assert runtime.precisions("torch", False, machine("avx2")) == ("f32",)
        assert runtime.precisions("torch", False, machine("amx_bf16")) == ("f32", "bf16")
    monkeypatch.setattr(torch_runtime, "CUDA_DRIVER", tmp_path / "none")
    assert TorchCuda().precisions("torch", False, machine()) == ()
    monkeypatch.setattr(torch_runtime, "CUDA_DRIVER", tmp_path)
    assert TorchCuda().precisions("torch", False, machine()) == ("f32", "f16", "bf16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_missing_device_is_an_error_and_no_crash(net: Path, setting: Any) -> None:
    with pytest.raises(ModelError, match="finds no CUDA device"):
        TorchCuda().open(net, setting("torch_cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 1e-3), ("f16", 0.05), ("bf16", 0.1)])
def test_a_cuda_device_answers_like_the_cpu(
    precision: str, tolerance: float, net: Path, expected: dict[str, Any], setting: Any
) -> None:
    session = TorchCuda().open(net, setting("torch_cuda", precision=precision))
    found = session.run(session.prepare({"image": IMAGES}))["logits"]
    assert np.allclose(found, expected["logits"], atol=tolerance)


def test_threads_are_those_that_were_planned(net: Path, setting: Any) -> None:
    before = torch.get_num_threads()
    try:
        Torch().open(net, setting("torch", threads=1))
        assert torch.get_num_threads() == 1
        torch.set_num_threads(before)
        Torch().open(net, setting("torch", threads=1, default=True))
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)


def test_several_threads_share_a_session(net: Path, expected: dict[str, Any], setting: Any) -> None:
    session = Torch().open(net, setting("torch", replicas=4))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: session.run(session.prepare({"image": IMAGES}))["logits"], range(20)))
    assert all(np.allclose(each, expected["logits"], atol=1e-6) for each in found)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own parts, by others of them
def test_the_compiled_form_answers_the_same_for_any_number_of_rows(
    net: Path, expected: dict[str, Any], setting: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    session = TorchCompile().open(net, setting("torch_compile"))
    for rows in (4, 9):
        found = session.run(session.prepare({"image": IMAGES[:rows]}))
        assert all(np.allclose(found[name], expected[name][:rows], atol=1e-5) for name in expected)


def test_without_a_compiler_there_is_advice(net: Path, setting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder

    def missing(*_: Any) -> str:
        raise RuntimeError("InvalidCxxCompiler")

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)
    with pytest.raises(ModelError, match=r"no C\+\+ compiler") as caught:
        TorchCompile().open(net, setting("torch_compile"))
    assert "install g++" in caught.value.needed


def test_a_damaged_artifact_is_an_error(tmp_path: Path, net: Path, setting: Any) -> None:
    (tmp_path / "model.pt2").write_bytes((net / "model.pt2").read_bytes()[:500])
    (tmp_path / "spec.json").write_bytes((net / "spec.json").read_bytes())
    with pytest.raises(ModelError):
        Torch().open(tmp_path, setting("torch"))
    (tmp_path / "spec.json").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        Torch().open(tmp_path, setting("torch"))


def test_each_operator_is_timed_and_counted(net: Path, setting: Any, tmp_path: Path) -> None:
    session = Torch().open_layers(net, setting("torch"), tmp_path)
    prepared = session.prepare({"image": IMAGES})
    seconds = [session.run(prepared) for _ in range(4)]
    timed = session.layers([(0, 2), (2, 4)])
    layers = {layer.kernel: layer for layer in timed.layers}
    assert list(layers)[:2] == ["permute", "to"]
    assert 0 < sum(layer.seconds.sum() for layer in timed.layers) <= sum(seconds)
    assert layers["conv2d"].parameters == 3 * 6 * 9 + 6
    products = 9 * 6 * 6 * 6 * 3 * 9
    assert sum(flops(each) or 0 for each in layers["conv2d"].operations or ()) == 2 * products + 9 * 6 * 6 * 6
    assert [flops(each) for each in layers["linear"].operations or ()] == [2 * 9 * 6 * 4]
    assert {layer.precision for layer in timed.layers if layer.kernel in ("conv2d", "linear")} == {"f32"}


def test_attention_is_counted_as_two_products(setting: Any, tmp_path: Path) -> None:
    class Attention(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    (tmp_path / "net").mkdir()
    save_program(export_program(Attention(), {"x": torch.rand(3, 2, 5, 4)}, "net"), tmp_path / "net", "net")
    session = Torch().open_layers(tmp_path / "net", setting("torch"), tmp_path)
    session.run(session.prepare({"x": np.ones((3, 2, 5, 4), dtype=np.float32)}))
    (layer,) = session.layers([(0, 1)]).layers
    products = 3 * 2 * 5 * 5 * 4
    assert sum(flops(each) or 0 for each in layer.operations or ()) == 2 * 2 * products + 5 * 3 * 2 * 5 * 5
