"""An anatomy as a profile could have found it."""

from __future__ import annotations

import numpy as np

from equipoise.core.anatomy import Anatomy, FedInput
from equipoise.core.estimate import Estimate
from equipoise.core.profile import Settings
from equipoise.core.roofline import Peak, Roofline
from equipoise.host.environment import environment
from equipoise.measure.anatomy import known_sum, layer_costs, operator_costs
from equipoise.runtimes.layers import Operation, TimedLayer

KINDS = ("Conv", "Relu", "Add", "MatMul", "Softmax", "Mystery <b>")


def measured(value: float) -> Estimate:
    return Estimate(value=value, low=None, high=None, n=1, method="")


def made_anatomy() -> Anatomy:
    """Six layers, each of a kind of its own and none of them fast, the last of a kind without a formula."""
    roofs = Roofline(
        environment="e" * 64,
        threads=2,
        peaks=tuple(
            Peak(precision=precision, flops_per_s=measured(value), runtime="openvino")
            for precision, value in (("f32", 1e11), ("int8", 4e11))
        ),
        bytes_per_s=measured(2e10),
    )
    layers = [
        TimedLayer(
            name=f"/block.{place}/{kind}",
            operator=kind,
            kernel="",
            precision="f32",
            operations=(Operation(kind, ((9, 64), (64, 64)), ((9, 64),)),),
            parameters=None if kind.startswith("Mystery") else 64,
            bytes_moved=4 * 9 * 64,
            seconds=np.array([1e-4 * (place + 1)]),
        )
        for place, kind in enumerate(KINDS)
    ]
    costs = layer_costs(layers, np.array([0]), roofs)
    return Anatomy(
        model="model <i>.onnx",
        format="onnx",
        settings=Settings(runtime="openvino", precision="f32", threads=2, replicas=1, batch=1),
        inputs=(FedInput(name="x", dtype="float32", shape=(1, 64)),),
        rows="random",
        whole_s=measured(2.2e-3),
        observed_s=measured(2.3e-3),
        layers_s=2.1e-3,
        flops=known_sum(cost.flops for cost in costs),
        unknown_share=6 / 21,
        parameters=1234,
        layers=costs,
        operators=operator_costs(costs),
        roofline=roofs,
        environment=environment(),
        notes=("Mind the <gap>.",),
    )
