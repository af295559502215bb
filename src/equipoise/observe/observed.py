"""Ends of requests as rows of the log of observations, many at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from equipoise.core.observation import OBSERVATION
from equipoise.errors import DataError
from equipoise.execute.answers import answers
from equipoise.execute.stages import STAGE, TRUSTED
from equipoise.observe.origin import Origin
from equipoise.serve.events import Outcome
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.wire import DATATYPES, array_bytes
from equipoise.serve.work import Answer

Array = NDArray[Any]
MICROSECONDS = 1e6
PROBABILITIES = "probabilities"


class Seen(NamedTuple):
    """A request that is to be logged: no more of its end than that takes, so that nothing else stays in memory.

    Attributes:
        time_s: When it was over, seconds since 1970.
        origin: Where it came from; null where no transport says.
        plan: As in `serve.events.RequestEnd`, like all that follow.
        inputs: What it asked about; null where that is not logged.
    """

    time_s: float
    origin: Origin | None
    plan: LoadedPlan
    outcome: Outcome
    rows: int
    request_id: str | None
    total_s: float
    queued_s: float
    computing_s: float
    stages: tuple[int, ...]
    answer: Answer | None
    joined: bool
    inputs: Mapping[str, Array] | None

    @property
    def held_bytes(self) -> int:
        """Bytes that stay in memory for it."""
        held = 0 if self.answer is None else sum(array.nbytes for array in self.answer.outputs.values())
        return held if self.inputs is None else held + sum(array.nbytes for array in self.inputs.values())


@dataclass(slots=True)
class Said:
    """What the rows of one request were answered; null where the plan has no such thing.

    Attributes:
        labels: A label a row, each null where it is left to a person.
        values: Numbers, row by row.
        confidences: How sure the stage was that answered it.
    """

    labels: list[str | None] | None = None
    values: list[float] | None = None
    confidences: list[float] | None = None


def observations(seen: Sequence[Seen], share: float) -> pa.RecordBatch:
    """Rows of the log.

    Args:
        seen: Requests in order.
        share: Share of requests that are kept.

    Returns:
        A batch with the columns of `core.observation.COLUMNS`.
    """
    origins = [each.origin for each in seen]
    answered = [each.answer for each in seen]
    said = _said(seen)
    plans = {id(each.plan): each.plan.bundle.plan for each in seen}
    digests = {number: plan.content_digest for number, plan in plans.items()}
    columns: dict[str, list[Any] | Array] = {
        "time": (np.array([each.time_s for each in seen]) * MICROSECONDS).astype("datetime64[us]"),
        "request_id": [origin and origin.request_id.decode("latin-1") for origin in origins],
        "client_id": [each.request_id for each in seen],
        "key": [origin and origin.key for origin in origins],
        "model": [each.plan.name for each in seen],
        "version": [each.plan.version for each in seen],
        "plan": [digests[id(each.plan)] for each in seen],
        "outcome": [each.outcome for each in seen],
        "rows": [each.rows for each in seen],
        "stages": [[place + 1 for place in each.stages] for each in seen],
        "total_s": [each.total_s for each in seen],
        "queued_s": [each.queued_s for each in seen],
        "computing_s": [each.computing_s for each in seen],
        "cached": [answer is not None and answer.cached for answer in answered],
        "joined": [each.joined for each in seen],
        "degraded": [answer is not None and answer.degraded for answer in answered],
        "untrusted_rows": [answer and int(np.count_nonzero(~answer.trusted)) for answer in answered],
        "confidence_min": [one.confidences and min(one.confidences) for one in said],
        "confidence_mean": [one.confidences and sum(one.confidences) / len(one.confidences) for one in said],
        "answered_by": [answer and (answer.stage + 1).tolist() for answer in answered],
        "confidences": [one.confidences for one in said],
        "labels": [one.labels for one in said],
        "values": [one.values for one in said],
        "inputs": [_tensors(each) for each in seen],
        "share": np.full(len(seen), share),
    }
    arrays = [pa.array(columns[field.name], field.type) for field in OBSERVATION]
    return pa.RecordBatch.from_arrays(arrays, schema=OBSERVATION)


def _said(seen: Sequence[Seen]) -> list[Said]:
    """What each request was answered: those of a plan are read together, for a tenth of the work."""
    found = [Said() for _ in seen]
    by_plan: dict[int, list[tuple[int, Answer]]] = defaultdict(list)
    for place, each in enumerate(seen):
        if each.answer is not None and each.plan.bundle.plan.output in each.answer.outputs:
            by_plan[id(each.plan)].append((place, each.answer))
    for group in by_plan.values():
        loaded = seen[group[0][0]].plan
        for (place, _), said in zip(group, _read(loaded, [answer for _, answer in group]), strict=True):
            found[place] = said
    return found


def _read(loaded: LoadedPlan, got: Sequence[Answer]) -> list[Said]:
    try:
        return _read_together(loaded, got)
    except (DataError, ValueError):  # scores that are no numbers, or of other shapes than the rest
        return [Said()] if len(got) == 1 else [said for answer in got for said in _read(loaded, [answer])]


def _read_together(loaded: LoadedPlan, got: Sequence[Answer]) -> list[Said]:
    plan = loaded.bundle.plan
    names = [plan.output]
    if all(PROBABILITIES in answer.outputs for answer in got):
        names.append(PROBABILITIES)
    outputs = {name: np.concatenate([answer.outputs[name] for answer in got]) for name in dict.fromkeys(names)}
    stage = np.concatenate([answer.stage for answer in got])
    trusted = np.concatenate([answer.trusted for answer in got])
    columns = answers(outputs | {STAGE: stage, TRUSTED: trusted}, plan, loaded.bundle.labels)
    ends = np.cumsum([len(answer.stage) for answer in got]).tolist()
    parts = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    confidence = _confidence(loaded, got, stage, columns.get("confidence"))
    labels, values = _labels(columns, trusted, refers=plan.distrust is not None), _values(columns)
    return [
        Said(
            labels=None if labels is None else labels[part],
            values=None if values is None else values[part].ravel().tolist(),
            confidences=None if confidence is None else confidence[part].tolist(),
        )
        for part in parts
    ]


def _labels(columns: Mapping[str, Array], trusted: Array, *, refers: bool) -> list[str | None] | None:
    """Labels as text; one that is left to a person is empty, and is none."""
    if "label" not in columns:
        return None
    texts: list[str | None] = list(map(str, columns["label"].tolist()))
    if refers:
        for row in np.flatnonzero(~trusted).tolist():
            texts[row] = texts[row] or None
    return texts


def _values(columns: Mapping[str, Array]) -> Array | None:
    found = [column for name, column in columns.items() if name.startswith("value")]
    return np.stack(found, axis=1).astype(np.float64) if found else None


def _confidence(loaded: LoadedPlan, got: Sequence[Answer], stage: Array, own: Array | None) -> Array | None:
    """What the stage that answered gave its answer: its calibrated confidence where it has a rule, else the model's."""
    stages = loaded.bundle.plan.stages
    if all(each.accept is None for each in stages):
        return own
    each_stage = np.concatenate([answer.confidence for answer in got])
    told = np.full(len(stage), np.nan) if own is None else own.copy()
    for place, rule in enumerate(stages):
        if rule.accept is not None:
            told[stage == place] = each_stage[stage == place, place]
    return told


def _tensors(seen: Seen) -> list[dict[str, Any]] | None:
    if seen.inputs is None:
        return None
    kinds = {tensor.name: tensor.dtype for tensor in seen.plan.spec.inputs}
    return [
        {"name": name, "datatype": DATATYPES[kinds[name]], "shape": list(array.shape), "data": array_bytes(array)}
        for name, array in seen.inputs.items()
    ]
