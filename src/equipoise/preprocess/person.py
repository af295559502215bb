"""Loads a person's own metric and asks it for its figures."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import BriefError

Array = NDArray[Any]


def person_function(name: str) -> Callable[[dict[str, Array], Array | None], Any]:
    """Import `module:function` from the current folder or the import path.

    Raises:
        BriefError: The module cannot be imported, or has no such function.
    """
    module_name, _, function_name = name.partition(":")
    folder = os.getcwd()
    where = f"--metric {name}"
    sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a person's own module may raise anything while it is imported
        raise BriefError(
            where,
            f"the module {module_name!r} cannot be imported ({type(error).__name__}: {error})",
            f"needed {module_name}.py in {folder}, or an installed module",
        ) from error
    finally:
        sys.path.remove(folder)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise BriefError(
            where,
            f"{module_name!r} has no function {function_name!r}",
            "needed a function(outputs, targets) that returns a figure for each row, higher better",
        )
    return function  # type: ignore[no-any-return]


def person_scores(name: str, outputs: Mapping[str, Array], target: Array | None) -> NDArray[np.float64]:
    """A person's own figure of each row, higher better.

    Args:
        name: `module:function`; it gets the outputs by name, each [n, ...], and the targets [n] or [n, L].
        outputs: Answers to n rows.
        target: True answers as they stand in the data; null where there are none.

    Returns:
        float64 [n].

    Raises:
        BriefError: It cannot be imported, raised an error, or returned anything but n finite numbers.
    """
    function = person_function(name)
    where = f"--metric {name}"
    n = len(next(iter(outputs.values())))
    try:
        figures = function(dict(outputs), target)
    except Exception as error:  # a person's own code may raise anything
        raise BriefError(where, f"it raised {type(error).__name__}: {error}", "needed a figure for each row") from error
    try:
        scores = np.asarray(figures, dtype=np.float64)
    except (TypeError, ValueError):
        raise BriefError(where, f"it returned {type(figures).__name__}", f"needed {n:,} numbers, one a row") from None
    if scores.shape != (n,):
        raise BriefError(where, f"it returned the shape {list(scores.shape)}", f"needed [{n}], one number a row")
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).sum())
        raise BriefError(
            where, f"it returned {bad:,} figures that are not finite", "needed a finite number for each row"
        )
    return scores
