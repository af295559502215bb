"""What the answers mean, and who judges them: found out from the first answers of the model itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.servable import Config
from equipoise.core.brief import Brief
from equipoise.core.corruption import Corruption
from equipoise.core.profile import Settings
from equipoise.errors import BriefError, DataError, ModelError, SandboxError
from equipoise.flow.children import open_child
from equipoise.flow.evidence import Judge
from equipoise.flow.importing import IMPORT_TIMEOUT_S
from equipoise.flow.opened import CHECK_ROWS
from equipoise.flow.pricing import price_of_errors
from equipoise.ingest.model import ImportedModel
from equipoise.ingest.study_data import StudyData
from equipoise.measure.session import answer
from equipoise.preprocess.answers import OutputMeaning
from equipoise.preprocess.meaning import infer_meaning
from equipoise.preprocess.person import person_scores
from equipoise.preprocess.rows import Rows
from equipoise.stats.metrics import metric_named
from equipoise.store.study import StudyFolder

Array = NDArray[Any]


def meaning_of(
    brief: Brief, model: ImportedModel, data: StudyData, baseline: Config, study: StudyFolder
) -> OutputMeaning:
    """What the judged output holds, from the baseline's answers to some rows: the first proof that it runs at all."""
    probe = _probe_rows(data.rows)
    settings = Settings(runtime=baseline.runtime, precision=baseline.precision, threads=1, replicas=1, batch=1)
    metric = brief.quality.metric
    if metric is None and data.rows.target is None:
        metric = "agreement"
    try:
        with open_child(baseline, settings, probe.feeds, study, "first-answers", timeout_s=IMPORT_TIMEOUT_S) as child:
            outputs: dict[str, Array] = child.call(answer, probe.feeds, 16, timeout_s=IMPORT_TIMEOUT_S)
    except SandboxError as error:
        raise _rejected(brief, data.rows, error) from error
    if metric is not None and ":" in metric:
        person_scores(metric, outputs, probe.target)  # whatever is wrong with it shows now
    return infer_meaning(
        model.spec,
        outputs,
        target=data.rows.target,
        metric=metric,
        output=brief.model.output,
        output_kind=brief.model.output_kind,
        labels=brief.model.labels,
        class_labels=model.class_labels or data.classes,
        task=model.task,
        multilabel=model.multilabel,
    )


def judge_of(
    brief: Brief,
    data: StudyData,
    meaning: OutputMeaning,
    splits: dict[str, Rows],
    corruptions: tuple[Corruption, ...],
) -> Judge | None:
    """Who judges candidates; null with the metric `none`.

    Raises:
        InputError: The metric, or a price, does not fit what the model answers.
    """
    name = _metric_name(brief, data, meaning)
    usd_per_error = price_of_errors(brief, name, meaning)
    if name == "none":
        return None
    return Judge(
        metric=metric_named(name, _positive_class(brief, meaning)),
        meaning=meaning,
        data=brief.data,
        max_drop=brief.quality.max_drop,
        confidence=brief.quality.confidence,
        splits=splits,
        seed=brief.seed,
        floor=brief.quality.floor,
        default=brief.quality.distrust_default,
        corruptions=corruptions,
        usd_per_error=usd_per_error,
    )


def _metric_name(brief: Brief, data: StudyData, meaning: OutputMeaning) -> str:
    """The brief's metric; else R2 for numbers, accuracy for classes, and agreement where there is no target."""
    if brief.quality.metric is not None:
        return brief.quality.metric
    if data.rows.target is not None:
        return "r2" if meaning.kind == "value" else "accuracy"
    if meaning.kind == "value":
        raise DataError(
            brief.data.path,
            "it has no target, and the model predicts numbers",
            "name the target with --target, or compare speed alone with --metric none",
        )
    return "agreement"


def _positive_class(brief: Brief, meaning: OutputMeaning) -> int | None:
    wanted = brief.quality.positive_class
    if wanted is None:
        return None
    names = [str(label) for label in meaning.labels or ()]
    if wanted not in names:
        raise BriefError("--positive-class", f"found {wanted!r}", f"needed one of the classes: {', '.join(names)}")
    return names.index(wanted)


def _probe_rows(rows: Rows) -> Rows:
    """The first rows, and for each column that has missing values the first row that has one."""
    index = list(range(min(CHECK_ROWS, rows.n)))
    for array in rows.feeds.values():
        missing = _missing_rows(array)
        if len(missing):
            index.append(int(missing[0]))
    return rows.take(np.array(sorted(set(index)), dtype=np.intp))


def _missing_rows(array: Array) -> NDArray[np.intp]:
    flat = array.reshape(len(array), -1)
    if flat.dtype == object:
        return np.flatnonzero([any(value is None for value in row) for row in flat])
    if flat.dtype.kind == "f":
        return np.flatnonzero(np.isnan(flat).any(axis=1))
    return np.empty(0, dtype=np.intp)


def _rejected(brief: Brief, rows: Rows, error: SandboxError) -> DataError | ModelError:
    holes = {name: missing for name, array in rows.feeds.items() if len(missing := _missing_rows(array))}
    if holes:
        found = ", ".join(f"{name!r} ({len(rows_)} rows, first row {rows_[0]})" for name, rows_ in holes.items())
        return DataError(
            brief.data.path,
            f"values are missing in {found}, and the model does not run: {error}",
            "fill them, leave these rows out, or put an imputer into the pipeline",
        )
    return ModelError(
        brief.model.path,
        f"it does not run on the rows of {brief.data.path}: {error}",
        "check names, types and shapes of its inputs against the data",
    )
