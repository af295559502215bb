"""What a request brings, checked before it meets others."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.errors import BadRequest
from equipoise.serve import Engine

Array = NDArray[Any]
Cascades = Callable[..., Any]
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.mark.parametrize(
    ("inputs", "options", "said"),
    [
        ({}, {}, "no input 'image'"),
        ({"image": np.zeros((1, 2, 2), np.uint8), "y": np.zeros(1)}, {}, "an input y"),
        ({"image": np.zeros((1, 2, 2))}, {}, "holds float64; the model takes uint8"),
        ({"image": np.zeros((1, 2, 3), np.uint8)}, {}, r"shape \[1, 2, 3\]; the model takes \[rows, 2, 2\]"),
        ({"image": np.zeros((0, 2, 2), np.uint8)}, {}, "no rows"),
        ({"image": np.zeros((1, 2, 2), np.uint8)}, {"outputs": ["x"]}, "the model gives logits"),
        ({"image": np.zeros((1, 2, 2), np.uint8)}, {"outputs": ["logits"] * 2}, "twice"),
        ({"image": np.zeros((1, 2, 2), np.uint8)}, {"priority": "low"}, "normal or high"),
        ({"image": np.zeros((1, 2, 2), np.uint8)}, {"deadline_s": float("nan")}, "needed a number"),
    ],
)
def test_what_cannot_be_used_says_why(run: Run, cascade: Cascades, inputs: Any, options: Any, said: str) -> None:
    async def main() -> None:
        async with Engine([cascade().loaded]) as engine:
            with pytest.raises(BadRequest, match=said):
                await engine.infer("m", inputs, **options)

    run(main())
