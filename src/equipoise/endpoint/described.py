"""What a plan takes and gives, row by row: in plain words for people, as JSON Schema for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equipoise.core.preprocessing import TextPreprocessing
from equipoise.core.tensor import DType, TensorSpec
from equipoise.errors import DataError
from equipoise.execute.answers import answers
from equipoise.serve.loading import LoadedPlan

TEXT = "text"
MOST_EXAMPLE_ELEMENTS = 2_000
"""Of a row: a larger example is longer than anybody reads."""
MOST_NAMED, LARGEST_NAMED_BITS = 20, 32
SAID_OF: dict[str, tuple[str, dict[str, Any], Any]] = {
    "confidence": ("how sure the model itself is of its answer, 0 to 1", {"type": ["number", "null"]}, 0.9),
    "stage": ("the number of the model that answered: easy rows are answered by the first", {"type": "integer"}, 1),
    "trusted": ("whether the answer can be relied on; if not, a person should look", {"type": "boolean"}, True),
}  # fmt: skip


@dataclass(frozen=True)
class Field:
    """One thing that a row has.

    Attributes:
        name: What it is called.
        words: What it is, for people.
        schema: What it is, as JSON Schema.
        example: A value of it, made up; null where it would be too long.
    """

    name: str
    words: str
    schema: Mapping[str, Any]
    example: Any


@dataclass(frozen=True)
class Described:
    """What a model takes and gives.

    Attributes:
        name: What clients call it.
        versions: Its versions that are served, the default last.
        takes: What a row of a request has.
        bare: What a row may be instead, where the model has a single input: that input's value, or all columns in
            order; null where it has several.
        gives: What a row of an answer has.
        inputs: Its tensors, for the protocol.
        outputs: Likewise.
        shapes: Input name to a shape of one row, every axis known.
        raw: What a row may be instead of numbers: an encoded `image`, or a `text`; null where it may be nothing else.
    """

    name: str
    versions: tuple[str, ...]
    takes: tuple[Field, ...]
    bare: Field | None
    gives: tuple[Field, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    shapes: Mapping[str, tuple[int, ...]]
    raw: str | None = None


def described(plan: LoadedPlan, versions: Sequence[str]) -> Described:
    """Describe a plan. Of its golden rows only the shapes are used: no row of anybody's data is shown."""
    inputs = plan.spec.inputs
    shapes = {tensor.name: tuple(plan.bundle.golden_inputs[tensor.name].shape[1:]) for tensor in inputs}
    fields = [_taken(tensor, shapes[tensor.name]) for tensor in inputs]
    columns, sole = plan.bundle.data.columns, fields[0] if len(fields) == 1 else None
    settings = None if plan.preprocessor is None else plan.preprocessor.settings
    if isinstance(settings, TextPreprocessing):
        takes = tuple(_sentence(name) for name in settings.columns or (TEXT,))
        sole = takes[0] if len(takes) == 1 else None
    elif sole is not None and columns:
        one = Field("", _words(inputs[0].dtype), _value(inputs[0].dtype), _example(inputs[0].dtype, ()))
        takes = tuple(Field(name, one.words, one.schema, one.example) for name in columns)
    else:
        takes = tuple(fields)
    return Described(
        name=plan.name,
        versions=tuple(versions),
        takes=takes,
        bare=sole,
        gives=_given(plan),
        inputs=inputs,
        outputs=plan.outputs,
        shapes=shapes,
        raw=None if settings is None else settings.kind,
    )


def array_schema(dtype: DType, shape: Sequence[int | None]) -> dict[str, Any]:
    """JSON Schema of lists within lists; a null axis may have any length from 1."""
    if not shape:
        return _value(dtype)
    axis, items = shape[0], array_schema(dtype, shape[1:])
    if axis is None:
        return {"type": "array", "minItems": 1, "items": items}
    return {"type": "array", "minItems": axis, "maxItems": axis, "items": items}


def _taken(tensor: TensorSpec, shape: tuple[int, ...]) -> Field:
    row = tensor.shape[1:]
    if row in ((), (1,)):
        return Field(tensor.name, _words(tensor.dtype), _value(tensor.dtype), _example(tensor.dtype, ()))
    axes = " x ".join("any number" if axis is None else f"{axis:,}" for axis in row)
    words = f"a list of {axes} values" if len(row) == 1 else f"lists within lists, {axes} values"
    return Field(
        tensor.name,
        f"{words}, each {_words(tensor.dtype)}",
        array_schema(tensor.dtype, row),
        _example(tensor.dtype, shape) if math.prod(shape) <= MOST_EXAMPLE_ELEMENTS else None,
    )


def _sentence(name: str) -> Field:
    return Field(name, "text", {"type": "string", "minLength": 1}, "a text")


def _given(plan: LoadedPlan) -> tuple[Field, ...]:
    """Columns of an answer, as the golden answers have them: names and types, and none of their values."""
    bundle = plan.bundle
    try:
        columns = answers(bundle.golden_outputs, bundle.plan, bundle.labels)
    except DataError:  # of golden rows that the model itself has no answer to
        return ()
    return tuple(_column(name, column.dtype.kind, bundle.labels) for name, column in columns.items())


def _column(name: str, kind: str, labels: Sequence[str] | None) -> Field:
    if name in SAID_OF:
        words, schema, example = SAID_OF[name]
        return Field(name, words, schema, example)
    if name != "label":
        return Field(name, "the number that the model predicts, or null", {"type": ["number", "null"]}, 0.5)
    if kind != "O":
        return Field(name, "the number of the class that the model chose, from 0", {"type": ["integer", "null"]}, 0)
    if labels is None:
        return Field(name, "what the model says it is", {"type": ["string", "null"]}, "text")
    more = f" and {len(labels) - MOST_NAMED} more" if len(labels) > MOST_NAMED else ""
    named = ", ".join(labels[:MOST_NAMED])
    return Field(name, f"what the model says it is: {named}{more}", {"type": ["string", "null"]}, labels[0])


def _words(dtype: DType) -> str:
    if dtype == "bool":
        return "true or false"
    if dtype == "string":
        return "text (null where it is missing)"
    if "float" in dtype:
        return "a number (null where it is missing)"
    ends = np.iinfo(dtype)
    if ends.bits > LARGEST_NAMED_BITS:
        return "a whole number" if ends.min else "a whole number, 0 or more"
    return f"a whole number from {ends.min:,} to {ends.max:,}"


def _value(dtype: DType) -> dict[str, Any]:
    """What is taken for one: true and false are 1 and 0 too, and the reverse."""
    if dtype == "bool":
        return {"enum": [True, False, 1, 0]}
    if dtype == "string":
        return {"type": ["string", "null"]}
    if "float" in dtype:
        return {"type": ["number", "boolean", "null"]}
    ends = np.iinfo(dtype)
    return {"type": ["integer", "boolean"], "minimum": int(ends.min), "maximum": int(ends.max)}


def _example(dtype: DType, shape: Sequence[int]) -> Any:
    if shape:
        return [_example(dtype, shape[1:])] * shape[0]
    return "text" if dtype == "string" else False if dtype == "bool" else 0.5 if "float" in dtype else 0
