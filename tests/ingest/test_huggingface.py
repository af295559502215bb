"""Hugging Face folders: tiny random models are read, and what is hostile, pickled or unfinished is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.core.preprocessing import ImagePreprocessing, TextPreprocessing
from equipoise.core.profile import Settings
from equipoise.errors import ModelError
from equipoise.flow.models import require_prepared_alike
from equipoise.ingest.huggingface_folder import class_names, is_huggingface, longest_row, own_preprocessing
from equipoise.ingest.model import import_model
from equipoise.registry import runtimes

torch = pytest.importorskip("torch", reason="needs the extra torch")
transformers = pytest.importorskip("transformers", reason="needs the extra huggingface")
pytest.importorskip("tokenizers", reason="needs the extra text")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "film")
NAMES = {0: "dull", 1: "fine"}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=40, id2label=NAMES,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


@pytest.fixture
def copied(bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert, tmp_path / "copy"))


def changed(folder: Path, **values: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def test_a_text_classifier_answers_as_transformers_does(bert: Path, tmp_path: Path) -> None:
    model = import_model(bert, False, tmp_path, None)
    assert (model.format, model.task, model.class_labels, model.multilabel) == (
        "torch",
        "classes",
        ("dull", "fine"),
        False,
    )
    assert [tensor.name for tensor in model.spec.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert {tensor.shape for tensor in model.spec.inputs} == {(None, None)}
    assert [(tensor.name, tensor.shape) for tensor in model.spec.outputs] == [("logits", (None, 2))]
    settings = Settings(runtime="torch", precision="f32", threads=1, replicas=1, batch=1)
    session = runtimes()["torch"].open(tmp_path, settings)
    original = transformers.BertForSequenceClassification.from_pretrained(bert).eval()
    for rows, tokens in ((1, 5), (3, 21)):
        mask = np.ones((rows, tokens), dtype=np.int64)
        mask[0, 3:] = 0
        ids = np.random.default_rng(0).integers(0, len(WORDS), mask.shape)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}
        with torch.inference_mode():
            expected = original(**{name: torch.from_numpy(array) for name, array in feeds.items()}).logits.numpy()
        assert session.run(session.prepare(feeds))["logits"] == pytest.approx(expected, abs=1e-5)


def test_its_own_files_are_the_preprocessing(copied: Path) -> None:
    assert is_huggingface(str(copied))
    placed = own_preprocessing(str(copied))
    settings = placed.settings
    assert isinstance(settings, TextPreprocessing)
    assert (settings.tokenizer, settings.max_length, settings.pad_token_id) == ("vocab.txt", 40, 0)
    assert placed.folder == str(copied)
    (copied / "tokenizer_config.json").write_text('{"model_max_length": 24}')
    assert longest_row(copied, json.loads((copied / "config.json").read_text())) == 24
    assert longest_row(copied, {"model_type": "roberta", "max_position_embeddings": 20, "pad_token_id": 1}) == 18


def test_an_alternative_that_reads_texts_otherwise_is_refused(bert: Path, copied: Path) -> None:
    placed = own_preprocessing(str(bert))
    require_prepared_alike(copied, placed)
    require_prepared_alike(copied / "model.onnx", placed)
    vocabulary = copied / "vocab.txt"
    vocabulary.write_text("\n".join(reversed(vocabulary.read_text().splitlines())) + "\n")
    with pytest.raises(ModelError, match="prepared otherwise than the main model's"):
        require_prepared_alike(copied, placed)


def test_an_image_classifier_brings_its_own_too(tmp_path: Path) -> None:
    folder = tmp_path / "vit"
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8,
        num_labels=3,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    settings = {"do_resize": True, "size": {"height": 16, "width": 16}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    with pytest.raises(ModelError, match=r"no preprocessor_config\.json"):
        own_preprocessing(str(folder))
    (tmp_path / "given").mkdir()
    import_model(folder, False, tmp_path / "given", None)  # its settings may be given instead
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    (tmp_path / "artifact").mkdir()
    model = import_model(folder, False, tmp_path / "artifact", None)
    assert [(tensor.name, tensor.shape) for tensor in model.spec.inputs] == [("pixel_values", (None, 3, 16, 16))]
    assert model.class_labels is None
    assert isinstance(own_preprocessing(str(folder)).settings, ImagePreprocessing)


def test_pickled_weights_are_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "model.safetensors").unlink()
    (copied / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch it-was-run'\ntR.")
    with pytest.raises(ModelError, match=r"a pickle \(pytorch_model.bin\), which can run code"):
        import_model(copied, False, tmp_path, None)


def test_a_head_that_was_never_trained_is_refused(copied: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("classifier")}
    save_file(kept, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"its weights lack classifier\.bias, classifier\.weight"):
        import_model(copied, False, tmp_path, None)


def test_code_of_its_own_is_not_run(copied: Path, tmp_path: Path) -> None:
    mark = tmp_path / "it-was-run"
    (copied / "modeling.py").write_text(f"open({str(mark)!r}, 'w')\n")
    name = "MyForSequenceClassification"
    changed(copied, architectures=[name], auto_map={"AutoModelForSequenceClassification": f"modeling.{name}"})
    with pytest.raises(ModelError, match="brings code of its own, which is never run"):
        import_model(copied, False, tmp_path, None)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architectures": ["BertModel"]}, "it names BertModel"),
        ({"architectures": None}, "it names no architecture"),
    ],
)
def test_other_models_are_refused(copied: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        own_preprocessing(str(changed(copied, **change)))


def test_damaged_files_are_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="transformers cannot open it"):
        import_model(copied, False, tmp_path, None)
    (copied / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        own_preprocessing(str(copied))


def test_without_a_tokenizer_it_says_how_to_make_one(copied: Path) -> None:
    (copied / "vocab.txt").unlink()
    with pytest.raises(ModelError, match=r"neither tokenizer\.json nor vocab\.txt.*save_pretrained"):
        own_preprocessing(str(copied))


def test_a_model_of_the_hub_needs_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert is_huggingface("hf:owner/name")
    assert not is_huggingface(str(tmp_path))
    with pytest.raises(ModelError, match=r"hf:owner/no-such-model: it cannot be fetched .*needed a network"):
        own_preprocessing("hf:owner/no-such-model")


def test_names_of_classes() -> None:
    assert class_names({"id2label": {"1": "b", "0": "a"}}) == ("a", "b")
    assert class_names({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}) is None
    assert class_names({"id2label": {"0": "a", "2": "b"}}) is None
    assert class_names({}) is None
