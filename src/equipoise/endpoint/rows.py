"""Plain JSON rows in, labels and confidence out: for people who think in rows and not in tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from equipoise.endpoint.binary import require_rows
from equipoise.endpoint.http import Limits
from equipoise.endpoint.oip import InferRequest, priority, request_id, timeout_s
from equipoise.endpoint.values import REQUEST, as_bad_request, bound, json_array
from equipoise.errors import BadRequest
from equipoise.execute.answers import answers
from equipoise.execute.stages import STAGE, TRUSTED
from equipoise.preprocess.binding import Sources, input_sources
from equipoise.preprocess.chunks import TARGETS
from equipoise.preprocess.columns import listed
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.work import Answer

Array = NDArray[Any]
KEYS = ("rows", "priority", "timeout_ms", "id")
MILLISECOND = 1e-3


def predict_request(body: Any, plan: LoadedPlan, limits: Limits) -> InferRequest:
    """Read rows.

    Args:
        body: A list of rows, or an object with `rows` and, if wanted, `priority`, `timeout_ms` and `id`. A row is an
            object of named features, or a list of numbers for a model with a single input.
        plan: What answers.
        limits: What is taken.

    Raises:
        BadRequest: They are not rows, or not for this model.
    """
    rows = rows_of_body(body)
    if not isinstance(rows, list) or not rows:
        raise BadRequest("found no rows; needed a list of objects with named features, or a list of lists")
    require_rows("rows", [len(rows)], limits)
    return with_rows(body, _named(rows, plan, limits) if isinstance(rows[0], dict) else _nested(rows, plan, limits))


def rows_of_body(body: Any) -> Any:
    """What stands in the place of rows, unchecked.

    Raises:
        BadRequest: Something else stands beside it.
    """
    fields = body if isinstance(body, dict) else {"rows": body}
    strange = [key for key in fields if key not in KEYS]
    if strange:
        raise BadRequest(f"found {listed(strange)}; needed a list of rows, or an object with {listed(KEYS)}")
    return fields.get("rows")


def with_rows(body: Any, inputs: dict[str, Array]) -> InferRequest:
    """A request for rows that were read, with what its body says besides.

    Raises:
        BadRequest: Something of that cannot be used.
    """
    fields = body if isinstance(body, dict) else {}
    return InferRequest(
        inputs=inputs,
        outputs=None,
        priority=priority(fields.get("priority")),
        deadline_s=timeout_s(fields.get("timeout_ms"), MILLISECOND, "milliseconds"),
        request_id=request_id(fields.get("id")),
    )


def predict_response(answer: Answer, plan: LoadedPlan) -> dict[str, Any]:
    """An answer as one object a row: `label` and `confidence`, or `value`, and the `stage` of a cascade.

    An answer that the plan refers to a person is `null`.

    Raises:
        BadRequest: The model has no answer to a row: its scores are not finite.
    """
    outputs = answer.outputs | {STAGE: answer.stage, TRUSTED: answer.trusted}
    columns = as_bad_request(lambda: answers(outputs, plan.bundle.plan, plan.bundle.labels))
    distrust = plan.bundle.plan.distrust
    if distrust is not None and distrust.answer == "refer" and "label" in columns:
        columns["label"] = columns["label"].copy()
        columns["label"][~answer.trusted] = None
    lists = [column.tolist() for column in columns.values()]
    said: dict[str, Any] = {"model": answer.model, "version": answer.version}
    if answer.request_id is not None:
        said["id"] = answer.request_id
    said["degraded"] = answer.degraded
    said["predictions"] = [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]
    return said


def _named(rows: Sequence[Any], plan: LoadedPlan, limits: Limits) -> dict[str, Array]:
    spec = plan.spec
    names = list(rows[0])
    shapes = {name: _shape(name, value, limits) for name, value in rows[0].items()}
    plain = [name for name in names if name.lower() not in TARGETS]
    remembered = plan.bundle.data.columns
    sources: Sources = as_bad_request(lambda: input_sources(shapes, spec, REQUEST, (plain, names), columns=remembered))
    dtypes = {name: tensor.dtype for tensor in spec.inputs for name in sources[tensor.name]}
    columns = {}
    for name, dtype in dtypes.items():
        for number, row in enumerate(rows, start=1):
            if not isinstance(row, dict) or name not in row:
                raise BadRequest(f"row {number} has no {name!r}; every row needs {listed(names)}")
        columns[name] = json_array(name, [row[name] for row in rows], limits, dtype)
    return bound(columns, spec, sources)


def _nested(rows: Sequence[Any], plan: LoadedPlan, limits: Limits) -> dict[str, Array]:
    spec = plan.spec
    if len(spec.inputs) > 1:
        names = listed([tensor.name for tensor in spec.inputs])
        raise BadRequest(f"found rows without names; the model has several inputs: give objects with {names}")
    tensor = spec.inputs[0]
    array = json_array("rows", list(rows), limits, tensor.dtype)
    return bound({"rows": array}, spec, {tensor.name: ("rows",)})


def _shape(name: str, value: Any, limits: Limits) -> tuple[int, ...]:
    if not isinstance(value, list):
        return ()
    leaf = _first_leaf(value, limits.depth)
    return json_array(name, value, limits, "string" if isinstance(leaf, str) else "float64").shape


def _first_leaf(value: Any, depth: int) -> Any:
    while isinstance(value, list) and value and depth:
        value, depth = value[0], depth - 1
    return value
