"""From the times of layers to what each costs, and how near it comes to what the machine can do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from equipoise.core.anatomy import LayerCost, OperatorCost
from equipoise.core.estimate import Estimate
from equipoise.core.roofline import Roofline
from equipoise.measure.operations import flops
from equipoise.runtimes.layers import TimedLayer


def layer_costs(
    layers: Sequence[TimedLayer], quiet: NDArray[np.intp], roofline: Roofline | None
) -> tuple[LayerCost, ...]:
    """What each layer costs.

    Args:
        layers: As the runtime executed them, each with its seconds in the same turns.
        quiet: Places of the turns that count.
        roofline: The most that the machine can do; null where it was not measured.

    Returns:
        The same layers in the same order; their shares add up to 1.
    """
    times_s = [quiet_mean(layer.seconds, quiet) for layer in layers]
    total_s = sum(time_s.value for time_s in times_s)
    return tuple(_layer_cost(layer, time_s, total_s, roofline) for layer, time_s in zip(layers, times_s, strict=True))


def quieter_half(seconds: NDArray[np.float64]) -> NDArray[np.intp]:
    """Which turns took least, the half of them: whatever else a machine does makes a run longer, never shorter.

    Args:
        seconds: Of each turn: float64[turns], at least one.

    Returns:
        Their places, at least one.
    """
    return np.argsort(seconds, kind="stable")[: (len(seconds) + 1) // 2]


def quiet_mean(seconds: NDArray[np.float64], quiet: NDArray[np.intp]) -> Estimate:
    """The mean over the quieter turns: unlike medians, means of layers add up to the mean of them all."""
    kept = seconds[quiet]
    return Estimate(
        value=float(kept.mean()),
        low=float(kept.min()),
        high=float(kept.max()),
        n=len(kept),
        method=f"mean of the quieter half of {len(seconds)} turns, from the least to the most of those",
    )


def operator_costs(layers: Sequence[LayerCost]) -> tuple[OperatorCost, ...]:
    """What the layers of each kind cost together, the dearest kind first."""
    kinds: dict[str, list[LayerCost]] = {}
    for layer in layers:
        kinds.setdefault(layer.operator, []).append(layer)
    found = [
        OperatorCost(
            operator=operator,
            layers=len(each),
            time_s=sum(layer.time_s.value for layer in each),
            share=sum(layer.share for layer in each),
            flops=known_sum(layer.flops for layer in each),
            unknown=sum(layer.flops is None for layer in each),
            parameters=known_sum(layer.parameters for layer in each),
            bytes_moved=known_sum(layer.bytes_moved for layer in each),
        )
        for operator, each in kinds.items()
    ]
    return tuple(sorted(found, key=lambda cost: -cost.time_s))


def known_sum(counts: Iterable[int | None]) -> int | None:
    """The sum of what is known; null where nothing is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def flops_of(layer: TimedLayer) -> int | None:
    """Operations of one layer; null where one of its operators has no formula."""
    if layer.operations is None:
        return None
    counts = [flops(operation) for operation in layer.operations]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _layer_cost(layer: TimedLayer, time_s: Estimate, total_s: float, roofline: Roofline | None) -> LayerCost:
    count, moved = flops_of(layer), layer.bytes_moved
    intensity = count / moved if count is not None and moved else None
    reached = count / time_s.value if count and time_s.value > 0 else None
    bound, roof = _roof(layer, intensity, roofline)
    return LayerCost(
        name=layer.name,
        operator=layer.operator,
        kernel=layer.kernel,
        precision=layer.precision,
        time_s=time_s,
        share=time_s.value / total_s if total_s > 0 else 0.0,
        flops=count,
        parameters=layer.parameters,
        bytes_moved=moved,
        flops_per_byte=intensity,
        flops_per_s=reached,
        bound=bound,
        roof_share=None if reached is None or roof is None else reached / roof,
    )


def _roof(
    layer: TimedLayer, intensity: float | None, roofline: Roofline | None
) -> tuple[Literal["compute", "memory"] | None, float | None]:
    """Which roof is above a layer, and the operations a second that it allows."""
    peak = None if roofline is None else roofline.peak(layer.precision)
    if roofline is None or peak is None or not intensity:
        return None, None
    slope = intensity * roofline.bytes_per_s.value
    return ("memory", slope) if slope < peak.flops_per_s.value else ("compute", peak.flops_per_s.value)
