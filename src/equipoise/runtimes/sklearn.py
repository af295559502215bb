"""scikit-learn itself, for fitted estimators and pipelines."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from equipoise.core.environment import Environment
from equipoise.core.profile import Precision, Settings
from equipoise.core.tensor import ModelSpec
from equipoise.core.variant import Format
from equipoise.errors import ModelError
from equipoise.runtimes.base import Array
from equipoise.spared import spared

if TYPE_CHECKING:
    from equipoise.runtimes.sklearn_layers import SklearnLayers

# Types of scikit-learn (and the plain NumPy, SciPy and functools ones inside its estimators) that skops does not trust
# by itself. None of them runs anything when it is loaded. Names, not a prefix: modules under `sklearn.` also import
# functions such as `shutil.rmtree`, which a file could name.
TRUSTED_TYPES = frozenset(
    {
        "functools.partial",
        "numpy.dtype",
        "numpy.mean",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "scipy.interpolate._bsplines.BSpline",
        "sklearn._loss.link.HalfLogitLink",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogLink",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.AbsoluteError",
        "sklearn._loss.loss.ExponentialLoss",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfGammaLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn._loss.loss.HalfPoissonLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn._loss.loss.HalfTweedieLoss",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn._loss.loss.HuberLoss",
        "sklearn._loss.loss.PinballLoss",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.cluster._bisect_k_means._BisectingTree",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "sklearn.compose._column_transformer._RemainderColsList",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Matern",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils.validation.check_array",
    }
)  # fmt: skip

# Classifiers whose `predict` is the class of the largest `predict_proba`, so that one pass gives both.
ARGMAX_CLASSIFIERS = frozenset(
    {
        "AdaBoostClassifier", "BaggingClassifier", "BernoulliNB", "CalibratedClassifierCV", "CategoricalNB",
        "ComplementNB", "DecisionTreeClassifier", "ExtraTreeClassifier", "ExtraTreesClassifier", "GaussianNB",
        "GradientBoostingClassifier", "HistGradientBoostingClassifier", "KNeighborsClassifier",
        "LinearDiscriminantAnalysis", "LogisticRegression", "LogisticRegressionCV", "MLPClassifier", "MultinomialNB",
        "QuadraticDiscriminantAnalysis", "RandomForestClassifier",
    }
)  # fmt: skip


class SklearnSession:
    """One fitted estimator; it computes in its callers' threads."""

    def __init__(self, estimator: Any, spec: ModelSpec, threads: int | None) -> None:
        self.spec = spec
        self._estimator = estimator
        self._threads = threads
        self._limited = threading.local()
        self._as_array = is_array_model(spec, estimator)
        self._missing_text = None if _fitted_on_none(estimator) else np.nan
        self._outputs = {output.name for output in spec.outputs}
        self._argmax = (
            "probabilities" in self._outputs and type(final_estimator(estimator)).__name__ in ARGMAX_CLASSIFIERS
        )

    def prepare(self, feeds: Mapping[str, Array]) -> Any:
        """The table, or the plain array, that the estimator was fitted on the like of."""
        if self._as_array:
            return np.ascontiguousarray(feeds["x"])
        import pandas

        columns = {tensor.name: self._column(feeds[tensor.name].reshape(-1)) for tensor in self.spec.inputs}
        return pandas.DataFrame(columns)

    def run(self, prepared: Any) -> dict[str, Array]:
        """Answer one batch."""
        self._limit_threads()
        estimator = self._estimator
        if "value" in self._outputs:
            return {"value": np.asarray(estimator.predict(prepared))}
        if "probabilities" not in self._outputs:
            return {"label": _labels(estimator.predict(prepared))}
        probabilities = np.asarray(estimator.predict_proba(prepared))
        label = estimator.classes_[probabilities.argmax(axis=1)] if self._argmax else estimator.predict(prepared)
        return {"label": _labels(label), "probabilities": probabilities}

    def _column(self, values: Array) -> Any:
        """One column, its missing text as the estimator's encoders know it."""
        import pandas

        if values.dtype != object:
            return values
        if self._missing_text is None:
            return pandas.Series(values, dtype=object)  # pandas would make NaN of None
        missing = np.fromiter((value is None for value in values), bool, len(values))
        return pandas.Series(np.where(missing, self._missing_text, values) if missing.any() else values)

    def _limit_threads(self) -> None:
        """Bound BLAS and OpenMP in the calling thread: OpenMP keeps its bound per thread, so once is not enough."""
        if self._threads is None or getattr(self._limited, "done", False):
            return
        import threadpoolctl

        threadpoolctl.threadpool_limits(self._threads)
        self._limited.done = True


class SklearnRuntime:
    """Opens fitted scikit-learn estimators, saved by skops: loading one runs no code of the file's own."""

    name: ClassVar[str] = "sklearn"
    formats: ClassVar[tuple[Format, ...]] = ("sklearn",)

    def precisions(self, format: Format, quantized: bool, environment: Environment) -> tuple[Precision, ...]:  # noqa: A002, ARG002
        """Float64, in which scikit-learn computes."""
        return ("f64",)

    def open(self, artifact: Path, settings: Settings) -> SklearnSession:
        """Open `model.skops` and `spec.json` of that folder.

        Raises:
            ModelError: It is damaged, or holds types outside `TRUSTED_TYPES`.
        """
        return self._opened(artifact, settings)[0]

    def open_layers(self, artifact: Path, settings: Settings, scratch: Path) -> SklearnLayers:  # noqa: ARG002
        """Open the same with each of its steps timed.

        Raises:
            ModelError: As `open`.
        """
        from equipoise.runtimes.sklearn_layers import SklearnLayers

        return SklearnLayers(*self._opened(artifact, settings))

    def _opened(self, artifact: Path, settings: Settings) -> tuple[SklearnSession, Any]:
        estimator = load_estimator(artifact)
        spec = ModelSpec.model_validate_json((artifact / "spec.json").read_bytes())
        if settings.default:
            return SklearnSession(estimator, spec, None), estimator
        names = [name for name in estimator.get_params(deep=True) if name.split("__")[-1] == "n_jobs"]
        estimator.set_params(**dict.fromkeys(names, settings.threads))
        return SklearnSession(estimator, spec, settings.threads), estimator


def load_estimator(artifact: Path) -> Any:
    """Load the estimator of an artifact folder; it may hold the types of `TRUSTED_TYPES`, and nothing extends them.

    Raises:
        ModelError: The file is damaged, or holds other types.
    """
    with spared("torch"):
        import skops.io

    path = artifact / "model.skops"
    try:
        found = set(skops.io.get_untrusted_types(file=path))
        refused = sorted(found - TRUSTED_TYPES)
        if refused:
            raise ModelError(
                str(path),
                f"holds types outside the allow-list: {', '.join(refused)}",
                "needed scikit-learn's own types, since others could run code: replace those steps, or export to ONNX",
            )
        return skops.io.load(path, trusted=sorted(found))
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(
            str(path), f"skops cannot load it ({error})", "save the estimator again with skops.io.dump"
        ) from error


def is_array_model(spec: ModelSpec, estimator: Any) -> bool:
    """Whether the estimator was fitted on a plain array, fed as the one input `x`, and not on a table's columns."""
    names = [tensor.name for tensor in spec.inputs]
    return names == ["x"] and not hasattr(estimator, "feature_names_in_")


def final_estimator(model: Any) -> Any:
    """The estimator that answers: the last step of a pipeline, the best of a search, or the model itself."""
    while True:
        if hasattr(model, "steps"):
            model = model.steps[-1][1]
        elif hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        else:
            return model


def nested_estimators(estimator: Any) -> Iterator[Any]:
    """The estimator and every fitted one inside it (steps of pipelines, parts of column transformers, members)."""
    yield estimator
    if hasattr(estimator, "steps"):
        parts = [step for _, step in estimator.steps]
    elif hasattr(estimator, "transformers_"):
        parts = [part for _, part, _ in estimator.transformers_]
    elif hasattr(estimator, "transformer_list"):
        parts = [part for _, part in estimator.transformer_list]
    else:
        parts = [getattr(estimator, name, None) for name in ("best_estimator_", "estimator_", "_preprocessor")]
    for part in parts:
        if hasattr(part, "get_params"):
            yield from nested_estimators(part)


def _fitted_on_none(estimator: Any) -> bool:
    """Whether missing text was `None` when the encoders learnt their categories; pandas reads it as NaN otherwise."""
    for part in nested_estimators(estimator):
        if getattr(part, "missing_values", np.nan) is None:
            return True
        for categories in getattr(part, "categories_", ()):
            if any(category is None for category in categories):
                return True
    return False


def _labels(values: Any) -> Array:
    array = np.asarray(values)
    return array.astype(object) if array.dtype.kind == "U" else array
