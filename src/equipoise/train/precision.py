"""In which precision a training is computed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

FASTER = 1.15
"""Bfloat16 is taken where it is at least so many times faster: less is within the noise of a few steps."""
SHORTEST_STEP_S = 0.02
"""Steps shorter than this are too short to gain, or to be timed."""
TIMED_STEPS = 3


def autocast(precision: torch.dtype, device: torch.device) -> AbstractContextManager[None]:
    """Compute what gains from it in `precision`; weights and their updates stay float32."""
    context: AbstractContextManager[None] = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16
    )
    return context


def faster_precision(
    step: Callable[[torch.dtype], object], device: torch.device, clock: Callable[[], float]
) -> torch.dtype:
    """Float32, or bfloat16 where this machine trains this model faster in it.

    A GPU that has bfloat16 takes it unasked. On a CPU a few steps are timed in both, the second of which is the first
    that counts; short steps are float32 always, so that small trainings are the same wherever they run.

    Args:
        step: Trains one batch in a precision; whoever asks puts the weights back afterwards.
        device: Where it is trained.
        clock: Tells seconds.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    step(torch.float32)
    plain_s = _seconds(step, torch.float32, clock)
    if plain_s < SHORTEST_STEP_S:
        return torch.float32
    step(torch.bfloat16)
    return torch.bfloat16 if _seconds(step, torch.bfloat16, clock) * FASTER < plain_s else torch.float32


def _seconds(step: Callable[[torch.dtype], object], precision: torch.dtype, clock: Callable[[], float]) -> float:
    times = []
    for _ in range(TIMED_STEPS):
        begin = clock()
        step(precision)
        times.append(clock() - begin)
    return min(times)
