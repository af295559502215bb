"""What a model is made of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from equipoise.compress.base import ModelFacts
from equipoise.compress.ensembles import ensemble_size
from equipoise.compress.tools import (
    IR_FILE,
    ONNX_FILE,
    TFLITE_FILE,
    TORCH_FILE,
    load_sklearn,
    load_torch,
    open_natively,
    read_ir,
    tool,
)
from equipoise.core.environment import Environment
from equipoise.core.variant import Format
from equipoise.onnx_tensors import nodes
from equipoise.runtimes.matrices import ir_matrix_weights, onnx_matrix_weights, program_matrix_weights
from equipoise.runtimes.sklearn import final_estimator

FORMS: dict[str, Format] = {IR_FILE: "openvino", TFLITE_FILE: "tflite"}
"""What OpenVINO alone opens."""


def model_facts(artifact: Path, environment: Environment) -> ModelFacts:
    """Look into an artifact folder.

    Args:
        artifact: Folder that holds `model.onnx`, `model.xml`, `model.tflite`, `model.pt2` or `model.skops`.
        environment: The machine that the model is to run on.

    Returns:
        Its format, inputs and outputs, and operators.

    Raises:
        ModelError: It cannot be opened.
    """
    spec = open_natively(artifact).spec
    form, operators, estimators = _contents(artifact)
    return ModelFacts(form, spec, operators, estimators, environment, _matrix_weights(artifact, form))


def _matrix_weights(artifact: Path, form: Format) -> int:
    if form == "onnx":
        import onnx

        return onnx_matrix_weights(onnx.load(artifact / ONNX_FILE, load_external_data=False))
    if form == "torch":
        return program_matrix_weights(load_torch(artifact)[0])
    return ir_matrix_weights(read_ir(artifact)) if form in FORMS.values() else 0


def _contents(artifact: Path) -> tuple[Format, dict[str, int], int | None]:
    for file, form in FORMS.items():
        if (artifact / file).is_file():
            return form, dict(Counter(node.get_type_name() for node in read_ir(artifact).get_ops())), None
    if (artifact / ONNX_FILE).is_file():
        import onnx

        with tool("onnx"):
            model = onnx.load(artifact / ONNX_FILE, load_external_data=False)
        return "onnx", dict(Counter(node.op_type for node in nodes(model))), None
    if (artifact / TORCH_FILE).is_file():
        from equipoise.runtimes.torch_program import operators as operators_of

        return "torch", operators_of(load_torch(artifact)[0]), None
    model, _ = load_sklearn(artifact)
    steps = [step for _, step in model.steps] if hasattr(model, "steps") else [model]
    operators = dict(Counter(type(step).__name__ for step in [*steps[:-1], final_estimator(model)]))
    return "sklearn", operators, ensemble_size(final_estimator(model))
