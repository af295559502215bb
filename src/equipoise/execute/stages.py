"""Stages, opened: one model or several whose answers are combined, asked one after the other until an answer stands.

`OpenStages` is a session like any runtime's: what times, judges and serves a single model does the same to a cascade.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.plan import AnswerForm, Combine, DistrustAnswer, PlanStage, StageModel
from equipoise.core.tensor import ModelSpec
from equipoise.errors import BundleError
from equipoise.execute.sequences import by_sequence
from equipoise.policy.cascade import calibrated, raw_confidence, stands
from equipoise.preprocess.answers import class_shares, positive_shares
from equipoise.preprocess.lengths import by_length
from equipoise.registry import runtimes
from equipoise.runtimes.base import Session

Array = NDArray[Any]
Outputs = dict[str, Array]
STAGE, CONFIDENCE, TRUSTED = "equipoise_stage", "equipoise_confidence", "equipoise_trusted"
"""Outputs beside the models' own: which stage answered, [n]; how sure each was, [n, stages]; if it is trusted, [n]."""
STAGE_OUTPUTS = frozenset({STAGE, CONFIDENCE, TRUSTED})
NOT_ASKED = np.nan
TIE_BREAK = 1e-6


@dataclass(frozen=True)
class OpenStage:
    """A stage whose models are loaded.

    Attributes:
        stage: What it does.
        sessions: Its models, in order.
        form: What the judged output holds; null for a single model whose answers always stand.
    """

    stage: PlanStage
    sessions: tuple[Session, ...]
    form: AnswerForm | None

    def ask(self, feeds: Mapping[str, Array], prepared: Sequence[Any] | None = None) -> tuple[Outputs, Array]:
        """Answer rows, in batches of the stage's size, and say how sure it is of each.

        Args:
            feeds: Input name to [n, ...].
            prepared: The same, prepared for each session, where all rows are one batch.

        Returns:
            Outputs, and calibrated confidence [n]: 1 where every answer stands.
        """
        if prepared is not None:
            members = [session.run(ready) for session, ready in zip(self.sessions, prepared, strict=True)]
        else:
            members = [answer_in_batches(session, feeds, self.rows) for session in self.sessions]
        if len(members) == 1 and self.stage.accept is None:
            return members[0], np.ones(rows_of(feeds))
        if self.form is None:
            raise ValueError("a stage that combines or doubts answers must know what they hold")
        outputs = members[0] if self.stage.combine is None else combined(members, self.form, self.stage.combine)
        return outputs, self._confidence(outputs, members, self.form)

    @property
    def rows(self) -> int:
        """Rows of a batch."""
        return self.sessions[0].spec.fixed_batch or self.stage.rows

    def prepare(self, feeds: Mapping[str, Array]) -> list[Any] | None:
        """A batch prepared for each session; null where it takes several, or filling."""
        fixed = self.sessions[0].spec.fixed_batch
        if rows_of(feeds) > self.rows or fixed not in (None, rows_of(feeds)):
            return None
        return [session.prepare(feeds) for session in self.sessions]

    def _confidence(self, outputs: Outputs, members: Sequence[Outputs], form: AnswerForm) -> Array:
        rule = self.stage.accept
        array = outputs[form.output]
        if rule is None:
            return np.ones(len(array))
        if rule.measure == "spread":
            raw = raw_confidence("spread", members=np.stack([_numbers(each, form) for each in members]))
        elif rule.measure == "agreement":
            labels = np.stack([predicted(each[form.output], form) for each in members])
            raw = raw_confidence("agreement", members=labels, answer=predicted(array, form))
        else:
            shares = probabilities(array, form.kind)
            raw = raw_confidence(rule.measure, probabilities=shares, temperature=rule.calibration.temperature)
        return calibrated(raw, rule.calibration)


@dataclass(frozen=True)
class OpenStages:
    """A cascade, an ensemble or a single model that is loaded: a `runtimes.base.Session`.

    Attributes:
        stages: In the order they are asked.
        form: What the judged output holds; null for a single model whose answers always stand.
        untrusted: What is given where the last stage does not trust its answer; null to give that answer. Only the
            `simple` stage's answer is given here; whoever reads the outputs refers, or gives a default.
    """

    stages: tuple[OpenStage, ...]
    form: AnswerForm | None
    untrusted: DistrustAnswer | None = None

    @property
    def spec(self) -> ModelSpec:
        """What it takes and gives."""
        return self.stages[0].sessions[0].spec

    def prepare(self, feeds: Mapping[str, Array]) -> Any:
        """A batch, ready for the first stage; what later stages get is found out on the way."""
        return feeds, self.stages[0].prepare(feeds)

    def run(self, prepared: Any) -> Outputs:
        """Ask the first stage, and each next one for the rows whose answer does not stand yet.

        Returns:
            The outputs that all stages give, each row from the stage that answered it; with several stages, or a last
            one that may doubt, also `STAGE`, `CONFIDENCE` (not a number where a stage was not asked) and `TRUSTED`.
        """
        feeds, ready = prepared
        outputs, confidence = self.stages[0].ask(feeds, ready)
        if len(self.stages) == 1 and self.stages[0].stage.accept is None:
            return outputs
        n = len(confidence)
        answers = dict(outputs)
        sure = np.full((n, len(self.stages)), NOT_ASKED)
        sure[:, 0] = confidence
        answered_by = np.zeros(n, dtype=np.int64)
        left = np.flatnonzero(~stands(confidence, self.stages[0].stage.accept))
        for number, stage in enumerate(self.stages[1:], start=1):
            if not len(left):
                answers = {name: array for name, array in answers.items() if name in stage_outputs(stage)}
                continue
            more, confidence = stage.ask({name: array[left] for name, array in feeds.items()})
            answers = {name: replaced(array, left, more[name]) for name, array in answers.items() if name in more}
            sure[left, number] = confidence
            answered_by[left] = number
            left = left[~stands(confidence, stage.stage.accept)]
        trusted = np.ones(n, dtype=bool)
        trusted[left] = False
        if self.untrusted == "simple" and len(left):
            answers = {name: replaced(array, left, outputs[name][left]) for name, array in answers.items()}
        return answers | {STAGE: answered_by, CONFIDENCE: sure, TRUSTED: trusted}


def open_stages(
    stages: Sequence[PlanStage],
    form: AnswerForm | None,
    artifacts: Mapping[str, Path],
    untrusted: DistrustAnswer | None = None,
) -> OpenStages:
    """Load stages whose artifacts lie anywhere; a model that stands in several is loaded once.

    Args:
        stages: What to execute.
        form: What the judged output holds; may be null for a single model.
        artifacts: Digest to folder, for every model.
        untrusted: What is given where the last stage does not trust its answer.

    Raises:
        BundleError: A runtime that a stage names is not installed.
        ModelError: An artifact cannot be opened.
    """
    opened: dict[StageModel, Session] = {}
    for stage in stages:
        for model in stage.models:
            if model not in opened:
                opened[model] = _open(model, artifacts)
    return OpenStages(
        tuple(OpenStage(stage, tuple(opened[model] for model in stage.models), form) for stage in stages),
        form,
        untrusted,
    )


def rows_of(feeds: Mapping[str, Array]) -> int:
    """Rows of a batch."""
    return len(next(iter(feeds.values())))


def answer_in_batches(session: Session, feeds: Mapping[str, Array], rows: int) -> Outputs:
    """Answer rows in batches; a model that takes one batch size only is given filling, which is dropped again.

    Token sequences are put together by their lengths; their answers come back in the order of the rows.
    """
    n = rows_of(feeds)
    order = by_length(feeds, session.spec) if n > rows else None
    if order is not None:
        feeds = {name: array[order] for name, array in feeds.items()}
    parts = [_batch(session, feeds, start, min(start + rows, n), rows) for start in range(0, n, rows)]
    together = (
        parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    )
    return together if order is None else in_order(together, order)


def in_order(outputs: Outputs, order: NDArray[np.intp]) -> Outputs:
    """Answers to rows that were asked in another order, in the order of the rows."""
    back = np.argsort(order, kind="stable")
    return {name: array[back] for name, array in outputs.items()}


def combined(members: Sequence[Outputs], form: AnswerForm, combine: Combine) -> Outputs:
    """One answer from several: the judged output, in the form that a single model gives it.

    `mean`: of class probabilities, or of numbers. `vote`: the label that most members give, the first member's where
    there are as many for another; of numbers, the median. Scores of a vote are the shares of the votes.

    Args:
        members: Each member's outputs to the same rows.
        form: What the judged output holds.
        combine: How.

    Raises:
        ValueError: Labels have no mean.
    """
    arrays = [outputs[form.output] for outputs in members]
    if form.kind == "value":
        stacked = np.stack([array.reshape(len(array), -1) for array in arrays]).astype(np.float64)
        middle = stacked.mean(axis=0) if combine == "mean" else np.median(stacked, axis=0)
        return {form.output: middle.reshape(arrays[0].shape).astype(arrays[0].dtype)}
    if form.kind == "labels":
        if combine == "mean":
            raise ValueError("labels have no mean; let them vote")
        return {form.output: _majority(np.stack([array.reshape(len(array)) for array in arrays]))}
    shares = np.stack([probabilities(array, form.kind) for array in arrays])
    if combine == "vote":
        votes = np.eye(shares.shape[2])[shares.argmax(axis=2)]
        shares = votes + TIE_BREAK * votes[:1]
    return {form.output: _scores(shares.mean(axis=0), form.kind, like=arrays[0])}


def probabilities(array: Array, kind: str) -> Array:
    """Class probabilities, [n, C] with C >= 2, from the judged output of a model that gives a row one label."""
    scores = np.asarray(array, dtype=np.float64).reshape(len(array), -1)
    if scores.shape[1] == 1:
        positive = positive_shares(scores[:, 0], kind)
        return np.stack([1 - positive, positive], axis=1)
    return class_shares(scores, kind)


def predicted(array: Array, form: AnswerForm) -> Array:
    """The label of each row, [n]: class index, or the label itself where the model gives labels."""
    return array.reshape(len(array)) if form.kind == "labels" else probabilities(array, form.kind).argmax(axis=1)


def stage_outputs(stage: OpenStage) -> set[str]:
    """Names of what a stage gives."""
    if stage.stage.combine is not None and stage.form is not None:
        return {stage.form.output}
    return {output.name for output in stage.sessions[0].spec.outputs}


def replaced(array: Array, rows: NDArray[np.intp], by: Array) -> Array:
    """A copy of an output in which some rows are another stage's, in a type that holds both."""
    kind = object if object in (array.dtype, by.dtype) else np.result_type(array, by)
    changed = array.astype(kind)
    changed[rows] = by
    return changed


def _open(model: StageModel, artifacts: Mapping[str, Path]) -> Session:
    runtime = runtimes().get(model.settings.runtime)
    if runtime is None:
        raise BundleError(
            "the plan",
            f"it runs on {model.settings.runtime!r}, which is not installed here",
            f"installed are {', '.join(sorted(runtimes()))}; install the package that brings it",
        )
    session: Session = by_sequence(runtime.open(artifacts[model.artifact], model.settings))
    return session


def _batch(session: Session, feeds: Mapping[str, Array], start: int, end: int, rows: int) -> Outputs:
    index = np.arange(start, end)
    if session.spec.fixed_batch is not None and len(index) < rows:
        index = np.concatenate([index, np.full(rows - len(index), end - 1)])
    batch = {name: np.ascontiguousarray(array[index]) for name, array in feeds.items()}
    answers = session.run(session.prepare(batch))
    return {name: array[: end - start] for name, array in answers.items()}


def _numbers(outputs: Outputs, form: AnswerForm) -> Array:
    array = outputs[form.output]
    return array.reshape(len(array), -1)[:, 0]


def _scores(shares: Array, kind: str, like: Array) -> Array:
    """Class probabilities as the scores of a model like the members."""
    least = np.finfo(np.float32).tiny
    one_column = like.ndim == 1 or like.shape[1] == 1
    if kind == "logits":
        logs = np.log(np.maximum(shares, least))
        scores = logs[:, 1] - logs[:, 0] if one_column else logs
    else:
        scores = shares[:, 1] if one_column else shares
    return np.asarray(scores.reshape(like.shape), dtype=like.dtype)


def _majority(labels: Array) -> Array:
    """The label that most members give each row, [n], from [m, n]; ties go to the first member's."""
    votes = np.stack([(labels == each).sum(axis=0) for each in labels]).astype(np.float64)
    votes[0] += 0.5
    return np.asarray(np.take_along_axis(labels, votes.argmax(axis=0)[None], axis=0)[0])
