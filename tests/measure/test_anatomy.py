from __future__ import annotations

import numpy as np
import pytest

from equipoise.core.estimate import Estimate
from equipoise.core.roofline import Peak, Roofline
from equipoise.measure.anatomy import flops_of, known_sum, layer_costs, operator_costs, quiet_mean, quieter_half
from equipoise.measure.roofline import copy_bandwidth, peak_flops
from equipoise.runtimes.layers import Operation, TimedLayer


def exactly(value: float) -> Estimate:
    return Estimate(value=value, low=None, high=None, n=1, method="")


ROOFLINE = Roofline(
    environment="0" * 64,
    threads=1,
    peaks=(Peak(precision="f32", flops_per_s=exactly(1e9), runtime="onnxruntime"),),
    bytes_per_s=exactly(1e8),
)


def layer(name, operator, seconds, *, out=1000, moved=400, precision="f32", operations=True):
    known = (Operation(operator, ((out,),), ((out,),)),) if operations else None
    return TimedLayer(name, operator, "", precision, known, 0, moved, np.asarray(seconds, dtype=float))


def test_shares_add_up_and_kinds_are_sums():
    layers = [layer("a", "Relu", [1.0, 9.0]), layer("b", "Add", [2.0, 9.0]), layer("c", "Relu", [1.0, 9.0])]
    costs = layer_costs(layers, np.array([0]), None)
    assert [cost.share for cost in costs] == [0.25, 0.5, 0.25]
    assert [cost.name for cost in costs] == ["a", "b", "c"]
    kinds = operator_costs(costs)
    assert [(kind.operator, kind.layers, kind.time_s, kind.flops) for kind in kinds] == [
        ("Relu", 2, 2.0, 2000),
        ("Add", 1, 2.0, 1000),
    ]


def test_means_of_layers_add_up_to_the_mean_of_the_whole():
    random = np.random.default_rng(0)
    seconds = random.lognormal(0, 2, (30, 12))
    quiet = quieter_half(seconds.sum(axis=0))
    costs = layer_costs([layer(str(place), "Relu", each) for place, each in enumerate(seconds)], quiet, None)
    assert sum(cost.time_s.value for cost in costs) == pytest.approx(quiet_mean(seconds.sum(axis=0), quiet).value)
    assert quiet_mean(seconds.sum(axis=0), quiet).value < seconds.sum(axis=0).mean()


def test_the_quieter_half_has_at_least_one_turn():
    assert quieter_half(np.array([3.0])).tolist() == [0]
    assert sorted(quieter_half(np.array([3.0, 1.0, 2.0, 9.0])).tolist()) == [1, 2]


def test_a_layer_is_held_against_the_roof_above_it():
    # 1000 operations for 400 bytes: 2.5 a byte, where memory allows 2.5e8 a second, a quarter of the peak.
    bound = layer_costs([layer("a", "Relu", [8e-6])], np.array([0]), ROOFLINE)[0]
    assert (bound.bound, bound.flops_per_byte) == ("memory", 2.5)
    assert bound.roof_share == pytest.approx(1000 / 8e-6 / 2.5e8)
    flat = layer_costs([layer("a", "Relu", [2e-6], moved=40)], np.array([0]), ROOFLINE)[0]
    assert flat.bound == "compute"
    assert flat.roof_share == pytest.approx(0.5)


@pytest.mark.parametrize(
    "without",
    [
        layer("a", "Relu", [1e-6], precision="bf16"),  # no peak in it
        layer("a", "Relu", [1e-6], precision=None),
        layer("a", "Relu", [1e-6], moved=None),
        layer("a", "Relu", [1e-6], moved=0),
        layer("a", "Mystery", [1e-6]),
        layer("a", "Relu", [1e-6], operations=False),
        layer("a", "Reshape", [1e-6]),
    ],
)
def test_without_figures_there_is_no_roof(without):
    cost = layer_costs([without], np.array([0]), ROOFLINE)[0]
    assert cost.roof_share is None


def test_a_layer_with_one_unknown_operator_is_unknown():
    known = Operation("Relu", ((8,),), ((8,),))
    both = TimedLayer("a", "Subgraph", "", None, (known, Operation("Mystery", (), ())), 0, 0, np.ones(1))
    assert flops_of(both) is None
    cost = operator_costs(layer_costs([both, layer("b", "Subgraph", [1.0], operations=False)], np.array([0]), None))[0]
    assert (cost.unknown, cost.flops) == (2, None)
    assert known_sum([None, 3, None]) == 3
    assert known_sum([None]) is None


def test_the_peak_is_that_of_the_product_alone():
    size = 16
    product = Operation("MatMul", ((size, size), (size, size)), ((size, size),))
    timed = TimedLayer("p", "MatMul", "", "f32", (product,), 0, 0, np.array([2e-6, 1e-6, 4e-6]))
    found = peak_flops((layer("q", "Relu", [1e-9], out=10), timed), size)
    assert found is not None
    assert found.value == pytest.approx(2 * size**3 / 1e-6)
    assert found.low == pytest.approx(2 * size**3 / 2e-6)
    assert peak_flops((layer("q", "Relu", [1e-9], out=10),), size) is None


def test_a_copy_reads_and_writes():
    found = copy_bandwidth(threads=2, copied_bytes=1 << 20, copies=3)
    assert found.n == 3
    assert found.low is not None
    assert 0 < found.low <= found.value
