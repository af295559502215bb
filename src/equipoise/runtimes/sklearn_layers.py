"""What each step of a scikit-learn pipeline takes: the steps, the parts of column transformers and unions, the rest.

The methods of the fitted estimators are timed as they are called; what a part takes is not counted with what holds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any

import numpy as np

from equipoise.core.tensor import ModelSpec
from equipoise.runtimes.base import Array
from equipoise.runtimes.layers import TimedLayer, TimedLayers, Turn

METHODS = ("transform", "predict", "predict_proba", "decision_function")
BETWEEN = "between the steps"


class SklearnLayers:
    """One fitted estimator whose steps are timed as they are called."""

    def __init__(self, session: Any, estimator: Any) -> None:
        self._session = session
        self._stack: list[float] = []
        self._current: dict[str, float] = {}
        self._seen: list[dict[str, float]] = []
        self._kinds = {BETWEEN: type(estimator).__name__}
        steps = [(name, step) for name, step in _steps(estimator, "") if name] or [("model", estimator)]
        for name, step in steps:
            if hasattr(step, "transformers_") or hasattr(step, "transformer_list"):
                step.set_params(n_jobs=None)  # its parts one after another, in this process, where they can be timed
            self._kinds[name] = type(step).__name__
            for method in METHODS:
                if hasattr(step, method):
                    setattr(step, method, self._timed(name, getattr(step, method)))

    @property
    def spec(self) -> ModelSpec:
        """What it takes and gives."""
        spec: ModelSpec = self._session.spec
        return spec

    def prepare(self, feeds: Mapping[str, Array]) -> Any:
        """As the session that only answers does."""
        return self._session.prepare(feeds)

    def run(self, prepared: Any) -> float:
        """Answer one batch and note what each step took."""
        self._current = {}
        begin = time.perf_counter()
        self._session.run(prepared)
        elapsed_s = time.perf_counter() - begin
        self._current[BETWEEN] = max(0.0, elapsed_s - sum(self._current.values()))
        self._seen.append(self._current)
        return elapsed_s

    def layers(self, turns: Sequence[Turn]) -> TimedLayers:
        """The steps, and what the pipeline takes besides to check and hand over; no operations are claimed."""
        called = [name for name in self._kinds if any(name in seen for seen in self._seen)]
        ordered = [name for name in called if name != BETWEEN] + [BETWEEN]
        layers = tuple(
            TimedLayer(
                name=name,
                operator=self._kinds[name],
                kernel="",
                precision="f64",
                operations=None,
                parameters=None,
                bytes_moved=None,
                seconds=np.array([np.mean([run.get(name, 0.0) for run in self._seen[slice(*turn)]]) for turn in turns]),
            )
            for name in ordered
        )
        return TimedLayers(layers, None)

    def _timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def timed(*arguments: Any, **options: Any) -> Any:
            self._stack.append(0.0)
            begin = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                elapsed_s = time.perf_counter() - begin
                inner_s = self._stack.pop()
                if self._stack:
                    self._stack[-1] += elapsed_s
                self._current[name] = self._current.get(name, 0.0) + elapsed_s - inner_s

        return timed


def _steps(estimator: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The estimator and those that it hands rows to, with the names on the way to each."""
    yield path, estimator
    if hasattr(estimator, "steps"):
        parts = list(estimator.steps)
    elif hasattr(estimator, "transformers_"):
        parts = [(name, part) for name, part, _ in estimator.transformers_]
    elif hasattr(estimator, "transformer_list"):
        parts = list(estimator.transformer_list)
    else:
        return
    for name, part in parts:
        if hasattr(part, "get_params"):
            yield from _steps(part, f"{path} / {name}" if path else str(name))
