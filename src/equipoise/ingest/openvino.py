"""Reads OpenVINO IR and TensorFlow Lite models through OpenVINO, trusting nothing that the files say of themselves."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from equipoise.core.tensor import ModelSpec
from equipoise.core.variant import Format
from equipoise.errors import ModelError
from equipoise.ingest.model import ImportedModel
from equipoise.runtimes.matrices import ir_matrix_weights
from equipoise.runtimes.openvino import first_lines, model_spec
from equipoise.telemetry import silence

IR_WEIGHTS_PLACE = b"__weights_path"
"""OpenVINO's own note of where a model's weights were read from: where a file brings it, OpenVINO would look there."""
TFLITE_MARK, TFLITE_MARK_AT = b"TFL3", 4
FREE = -1


def model_files(path: Path) -> tuple[Path, ...]:
    """The files that a model consists of: an `.xml` has its weights in the `.bin` of the same name beside it."""
    weights = path.with_suffix(".bin")
    return (path, weights) if path.suffix.lower() == ".xml" and weights.is_file() else (path,)


def import_openvino(path: Path, folder: Path) -> ImportedModel:
    """Read an OpenVINO IR or TensorFlow Lite model, check it, and copy it into `folder`.

    The copy is `model.xml` with `model.bin`, or `model.tflite`. The weights of an IR are found beside it and nowhere
    else.

    Args:
        path: The `.xml` or `.tflite` file.
        folder: An existing, empty folder for the artifact.

    Raises:
        ModelError: The file is damaged or hostile, its weights are missing or lie outside its folder, it keeps a state
            from one request to the next, or it does not answer row by row.
    """
    form: Format = "tflite" if path.suffix.lower() == ".tflite" else "openvino"
    _check_content(path, form)
    for file in model_files(path):
        shutil.copyfile(file, folder / f"model{file.suffix.lower()}")
    model = _read(path, folder / f"model{path.suffix.lower()}")
    spec = _spec(path, model)
    operators = Counter(str(node.get_type_name()) for node in model.get_ops())
    return ImportedModel(
        format=form,
        spec=spec,
        operators=dict(sorted(operators.items())),
        estimators=None,
        quantized="FakeQuantize" in operators,
        class_labels=None,
        task=None,
        multilabel=False,
        matrix_weights=ir_matrix_weights(model),
        warnings=_warnings(path, form, spec),
    )


def _check_content(path: Path, form: Format) -> None:
    """Refuse what is plainly something else, before any of OpenVINO's readers guesses at it."""
    where, folder = str(path), path.resolve().parent
    for file in model_files(path):
        if not file.resolve().is_relative_to(folder):
            raise ModelError(
                where, f"{file.name} leads out of the folder, to {file.resolve()}", f"needed its files in {folder}"
            )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(where, f"cannot be read: {error.strerror or error}", "needed a readable file") from None
    if not content:
        raise ModelError(where, "the file is empty (0 bytes)", "convert or copy it again")
    if form == "tflite":
        if content[TFLITE_MARK_AT : TFLITE_MARK_AT + len(TFLITE_MARK)] != TFLITE_MARK:
            raise ModelError(where, "not a TensorFlow Lite file (no mark TFL3 at its beginning)", "convert it again")
        return
    if b"<net" not in content:
        raise ModelError(where, "not an OpenVINO IR (it has no element <net>)", "needed what openvino.save_model wrote")
    if IR_WEIGHTS_PLACE in content:
        raise ModelError(
            where, "it names a place of its own for its weights", f"needed them in {path.with_suffix('.bin').name}"
        )


def _read(path: Path, copied: Path) -> Any:
    silence()
    import openvino

    try:
        return openvino.Core().read_model(copied)
    except (RuntimeError, ValueError, OverflowError, UnicodeDecodeError) as error:
        weights = path.with_suffix(".bin")
        if copied.suffix == ".xml" and not weights.is_file() and "bin" in str(error):
            raise ModelError(str(path), f"its weights, {weights.name}, are missing", "put them beside it") from None
        raise ModelError(
            str(path), f"OpenVINO cannot read it ({first_lines(error)})", "convert or copy it again"
        ) from None


def _spec(path: Path, model: Any) -> ModelSpec:
    where = str(path)
    if not model.inputs or not model.outputs:
        raise ModelError(where, "it has no input, or no output", "needed a model that takes rows and answers them")
    if model.get_variables():
        states = ", ".join(sorted(str(each.get_info().variable_id) for each in model.get_variables())[:3])
        raise ModelError(
            where,
            f"it keeps a state from one request to the next ({states})",
            "needed a model whose answer depends on its input alone: convert it without state",
        )
    spec = model_spec(path, model)
    for role in (spec.inputs, spec.outputs):
        found = Counter(tensor.name for tensor in role)
        name, times = found.most_common(1)[0]
        if times > 1:
            raise ModelError(where, f"{times} inputs or outputs named {name!r}", "needed a name of its own for each")
    scalars = [tensor.name for tensor in (*spec.inputs, *spec.outputs) if not tensor.shape]
    if scalars:
        raise ModelError(
            where, f"{scalars[0]!r} is a single number", "needed rows along the first axis of inputs and outputs"
        )
    _check_batch(where, model, spec)
    return spec


def _check_batch(where: str, model: Any, spec: ModelSpec) -> None:
    """Every input and output must have as many rows as the others, whatever that number is."""
    for port, tensor in zip(model.inputs, spec.inputs, strict=True):
        axis = port.get_partial_shape()[0]
        if axis.is_dynamic and axis.get_max_length() != FREE:
            raise ModelError(
                where,
                f"input {tensor.name!r} takes {axis.get_min_length()} to {axis.get_max_length()} rows",
                "needed any number of rows, or one",
            )
    sizes = {tensor.fixed_batch for tensor in spec.inputs}
    if len(sizes) > 1:
        found = ", ".join(f"{tensor.name!r} {tensor.fixed_batch or 'any number'}" for tensor in spec.inputs)
        raise ModelError(where, f"its inputs take different numbers of rows: {found}", "needed one number for all")
    rows = sizes.pop()
    for tensor in spec.outputs:
        if tensor.fixed_batch not in (rows, None) or (rows is None and tensor.fixed_batch is not None):
            raise ModelError(
                where,
                f"output {tensor.name!r} has {tensor.fixed_batch} rows, its inputs {rows or 'any number'}",
                "needed one answer a row, along the first axis",
            )


def _warnings(path: Path, form: Format, spec: ModelSpec) -> tuple[str, ...]:
    notes = []
    if form == "tflite":
        notes.append(f"{path}: read and run by OpenVINO, so that what is compared is not TensorFlow Lite's own speed")
    if spec.fixed_batch is not None:
        notes.append(
            f"{path}: it takes batches of {spec.fixed_batch} only; other sizes come from its form free_batch, where it "
            "can be made"
        )
    return tuple(notes)
