"""The tools that Equipoise is compared with, each used as its own documentation advises, with its own defaults.

These functions run in a child process of their own (`equipoise.host.sandbox`): a tool that crashes, hangs or eats
memory is a result of the comparison, not its end.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from equipoise.compress.facts import model_facts
from equipoise.compress.int8 import is_quantized
from equipoise.compress.tools import (
    ONNX_FILE,
    calibration_batches,
    open_natively,
    quiet_nncf,
    read_ir,
    save_ir,
    versions,
)
from equipoise.core.recipe import Recipe
from equipoise.core.variant import Variant
from equipoise.errors import TechniqueError
from equipoise.host.environment import environment
from equipoise.preprocess.answers import OutputMeaning, decode, encode_target
from equipoise.preprocess.rows import Array, Rows
from equipoise.store.artifacts import artifact_bytes, artifact_digest
from equipoise.telemetry import silence

CALIBRATION_ROWS = 300
"""NNCF's own default; ONNX Runtime takes what it is given, and is given the same."""


@dataclass(frozen=True)
class Task:
    """What every tool is given.

    Attributes:
        source: Folder that holds `model.onnx`.
        folder: Empty folder for what the tool makes.
        calibration: Rows to calibrate with.
        validation: Rows to control the accuracy on: the search rows, which Equipoise's search also reads.
        meaning: What the judged output holds.
        max_drop: Largest loss of accuracy that is acceptable, absolute.
    """

    source: Path
    folder: Path
    calibration: Rows
    validation: Rows
    meaning: OutputMeaning
    max_drop: float


def quantize(tool: str, task: Task) -> Variant:
    """Have a tool quantise the model.

    Raises:
        TechniqueError: It did nothing.
        Exception: Whatever the tool raised.
    """
    begin = time.monotonic()
    TOOLS[tool](task)
    variant = describe(task.folder, Recipe(source=tool), time.monotonic() - begin)
    if not variant.quantized:
        raise TechniqueError("it left the model as it was: nothing in it was quantised")
    return variant


def describe(folder: Path, recipe: Recipe, build_s: float = 0.0) -> Variant:
    """Look into an artifact folder that somebody made."""
    facts = model_facts(folder, environment())
    return Variant(
        recipe=recipe,
        artifact=artifact_digest(folder),
        format=facts.format,
        quantized=is_quantized(facts.operators),
        spec=facts.spec,
        artifact_bytes=artifact_bytes(folder),
        build_s=build_s,
        data_use="unlabelled",
        tool_versions=versions("nncf", "onnx", "onnxruntime", "openvino"),
    )


def ort_dynamic(task: Task) -> None:
    """ONNX Runtime: `quantize_dynamic(model, quantized)`."""
    silence()
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(str(task.source / ONNX_FILE), str(task.folder / ONNX_FILE))


def ort_static(task: Task) -> None:
    """ONNX Runtime: `quant_pre_process`, then `quantize_static`, whose default is the QDQ format.

    Symbolic shape inference is left out of the preparation: it is meant for transformers, and needs a package that
    ONNX Runtime does not install.
    """
    silence()
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as work:
        prepared = Path(work) / ONNX_FILE
        quant_pre_process(str(task.source / ONNX_FILE), str(prepared), skip_symbolic_shape=True)
        quantize_static(str(prepared), str(task.folder / ONNX_FILE), _CalibrationReader(_calibration(task)))


def nncf_quantize(task: Task) -> None:
    """NNCF: `nncf.quantize(model, dataset)` of the OpenVINO model."""
    nncf = quiet_nncf()
    model = read_ir(task.source)
    save_ir(nncf.quantize(model, nncf.Dataset(_calibration(task))), task.folder, half=False)


def nncf_accuracy_control(task: Task) -> None:
    """NNCF: `nncf.quantize_with_accuracy_control`, row by row as its examples validate."""
    if task.validation.target is None:
        raise TechniqueError("it needs the true answers to its validation rows, and there are none")
    nncf = quiet_nncf()
    model = read_ir(task.source)
    spec = open_natively(task.source).spec
    rows = calibration_batches(task.validation, spec, task.validation.n)
    target = encode_target(task.validation.target, task.meaning)
    truths = np.split(target[: len(rows) * (spec.fixed_batch or 1)], len(rows))

    def accuracy(compiled: Any, data: Iterable[tuple[Mapping[str, Array], Array]]) -> tuple[float, list[float]]:
        right = [_share_right(compiled, feeds, truth, task.meaning) for feeds, truth in data]
        return float(np.mean(right)), right

    quantised = nncf.quantize_with_accuracy_control(
        model,
        nncf.Dataset(_calibration(task)),
        nncf.Dataset(list(zip(rows, truths, strict=True)), lambda item: item[0]),
        validation_fn=accuracy,
        max_drop=task.max_drop,
    )
    save_ir(quantised, task.folder, half=False)


TOOLS: dict[str, Callable[[Task], None]] = {
    "ONNX Runtime dynamic": ort_dynamic,
    "ONNX Runtime static": ort_static,
    "NNCF": nncf_quantize,
    "NNCF accuracy control": nncf_accuracy_control,
}


class _CalibrationReader:
    """Hands calibration rows out one by one, as ONNX Runtime asks for them."""

    def __init__(self, rows: list[dict[str, Array]]) -> None:
        self._left: Iterator[dict[str, Array]] = iter(rows)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._left, None)


def _calibration(task: Task) -> list[dict[str, Array]]:
    return calibration_batches(task.calibration, open_natively(task.source).spec, CALIBRATION_ROWS)


def _share_right(compiled: Any, feeds: Mapping[str, Array], truth: Array, meaning: OutputMeaning) -> float:
    answered = compiled(feeds)
    outputs = {meaning.output: answered[compiled.output(meaning.output)]}
    return float(np.mean(decode(outputs, meaning).labels == truth))
