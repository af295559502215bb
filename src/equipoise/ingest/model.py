"""Turns the file of a model into an artifact and the facts about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from equipoise.core.tensor import ModelSpec
from equipoise.core.variant import Format
from equipoise.errors import ModelError
from equipoise.ingest.factory import is_factory
from equipoise.ingest.huggingface_folder import is_huggingface
from equipoise.ingest.table import Table
from equipoise.preprocess.answers import ClassLabel
from equipoise.preprocess.meaning import Task

PICKLE_SUFFIXES = (".joblib", ".pkl")
OPENVINO_SUFFIXES = (".xml", ".tflite")
TORCH_SUFFIX = ".pt2"


@dataclass(frozen=True)
class ImportedModel:
    """A model that was read and found fit to study.

    Attributes:
        format: What kind of artifact was written.
        spec: What it takes and gives.
        operators: ONNX operator type to number of nodes, OpenVINO's for IR and TensorFlow Lite, ATen's for
            PyTorch; for scikit-learn, class name of each step to 1.
        estimators: Trees of a scikit-learn ensemble's final step, boosting rounds for boosted ones; null for others.
        quantized: Whether it computes in integers already.
        class_labels: Classes in the order of its probabilities, where the file says them.
        task: Whether it predicts classes or numbers, where the file says it.
        multilabel: Whether it gives a row several labels.
        matrix_weights: Floating-point weights in large matrices, of linear layers and embeddings.
        warnings: What the person should know about the file.
    """

    format: Format
    spec: ModelSpec
    operators: dict[str, int]
    estimators: int | None
    quantized: bool
    class_labels: tuple[ClassLabel, ...] | None
    task: Task | None
    multilabel: bool
    matrix_weights: int = 0
    warnings: tuple[str, ...] = ()


def import_model(
    path: Path, trust: bool, folder: Path, table: Table | None, state: Path | None = None
) -> ImportedModel:
    """Read a model, check it, and write its artifact.

    Nothing in a file is run: a pickle is opened only where `trust` says so, and is kept as skops. What does run is a
    function that the person names as the maker of a PyTorch module. Meant to run in a
    child process with a memory cap, since a hostile file may still crash or fill its reader.

    Args:
        path: A `.onnx`, `.xml` (its `.bin` beside it), `.tflite`, `.pt2`, `.skops`, `.joblib` or `.pkl` file; or
            `module:function`, which makes a PyTorch module.
        trust: Whether files that can execute code may be opened.
        folder: An existing, empty folder for the artifact.
        table: Rows of the data, which say the types of a scikit-learn model's columns, and what a PyTorch module takes;
            a few are enough.
        state: Weights of a PyTorch module; null where its maker loads them.

    Raises:
        ModelError: The file is damaged, hostile, not a model, or of a kind that cannot be served.
    """
    if is_factory(str(path)):
        from equipoise.ingest.torch import import_module

        return import_module(str(path), state, folder, table)
    if is_huggingface(str(path)):
        from equipoise.ingest.huggingface import import_huggingface

        return import_huggingface(str(path), folder)
    suffix = path.suffix.lower()
    if suffix == TORCH_SUFFIX:
        from equipoise.ingest.torch import import_program

        return import_program(path, folder)
    if suffix == ".onnx":
        from equipoise.ingest.onnx import import_onnx

        return import_onnx(path, folder)
    if suffix in OPENVINO_SUFFIXES:
        from equipoise.ingest.openvino import import_openvino

        return import_openvino(path, folder)
    if suffix != ".skops" and suffix not in PICKLE_SUFFIXES:
        raise ModelError(
            str(path),
            f"found a file of the kind {suffix or 'without suffix'}",
            f"needed .onnx, {', '.join(OPENVINO_SUFFIXES)}, {TORCH_SUFFIX}, .skops, {', '.join(PICKLE_SUFFIXES)}",
        )
    if suffix in PICKLE_SUFFIXES and not trust:
        raise ModelError(
            str(path),
            "found a pickle, which can run any code on this machine as soon as it is opened",
            "give --trust if you made it yourself, or save the model with skops.io.dump",
        )
    from equipoise.ingest.sklearn import import_sklearn

    return import_sklearn(path, folder, table)


def check_alternative(path: Path, model: ImportedModel, alternative: ImportedModel) -> None:
    """Make sure that another model for the same job takes the same inputs.

    Args:
        path: The alternative's file.
        model: The model under study.
        alternative: What was read from `path`.

    Raises:
        ModelError: Its inputs have other names, types or shapes, or it predicts another kind of thing.
    """
    wanted = {tensor.name: (tensor.dtype, tensor.shape[1:]) for tensor in model.spec.inputs}
    found = {tensor.name: (tensor.dtype, tensor.shape[1:]) for tensor in alternative.spec.inputs}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise ModelError(
                str(path),
                f"input {name!r} is {_input(found.get(name))}",
                f"needed the inputs of the model under study, where it is {_input(wanted.get(name))}",
            )
    if model.task and alternative.task and model.task != alternative.task:
        raise ModelError(
            str(path), f"it predicts {alternative.task}", f"needed {model.task}, as the model under study does"
        )


def _input(tensor: tuple[str, tuple[int | None, ...]] | None) -> str:
    if tensor is None:
        return "not there"
    return f"{tensor[0]} [{', '.join('any' if axis is None else str(axis) for axis in tensor[1])}] a row"
