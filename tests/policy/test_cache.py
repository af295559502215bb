"""Keys of answers, and what remembering them brings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.policy.cache import Lru, cache_key, cache_worth, lru_hit_shares, memory_usd_per_hour, repeat_hit_share

numbers = st.lists(st.floats(width=32), min_size=1, max_size=6)
texts = st.lists(st.none() | st.text(max_size=4), min_size=1, max_size=4)


@st.composite
def requests(draw):
    return {
        "plan": draw(st.text(max_size=3)),
        "version": draw(st.text(max_size=3)),
        "preprocessing": draw(st.text(max_size=3)),
        "outputs": draw(st.lists(st.text(max_size=3), max_size=3, unique=True)),
        "inputs": {
            "x": np.array(draw(numbers), dtype=np.float32).reshape(1, -1),
            "n": np.array(draw(st.lists(st.integers(-5, 5), min_size=1, max_size=3))),
            "t": np.array([*draw(texts), None], dtype=object)[:-1],
        },
        "near": draw(st.dictionaries(st.sampled_from(["x", "n"]), st.sampled_from([0.5, 2.0]), max_size=2)),
        "high": draw(st.booleans()),
    }


def changed(request, part):
    inputs = request["inputs"]
    other = dict(request)
    if part in ("plan", "version", "preprocessing"):
        other[part] = request[part] + "x"
    elif part == "outputs":
        other["outputs"] = [*request["outputs"], "another"]
    elif part == "high":
        other["high"] = not request["high"]
    elif part == "near":
        other["near"] = {**request["near"], "x": 4.0}
    elif part == "an input's name":
        other["inputs"] = {**{name: inputs[name] for name in ("n", "t")}, "y": inputs["x"]}
        other["near"] = {name: step for name, step in request["near"].items() if name != "x"}
    elif part == "another input":
        other["inputs"] = {**inputs, "z": np.zeros(1)}
    elif part == "a type":
        other["inputs"] = {**inputs, "x": inputs["x"].astype(np.float64)}
    elif part == "a shape":
        other["inputs"] = {**inputs, "x": inputs["x"].reshape(-1, 1, 1)}
    elif part == "a number":
        values = np.nan_to_num(inputs["x"], nan=1.0, posinf=2.0, neginf=3.0).clip(-1e6, 1e6)
        other["inputs"] = {**inputs, "x": values}
        request = {**request, "inputs": {**inputs, "x": values + np.float32(16)}}
    elif part == "a text":
        other["inputs"] = {**inputs, "t": np.array([*inputs["t"][:-1], "changed"], dtype=object)}
    else:
        empty = inputs["t"].copy()
        empty[0] = ""
        missing = inputs["t"].copy()
        missing[0] = None
        request, other = {**request, "inputs": {**inputs, "t": empty}}, {**request, "inputs": {**inputs, "t": missing}}
    return request, other


PARTS = (
    "plan", "version", "preprocessing", "outputs", "high", "near", "an input's name", "another input", "a type",
    "a shape", "a number", "a text", "a missing text",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(requests(), st.sampled_from(PARTS))
def test_a_key_differs_whenever_any_part_differs(request, part):
    before, after = changed(request, part)
    assert cache_key(**before) != cache_key(**after)


@settings(max_examples=200, deadline=None)
@given(requests())
def test_a_key_does_not_depend_on_order_layout_or_bit_patterns_that_mean_the_same(request):
    inputs = request["inputs"]
    x = inputs["x"]
    wide = np.empty((1, 2 * x.shape[1]), dtype=x.dtype)
    wide[:, ::2] = x
    other_nan = np.where(np.isnan(x), -np.float32("nan"), x)
    same = [
        {**request, "inputs": dict(reversed(inputs.items()))},
        {**request, "outputs": request["outputs"][::-1]},
        {**request, "inputs": {**inputs, "x": wide[:, ::2]}},
        {**request, "inputs": {**inputs, "x": np.asfortranarray(x)}},
        {**request, "inputs": {**inputs, "x": x.astype(">f4")}},
        {**request, "inputs": {**inputs, "x": other_nan}},
        {**request, "inputs": {**inputs, "x": np.where(x == 0, -x, x)}},
        {**request, "near": dict(reversed(request["near"].items()))},
    ]
    assert {cache_key(**each) for each in same} == {cache_key(**request)}
    assert np.array_equal(x, inputs["x"], equal_nan=True)


def key(x, near=None):
    return cache_key("p", "1", "", ["y"], {"x": x}, near)


def test_text_is_text_in_any_array_and_parts_do_not_run_into_one_another():
    assert key(np.array(["ab", "c"])) == key(np.array(["ab", "c"], dtype=object)) == key(np.array(["ab", "c"], "U9"))
    assert key(np.array(["ab", "c"])) != key(np.array(["a", "bc"]))
    assert cache_key("p", "1", "", ["ab"], {}) != cache_key("p", "1", "", ["a", "b"], {})
    assert cache_key("p", "1", "x", [], {}) != cache_key("p", "1x", "", [], {})


@pytest.mark.parametrize("dtype", ["?", "i1", "u8", "f2", "f4", "f8", "g", "c8", ">i4", ">c16"])
def test_every_kind_of_number_has_a_key(dtype):
    assert key(np.array([0, 1], dtype)) != key(np.array([1, 0], dtype))
    assert key(np.array(1, dtype)) != key(np.array([1], dtype))
    assert key(np.zeros((0, 2), dtype)) != key(np.zeros((0, 3), dtype))


def test_zeros_and_nans_of_complex_numbers_are_one():
    assert key(np.array([complex(-0.0, 0.0)])) == key(np.array([complex(0.0, -0.0)]))
    assert key(np.array([complex(np.nan, 1)])) == key(np.array([complex(-np.nan, 1)]))


def test_near_matches_share_a_key_and_far_ones_do_not():
    near = {"x": 0.1}
    assert key(np.array([1.0, 2.04]), near) == key(np.array([1.01, 1.98]), near)
    assert key(np.array([1.0, 2.0]), near) != key(np.array([1.1, 2.0]), near)
    assert key(np.array([0.01]), near) == key(np.array([-0.01]), near)
    assert key(np.array([np.nan, 1.0]), near) == key(np.array([-np.nan, 1.0]), near)
    assert key(np.array([1e308], dtype=np.float64), {"x": 1e-9}) != key(np.array([1.0]), {"x": 1e-9})
    assert key(np.array([100, 204]), {"x": 10}) == key(np.array([99, 196]), {"x": 10})
    assert key(np.array([1, 2]), {"x": 0.1}) != key(np.array([1, 3]), {"x": 0.1})
    assert key(np.array([1.0]), near) != key(np.array([1.0]))


@pytest.mark.parametrize(
    ("x", "near", "error", "message"),
    [
        (np.zeros(1), {"y": 1.0}, ValueError, "input 'y'"),
        (np.zeros(1), {"x": 0.0}, ValueError, "positive"),
        (np.array(["a"]), {"x": 1.0}, ValueError, "no numbers"),
        (np.array([1, "a"], dtype=object), None, TypeError, "holds int 1"),
        (np.zeros(1, dtype="M8[s]"), None, TypeError, "datetime64"),
    ],
)
def test_what_cannot_have_a_key_is_refused(x, near, error, message):
    with pytest.raises(error, match=message):
        key(x, near)


def brute_force(keys, capacity):
    cache: Lru[bool] = Lru(capacity)
    hits = 0
    for each in keys:
        hits += cache.get(each) is not None
        cache.put(each, True)
        assert len(cache) <= capacity
    return hits / len(keys)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=80))
def test_hit_shares_are_those_of_an_lru_cache_of_every_size(keys):
    capacities = [1, 2, 3, 5, 8, 13, 100]
    assert lru_hit_shares(keys, capacities) == pytest.approx([brute_force(keys, size) for size in capacities])


def test_hit_shares_of_a_long_trace():
    keys = np.random.default_rng(0).zipf(1.2, 20_000)
    assert lru_hit_shares(keys, [10, 500]) == pytest.approx([brute_force(keys.tolist(), size) for size in (10, 500)])
    distinct = len(np.unique(keys))
    assert lru_hit_shares(keys, [distinct])[0] == pytest.approx(1 - distinct / 20_000)


def test_hit_shares_refuse_no_requests_and_no_room():
    with pytest.raises(ValueError, match="at least one request"):
        lru_hit_shares([], [1])
    with pytest.raises(ValueError, match="found 0"):
        lru_hit_shares([1], [2, 0])
    with pytest.raises(ValueError, match="found 0"):
        Lru(0)


def test_the_one_unused_for_longest_goes_and_all_can_be_forgotten():
    cache: Lru[str] = Lru(2)
    cache.put("a", "1")
    cache.put("b", "2")
    cache.put("a", "3")
    cache.put("c", "4")
    assert [cache.get(name) for name in "abc"] == ["3", None, "4"]
    cache.clear()
    assert len(cache) == 0


@given(
    st.floats(0, 1), st.floats(1e-3, 1e3), st.floats(0, 1e-3), st.floats(1e-3, 10), st.floats(0, 1), st.floats(0.1, 1e5)
)
def test_a_cache_pays_only_where_hits_save_more_than_looking_up_and_memory_cost(
    hit, usd, lookup_s, price, memory, rate
):
    worth = cache_worth(hit, usd, lookup_s, price, memory, rate)
    extra = lookup_s / 3600 * price * 1e6 + memory / (rate * 3600) * 1e6
    assert worth.usd_per_million == pytest.approx(usd * (1 - hit) + extra)
    assert worth.pays == (worth.usd_per_million < usd)
    assert cache_worth(0.0, usd, lookup_s, price, memory, rate).pays is False


def test_prices_of_memory_and_shares_of_repeats():
    assert memory_usd_per_hour(1000, 2**20, 0.004) == pytest.approx(1000 / 1024 * 0.004)
    assert repeat_hit_share(0.25) == 0.25
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="repeat_share"):
            repeat_hit_share(wrong)
    with pytest.raises(ValueError, match="entry_bytes"):
        memory_usd_per_hour(1, -1, 0.004)
    with pytest.raises(ValueError, match="hit_share"):
        cache_worth(1.5, 1.0, 0.0, 1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="rate_rps"):
        cache_worth(0.5, 1.0, 0.0, 1.0, 0.0, 0.0)
