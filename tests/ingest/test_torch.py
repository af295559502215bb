"""PyTorch models: programs in files, and modules that a person's function makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from equipoise.errors import BriefError, ModelError
from equipoise.ingest.brief import brief_from_options, brief_from_toml
from equipoise.ingest.factory import factory_file, is_factory
from equipoise.ingest.model import ImportedModel, import_model
from equipoise.ingest.table import Table
from equipoise.runtimes.torch_program import load_program
from torch_nets import Classifier, classifier, saved

NETS = Path(__file__).resolve().parents[1] / "torch_nets.py"
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)


def table(**columns: Any) -> Table:
    return Table(columns, "data.npz")


IMAGE_ROWS = table(image=IMAGES, label=np.zeros(20, dtype=np.int64))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "artifact").mkdir()
    return tmp_path / "artifact"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    torch.save(classifier().state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def made(name: str, folder: Path, rows: Table | None, state: Path | None = None) -> ImportedModel:
    return import_model(Path(f"{NETS}:{name}"), False, folder, rows, state)


def answers(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = load_program(folder)[0].module()(torch.from_numpy(IMAGES))
    return found


def shapes(model: ImportedModel) -> list[tuple[str, str, tuple[int | None, ...]]]:
    return [(each.name, each.dtype, each.shape) for each in (*model.spec.inputs, *model.spec.outputs)]


EXPECTED = [
    ("image", "uint8", (None, 8, 8, 3)),
    ("logits", "float32", (None, 4)),
    ("features", "float32", (None, 6)),
]


def test_a_program_says_what_it_takes_and_gives(tmp_path: Path, folder: Path) -> None:
    model = import_model(saved(tmp_path / "net.pt2"), False, folder, None)
    assert model.format == "torch"
    assert shapes(model) == EXPECTED
    assert (model.operators["conv2d"], model.operators["linear"]) == (1, 1)
    assert model.warnings == ()
    assert sorted(path.name for path in folder.iterdir()) == ["model.pt2", "spec.json"]


def test_a_module_with_its_weights_is_the_same_program(folder: Path, state: Path) -> None:
    model = made("Classifier", folder, IMAGE_ROWS, state)
    assert shapes(model) == EXPECTED
    with torch.no_grad():
        expected = classifier()(torch.from_numpy(IMAGES))
    assert all(torch.allclose(answers(folder)[name], expected[name]) for name in expected)


def test_weights_come_in_several_wrappings(tmp_path: Path, folder: Path) -> None:
    weights = classifier().state_dict()
    safetensors.torch.save_file(weights, tmp_path / "weights.safetensors")
    torch.save({"state_dict": {f"module.{key}": value for key, value in weights.items()}}, tmp_path / "parallel.pt")
    old = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    expected = None
    for name, notes in (("weights.safetensors", 0), ("parallel.pt", 2), ("old.pth", 0)):
        model = made("Classifier", folder, IMAGE_ROWS, tmp_path / name)
        assert len(model.warnings) == notes
        found = answers(folder)["logits"]
        assert expected is None or torch.equal(found, expected)
        expected = found
    assert any(
        "'module.'" in note for note in made("Classifier", folder, IMAGE_ROWS, tmp_path / "parallel.pt").warnings
    )


def test_without_weights_the_function_is_believed_and_that_is_said(folder: Path) -> None:
    assert any("no --state-dict" in note for note in made("classifier", folder, IMAGE_ROWS).warnings)


def test_the_only_array_or_all_columns_feed_a_single_input(folder: Path) -> None:
    one = made("classifier", folder, table(pictures=IMAGES, y=np.zeros(20)))
    assert one.spec.inputs[0].name == "image"
    two = made("linear", folder, table(age=np.arange(20), income=np.arange(20.0), label=np.arange(20)))
    assert [(each.name, each.dtype, each.shape) for each in two.spec.inputs] == [("input", "float32", (None, 2))]


def test_whole_numbers_become_float32_where_nothing_else_runs(folder: Path) -> None:
    whole = np.ones((20, 3), dtype=np.int64)
    model = made("Sum", folder, table(width=whole, height=whole))
    assert {each.dtype for each in model.spec.inputs} == {"float32"}
    assert any("computes with float32 alone" in note for note in model.warnings)
    assert [each.name for each in model.spec.outputs] == ["output"]


def test_inputs_that_have_defaults_are_fed_where_the_data_has_them(folder: Path) -> None:
    wide = np.ones((20, 3), dtype=np.float32)
    model = made("Sum", folder, table(width=wide, height=wide, scale=np.ones(20, dtype=np.float32)))
    assert [each.name for each in model.spec.inputs] == ["width", "height", "scale"]


@pytest.mark.parametrize(
    ("name", "rows", "found", "needed"),
    [
        ("missing", IMAGE_ROWS, "has no function 'missing'", "gives a torch.nn.Module"),
        ("number", IMAGE_ROWS, "it gave int", "torch.nn.Module"),
        ("raising", IMAGE_ROWS, "RuntimeError: no weights today", "takes no arguments"),
        ("classifier", None, "found no rows", "--data"),
        ("Sum", table(width=np.ones((9, 3))), "no numbers under height", "name the arrays like the parameters"),
        ("classifier", table(image=np.ones((9, 5), np.uint8)), "image torch.uint8 [7, 5]", "under the names"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(
    name: str, rows: Table | None, found: str, needed: str, folder: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        made(name, folder, rows)
    assert found in caught.value.found
    assert needed in caught.value.needed


def test_modules_that_cannot_be_imported_are_named(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "broken_net.py").write_text("import torch\nraise ValueError('not today')\n")
    for name, found in ((f"{tmp_path}/broken_net.py:make", "not today"), ("no_such_net:make", "No module named")):
        with pytest.raises(ModelError, match=found):
            import_model(Path(name), False, folder, IMAGE_ROWS)


def test_weights_of_another_module_are_refused_with_their_names(tmp_path: Path, folder: Path) -> None:
    weights = classifier().state_dict()
    for change, found in (
        ({"head.weight": None}, "it lacks head.weight"),
        ({"tail.weight": torch.zeros(2)}, "it has tail.weight besides"),
        ({"head.weight": torch.zeros(5, 6)}, r"'head.weight' is \[5, 6\]"),
    ):
        changed = {key: value for key, value in (weights | change).items() if value is not None}
        torch.save(changed, tmp_path / "other.pt")
        with pytest.raises(ModelError, match=found):
            made("Classifier", folder, IMAGE_ROWS, tmp_path / "other.pt")


def test_weights_that_hold_more_than_tensors_are_refused(tmp_path: Path, folder: Path) -> None:
    torch.save(classifier(), tmp_path / "whole.pt")
    with pytest.raises(ModelError, match="more than tensors, which could run code"):
        made("Classifier", folder, IMAGE_ROWS, tmp_path / "whole.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ModelError, match="not names with tensors"):
        made("Classifier", folder, IMAGE_ROWS, tmp_path / "list.pt")
    for name in ("damaged.pt", "damaged.safetensors"):
        (tmp_path / name).write_bytes(b"\x80\x02 nothing of the kind")
        with pytest.raises(ModelError, match=r"cannot be read|more than tensors"):
            made("Classifier", folder, IMAGE_ROWS, tmp_path / name)


def test_programs_in_training_mode_are_refused(tmp_path: Path, folder: Path) -> None:
    image = torch.zeros(3, 8, 8, 3, dtype=torch.uint8)
    torch.export.save(torch.export.export(Classifier().train(), (image,)), tmp_path / "train.pt2")
    with pytest.raises(ModelError, match=r"training mode|while it answers") as caught:
        import_model(tmp_path / "train.pt2", False, folder, None)
    assert "model.eval()" in caught.value.needed


def test_a_program_of_one_batch_size_says_how_to_free_it(tmp_path: Path, folder: Path) -> None:
    image = torch.zeros(3, 8, 8, 3, dtype=torch.uint8)
    torch.export.save(torch.export.export(classifier(), (image,)), tmp_path / "three.pt2")
    model = import_model(tmp_path / "three.pt2", False, folder, None)
    assert model.spec.fixed_batch == 3
    assert any("batches of 3 only" in note and "Dim" in note for note in model.warnings)


def test_inputs_in_lists_are_refused(tmp_path: Path, folder: Path) -> None:
    class Listed(torch.nn.Module):
        def forward(self, xs: list[torch.Tensor]) -> torch.Tensor:
            return xs[0] + xs[1]

    program = torch.export.export(Listed(), ([torch.zeros(2, 1), torch.zeros(2, 1)],))
    torch.export.save(program, tmp_path / "listed.pt2")
    with pytest.raises(ModelError, match="2 tensors and 0 other values, perhaps in lists"):
        import_model(tmp_path / "listed.pt2", False, folder, None)


def test_a_function_is_told_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").touch()
    assert is_factory("pkg.nets:make")
    assert not is_factory("model.onnx")
    assert factory_file("nets:make") == Path("nets.py")
    assert factory_file("a/b.py:make") is None


def test_a_brief_names_a_function_only_with_trust(tmp_path: Path, state: Path) -> None:
    np.savez(tmp_path / "data.npz", image=IMAGES)
    brief = brief_from_options(model=f"{NETS}:Classifier", data=str(tmp_path / "data.npz"), state_dict=str(state))
    assert brief.model.state_dict == str(state)
    (tmp_path / "brief.toml").write_text(
        '[model]\npath = "torch_nets:Classifier"\nstate_dict = "weights.pt"\n[data]\npath = "data.npz"\n'
    )
    with pytest.raises(BriefError, match="a function whose module runs on this machine"):
        brief_from_toml(tmp_path / "brief.toml")
    trusted = brief_from_toml(tmp_path / "brief.toml", {"trust": True})
    assert (trusted.model.path, trusted.model.state_dict) == ("torch_nets:Classifier", str(tmp_path / "weights.pt"))
    with pytest.raises(BriefError, match="no file"):
        brief_from_options(model=f"{NETS}:Classifier", data=str(tmp_path / "data.npz"), state_dict="none.pt")


def test_example_rows_are_repeated_where_there_are_few(folder: Path) -> None:
    model = made("Sum", folder, table(width=np.ones((1, 3)), height=np.ones((1, 3))))
    assert model.spec.fixed_batch is None


def test_what_depends_on_the_number_of_rows_is_refused(folder: Path) -> None:
    rows = table(x=np.ones((20, 4), dtype=np.float32))
    for name, found in (
        ("fixing", "fixes the number of rows to the 7"),
        ("branching", "it takes 6 to"),
        ("regrouping", "rows where the inputs have"),
    ):
        with pytest.raises(ModelError, match=found):
            made(name, folder, rows)
