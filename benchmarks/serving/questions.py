"""Requests to our own server, and what is right for each: the answer of the same plan, asked directly, in process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import orjson
from load import Check, Target, post
from numpy.typing import NDArray

from equipoise.execute.plan import OpenPlan
from equipoise.serve.wire import DATATYPES

Array = NDArray[Any]
Form = Literal["json", "binary", "raw"]
TOLERANCE = 2e-3
"""Largest difference of a score, as a share of the largest, that rounding in batches of another size makes."""
CLOSE_CALL = 1e-4
"""How close to a threshold a confidence may lie for rounding to decide whether the next stage is asked."""
JSON_LENGTH = "inference-header-content-length"


def target(
    port: int, model: str, direct: OpenPlan, rows: Array, form: Form = "json", timeout_s: float | None = None
) -> Target:
    """One question a row, to a model with a single input.

    Args:
        port: Of the server.
        model: Its name there.
        direct: The plan, open in this process.
        rows: Inputs: [n, ...].
        form: Tensors as JSON, as binary data behind it, or as nothing but bytes.
        timeout_s: Every request's own deadline; null for none.
    """
    (tensor,) = direct.spec.inputs
    requests = [
        request(model, tensor.name, DATATYPES[tensor.dtype], row[None], form, timeout_s)
        for row in rows.astype(tensor.dtype)
    ]
    return Target(port, requests, checked(right_answers(direct, rows), form))


def shuffled(asked: Target, order: Array) -> Target:
    """The same questions in another order, some more often than others."""
    return replace(
        asked,
        requests=[asked.requests[question] for question in order],
        check=lambda place, body: asked.check(int(order[place]), body),
    )


def request(model: str, name: str, datatype: str, rows: Array, form: Form, timeout_s: float | None = None) -> bytes:
    """A whole request for some rows."""
    path = f"/v2/models/{model}/infer"
    if form == "raw":
        headers = [(JSON_LENGTH, "0"), ("content-type", "application/octet-stream")]
        return post(path, rows.tobytes(), headers)
    tensor: dict[str, Any] = {"name": name, "shape": list(rows.shape), "datatype": datatype}
    said: dict[str, Any] = {"inputs": [tensor]}
    if timeout_s is not None:
        said["parameters"] = {"timeout": int(timeout_s * 1e6)}
    if form == "json":
        tensor["data"] = rows.ravel()
        return post(path, orjson.dumps(said, option=orjson.OPT_SERIALIZE_NUMPY))
    blob = rows.tobytes()
    tensor["parameters"] = {"binary_data_size": len(blob)}
    said.setdefault("parameters", {})["binary_data_output"] = True
    head = orjson.dumps(said)
    return post(path, head + blob, [(JSON_LENGTH, str(len(head))), ("content-type", "application/octet-stream")])


def right_answers(direct: OpenPlan, rows: Array) -> list[Sequence[Array]]:
    """What may be answered to each row: the plan's scores, and the other stage's too in a close call."""
    (tensor,) = direct.spec.inputs
    feeds = {tensor.name: rows.astype(tensor.dtype)}
    output = direct.plan.output
    whole = direct.answer(feeds)[output]
    allowed: list[list[Array]] = [[answer] for answer in whole]
    for stage in direct.stages.stages:
        if stage.stage.accept is None or len(direct.stages.stages) == 1:
            continue
        outputs, confidence = stage.ask(feeds)
        close = np.flatnonzero(np.abs(confidence - stage.stage.accept.at_least) < CLOSE_CALL)
        last = direct.stages.stages[-1].ask({tensor.name: feeds[tensor.name][close]})[0] if len(close) else {}
        for place, row in enumerate(close):
            allowed[row] += [outputs[output][row], last[output][place]]
    return [tuple(answers) for answers in allowed]


def checked(right: Sequence[Sequence[Array]], form: Form) -> Check:
    """Whether an answer in a form is one of those that are right for its question."""
    scores = [[answer.astype(np.float64) for answer in answers] for answers in right]
    size = right[0][0].nbytes
    kind = right[0][0].dtype

    def check(question: int, body: bytes) -> bool:
        if form == "json":
            found = np.array(orjson.loads(body)["outputs"][0]["data"], dtype=np.float64)
        else:
            found = np.frombuffer(body[-size:], kind).astype(np.float64)
        return any(_same(found, answer.ravel()) for answer in scores[question])

    return check


def _same(found: Array, right: Array) -> bool:
    return found.shape == right.shape and bool(np.abs(found - right).max() <= TOLERANCE * max(1.0, np.abs(right).max()))
