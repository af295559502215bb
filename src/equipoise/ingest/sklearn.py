"""Reads fitted scikit-learn estimators and pipelines, and keeps them as skops."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from equipoise.core.tensor import DType, ModelSpec, TensorSpec
from equipoise.errors import DataError, ModelError
from equipoise.ingest.model import ImportedModel
from equipoise.ingest.table import Table
from equipoise.preprocess.answers import ClassLabel
from equipoise.preprocess.columns import listed
from equipoise.preprocess.meaning import Task
from equipoise.runtimes.sklearn import TRUSTED_TYPES
from equipoise.spared import spared

# Parts of a hyper-parameter search, which is read for the best estimator it holds and not kept.
SEARCH_TYPES = frozenset(
    {
        "sklearn.metrics._scorer._PassthroughScorer", "sklearn.metrics._scorer._Scorer",
        "sklearn.model_selection._split.GroupKFold", "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.ShuffleSplit", "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.model_selection._split.StratifiedShuffleSplit", "sklearn.model_selection._split.TimeSeriesSplit",
    }
)  # fmt: skip
COLUMN_DTYPES: dict[str, DType] = {"b": "bool", "i": "int64", "u": "int64", "f": "float64", "O": "string"}


def import_sklearn(path: Path, folder: Path, table: Table | None) -> ImportedModel:
    """Read an estimator, check it, and write `model.skops` and `spec.json` into `folder`.

    Args:
        path: A `.skops` file, or a pickle (`.joblib`, `.pkl`) that the person said to trust.
        folder: An existing, empty folder for the artifact.
        table: Rows of the data, which say the types of the columns.

    Raises:
        ModelError: It is damaged, holds types that are not allowed, is no fitted classifier or regressor, or does not
            say what it was fitted on.
        DataError: The data lacks a column that it was fitted on.
    """
    with spared("torch"):
        import skops.io

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = _loaded(path)
    estimator = _best(estimator)
    task = _task(path, estimator)
    multilabel = task == "classes" and _multilabel(path, estimator)
    spec = ModelSpec(inputs=_inputs(path, estimator, table), outputs=_outputs(estimator, task, multilabel))
    try:
        skops.io.dump(estimator, folder / "model.skops")
    except Exception as error:  # skops raises a type of its own, or whatever a stranger's __getstate__ does
        raise ModelError(
            str(path), f"skops cannot save it ({error})", "needed an estimator of scikit-learn's own types"
        ) from None
    _require_trusted(path, folder / "model.skops", TRUSTED_TYPES)
    (folder / "spec.json").write_text(spec.model_dump_json(indent=2), encoding="utf-8")
    return ImportedModel(
        format="sklearn",
        spec=spec,
        operators={type(step).__name__: 1 for step in _steps(estimator)},
        estimators=_estimators(_steps(estimator)[-1]),
        quantized=False,
        class_labels=_class_labels(estimator) if task == "classes" and not multilabel else None,
        task=task,
        multilabel=multilabel,
        warnings=_version_warnings(path, caught),
    )


def _loaded(path: Path) -> Any:
    if path.suffix.lower() == ".skops":
        return _loaded_skops(path)
    import joblib

    try:
        return joblib.load(path)
    except ModuleNotFoundError as error:
        raise ModelError(
            str(path), f"it needs the module {error.name!r}, which is not installed", "install it beside Equipoise"
        ) from None
    except Exception as error:  # unpickling runs the file's own code, which may raise anything
        raise ModelError(
            str(path), f"cannot be opened ({type(error).__name__}: {error})", "save it again, as skops best of all"
        ) from None


def _loaded_skops(path: Path) -> Any:
    with spared("torch"):
        import skops.io

    _require_trusted(path, path, TRUSTED_TYPES | SEARCH_TYPES)
    try:
        return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    except Exception as error:  # a damaged or hostile file makes its reader raise anything
        raise _damaged(path, error) from None


def _require_trusted(path: Path, file: Path, trusted: frozenset[str]) -> None:
    with spared("torch"):
        import skops.io

    try:
        refused = sorted(set(skops.io.get_untrusted_types(file=file)) - trusted)
    except Exception as error:  # as above
        raise _damaged(path, error) from None
    if refused:
        raise ModelError(
            str(path),
            f"it holds types outside the allow-list: {', '.join(refused)}",
            "needed scikit-learn's own types, since others could run code: replace those steps, or export to ONNX",
        )


def _damaged(path: Path, error: Exception) -> ModelError:
    found = "no complete skops file" if isinstance(error, (zipfile.BadZipFile, KeyError, ValueError, OSError)) else ""
    return ModelError(
        str(path),
        f"{found or 'cannot be opened'} ({type(error).__name__}: {error})",
        "save the model again with skops.io.dump",
    )


def _best(estimator: Any) -> Any:
    """The estimator that a finished hyper-parameter search answers with."""
    from sklearn.model_selection._search import BaseSearchCV

    return (
        estimator.best_estimator_
        if isinstance(estimator, BaseSearchCV) and hasattr(estimator, "best_estimator_")
        else estimator
    )


def _task(path: Path, estimator: Any) -> Task:
    from sklearn.base import BaseEstimator, is_classifier, is_regressor
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    where, name = str(path), type(estimator).__name__
    if not isinstance(estimator, BaseEstimator) or not hasattr(estimator, "predict"):
        raise ModelError(where, f"found a {name}", "needed a scikit-learn estimator or pipeline with predict")
    if not (is_classifier(estimator) or is_regressor(estimator)):
        raise ModelError(where, f"found a {name}, neither classifier nor regressor", "needed one of them")
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise ModelError(where, f"the {name} was not fitted", "call fit before saving it") from None
    return "classes" if is_classifier(estimator) else "numbers"


def _steps(estimator: Any) -> list[Any]:
    return [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]


def _multilabel(path: Path, estimator: Any) -> bool:
    """Whether `predict` gives 0 or 1 for each of several labels."""
    last = _steps(estimator)[-1]
    classes = getattr(last, "classes_", None)
    if isinstance(classes, list):
        if any(not set(np.asarray(one).tolist()) <= {0, 1} for one in classes):
            shown = listed([str(np.asarray(one).tolist()) for one in classes], 4)
            raise ModelError(
                str(path), f"several outputs with the classes {shown}", "needed one output, or labels of 0 and 1"
            )
        return True
    binarizer = getattr(last, "_label_binarizer", None)
    return bool(getattr(last, "multilabel_", False)) or str(getattr(binarizer, "y_type_", "")).startswith("multilabel")


def _inputs(path: Path, estimator: Any, table: Table | None) -> tuple[TensorSpec, ...]:
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        return tuple(_column(path, str(name), table) for name in names)
    k = getattr(estimator, "n_features_in_", None)
    if k is None:
        raise ModelError(
            str(path),
            f"the {type(estimator).__name__} does not say what columns it was fitted on",
            "fit it on a DataFrame, or on an array [rows, features]",
        )
    return (TensorSpec(name="x", dtype=_array_dtype(table, int(k)), shape=(None, int(k))),)


def _column(path: Path, name: str, table: Table | None) -> TensorSpec:
    if table is None:
        return TensorSpec(name=name, dtype="float64", shape=(None, 1))
    if name not in table.columns:
        raise DataError(
            table.source, f"no column {name!r}", f"{path} was fitted on it; the data has {listed(table.columns)}"
        )
    return TensorSpec(name=name, dtype=COLUMN_DTYPES[table.columns[name].dtype.kind], shape=(None, 1))


def _array_dtype(table: Table | None, k: int) -> DType:
    """The type of the data's own array of `k` features; float64 where there is none."""
    arrays = [] if table is None else [array for array in table.columns.values() if array.shape[1:] == (k,)]
    if len(arrays) == 1 and arrays[0].dtype.kind in "biuf":
        return TypeAdapter(DType).validate_python(arrays[0].dtype.name)
    return "float64"


def _outputs(estimator: Any, task: Task, multilabel: bool) -> tuple[TensorSpec, ...]:
    if task == "numbers":
        return (TensorSpec(name="value", dtype="float64", shape=(None,)),)
    if multilabel:
        return (TensorSpec(name="label", dtype="int64", shape=(None, None)),)
    classes = np.asarray(estimator.classes_)
    kind = classes.dtype.kind
    dtype: DType = "string" if kind in "OU" else COLUMN_DTYPES.get(kind, "int64")
    label = TensorSpec(name="label", dtype=dtype, shape=(None,))
    if not hasattr(estimator, "predict_proba"):
        return (label,)
    return (label, TensorSpec(name="probabilities", dtype="float64", shape=(None, len(classes))))


def _class_labels(estimator: Any) -> tuple[ClassLabel, ...]:
    return tuple(str(value) if isinstance(value, str) else value for value in np.asarray(estimator.classes_).tolist())


def _estimators(last: Any) -> int | None:
    """Trees of a forest, rounds of a boosted model."""
    if hasattr(last, "n_iter_") and type(last).__name__.startswith("HistGradientBoosting"):
        return int(last.n_iter_)
    if hasattr(last, "n_estimators_"):
        return int(last.n_estimators_)
    members = getattr(last, "estimators_", None)
    return len(members) if members is not None and hasattr(last, "n_estimators") else None


def _version_warnings(path: Path, caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    from sklearn.exceptions import InconsistentVersionWarning

    found = {
        (warning.message.original_sklearn_version, warning.message.current_sklearn_version)
        for warning in caught
        if isinstance(warning.message, InconsistentVersionWarning)
    }
    return tuple(
        f"{path}: fitted with scikit-learn {then}, opened with {now}: answers may differ; fit it again"
        for then, now in sorted(found)
    )
