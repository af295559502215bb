"""Small sentences, and a small model that says whether there are more dull words in one than fine ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from equipoise.core.preprocessing import PlacedPreprocessing, TextPreprocessing
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.preprocess.fitting import fitted
from equipoise.store.artifacts import file_digest
from equipoise.store.manifest import write_manifest
from equipoise.store.preprocessing import write_preprocessing

Array = NDArray[Any]
FINE = ("fine", "bright", "funny", "warm")
DULL = ("dull", "flat", "slow", "cold")
PLAIN = ("a", "film", "and", "the", "plot", "of", "is", ".")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *FINE, *DULL, *PLAIN)
NAMES = ("input_ids", "attention_mask")
LABELS = ("dull", "fine")
SPEC = ModelSpec(
    inputs=tuple(TensorSpec(name=name, dtype="int64", shape=(None, None)) for name in NAMES),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=(None, 2)),),
)


def sentence(fine: bool, words: int, random: np.random.Generator) -> str:
    """So many words, of which about a third tell what it is."""
    telling = random.random(words) < 1 / 3
    telling[0] = True
    return " ".join(random.choice((FINE if fine else DULL) if tells else PLAIN) for tells in telling.tolist())


def sentences_file(path: Path, n: int, seed: int = 0, longest: int = 30) -> Path:
    """A file of `label text` lines, both classes in turn."""
    random = np.random.default_rng(seed)
    lines = [f"{row % 2} {sentence(row % 2 == 1, int(random.integers(1, longest)), random)}" for row in range(n)]
    path.write_text("\n".join(lines) + "\n")
    return path


def vocabulary(path: Path) -> Path:
    """The vocabulary, a token a line."""
    path.write_text("\n".join(VOCABULARY) + "\n")
    return path


def sentence_model(folder: Path) -> Path:
    """An ONNX model, `input_ids` and `attention_mask` to `logits`: the mean over the tokens of 1 for each side's."""
    folder.mkdir(parents=True, exist_ok=True)
    table = np.zeros((len(VOCABULARY), 2), dtype=np.float32)
    table[[VOCABULARY.index(word) for word in DULL], 0] = 4
    table[[VOCABULARY.index(word) for word in FINE], 1] = 4
    table[0] = (-100, 100)  # what is filled in must not count
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["each", "column"], ["shown"]),
        helper.make_node("ReduceSum", ["shown", "tokens"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["column", "tokens"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sentences",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "tokens"]) for name in NAMES],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.array([1]), "tokens"),
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )
    return folder


def placed(folder: Path, **settings: Any) -> PlacedPreprocessing:
    """Complete preprocessing for that model, its vocabulary in `folder`."""
    path = vocabulary(folder / "vocab.txt")
    given = {"tokenizer": path.name, "tokenizer_sha256": file_digest(path), "columns": ("text",)}
    complete = fitted(TextPreprocessing.model_validate(given | settings), SPEC)
    return PlacedPreprocessing(settings=complete, folder=str(folder))


def sentence_bundle(place: Path, bundled: Any, **settings: Any) -> Path:
    """A bundle of that model, which takes sentences; `bundled` is the fixture that makes bundles."""
    model = sentence_model(place.with_name(f"{place.name}-model"))
    mask = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 0]])
    golden = {"input_ids": mask * 5, "attention_mask": mask}
    folder: Path = bundled(place, model, golden, labels=LABELS)
    write_preprocessing(folder, placed(place.parent, **settings))
    write_manifest(folder, "a test")
    return folder
