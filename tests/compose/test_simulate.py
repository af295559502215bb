"""The simulator against queueing theory, and whatever happens to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.compose.fleet import CACHED, SHED, UNAVAILABLE
from equipoise.compose.service_times import ServiceTimes, levels_of
from equipoise.compose.simulate import Machine, StageTimes, Traffic, plan_machine, served_machine, simulate
from equipoise.core.plan import BatchRule, CacheRule, Forecast, Plan, PlanStage, StageModel
from equipoise.core.profile import Settings
from equipoise.policy.cache import lru_hit_shares
from equipoise.policy.served import served_plan

ONE = BatchRule(max_rows=1)
MEAN_S = 0.010
ARRIVALS = 200_000
LIMIT_S = 0.1


def exponential(n=100_000):
    """Evenly spaced quantiles of an exponential distribution of the mean 10 ms, to their exact mean."""
    seconds = -np.log1p(-(np.arange(n) + 0.5) / n)
    return seconds * (MEAN_S / seconds.mean())


def lognormal(n=100_000, sigma=1.0):
    rng = np.random.default_rng(5)
    seconds = rng.lognormal(0.0, sigma, n)
    return seconds * (MEAN_S / seconds.mean())


def erlang_c_wait_s(rate_rps, lanes):
    """Mean wait of an M/M/c queue."""
    offered = rate_rps * MEAN_S
    terms = [1.0]
    for k in range(1, lanes + 1):
        terms.append(terms[-1] * offered / k)
    last = terms[-1] / (1 - offered / lanes)
    return last / (sum(terms[:-1]) + last) / (lanes / MEAN_S - rate_rps)


def pollaczek_khinchine_s(rate_rps, seconds):
    """Mean wait of an M/G/1 queue."""
    return rate_rps * np.mean(seconds**2) / 2 / (1 - rate_rps * np.mean(seconds))


def check_mean_wait(seconds, utilisation, expected_s, lanes=1, seed=0):
    rate_rps = utilisation * lanes / MEAN_S
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(1 / rate_rps, ARRIVALS))
    seen = simulate(Machine((StageTimes(ONE, {1: seconds}),), lanes=lanes), Traffic(arrival_s), seed=seed)
    assert seen.answered == ARRIVALS
    wait_s = (seen.latency_s - seen.computing_s)[ARRIVALS // 20 :]
    batches = wait_s[: len(wait_s) // 40 * 40].reshape(40, -1).mean(axis=1)
    error_s = batches.std(ddof=1) / np.sqrt(40)
    assert wait_s.mean() == pytest.approx(expected_s, abs=max(0.02 * expected_s, 3 * error_s))
    assert error_s < 0.05 * expected_s  # it must be able to find a mistake
    assert seen.utilisation == pytest.approx(utilisation, rel=0.02)


@pytest.mark.parametrize("utilisation", [0.5, 0.8])
def test_one_lane_with_exponential_times_waits_as_an_m_m_1_queue(utilisation):
    expected_s = utilisation / (1 - utilisation) * MEAN_S
    check_mean_wait(exponential(), utilisation, expected_s)


@pytest.mark.parametrize("utilisation", [0.5, 0.8])
def test_one_lane_with_equal_times_waits_as_an_m_d_1_queue(utilisation):
    check_mean_wait(np.array([MEAN_S]), utilisation, utilisation / (2 * (1 - utilisation)) * MEAN_S)


@pytest.mark.parametrize(("lanes", "utilisation"), [(2, 0.8), (4, 0.7)])
def test_several_lanes_wait_as_an_m_m_c_queue(lanes, utilisation):
    check_mean_wait(exponential(), utilisation, erlang_c_wait_s(utilisation * lanes / MEAN_S, lanes), lanes)


@pytest.mark.parametrize("seconds", [np.array([0.002] * 4 + [0.042]), lognormal()], ids=["two-point", "lognormal"])
def test_any_times_wait_as_pollaczek_and_khinchine_say(seconds):
    for utilisation in (0.4, 0.7):
        check_mean_wait(seconds, utilisation, pollaczek_khinchine_s(utilisation / MEAN_S, seconds))


@pytest.mark.parametrize("lanes", [1, 3])
def test_every_single_wait_is_that_of_the_recursion_of_kiefer_and_wolfowitz(lanes):
    arrival_s = poisson(0.85 * lanes / MEAN_S, 5000)
    seen = simulate(Machine((StageTimes(ONE, {1: lognormal(1000)}),), lanes=lanes), Traffic(arrival_s))
    free_s = np.zeros(lanes)
    for at_s, seconds, latency_s in zip(arrival_s, seen.computing_s, seen.latency_s, strict=True):
        start_s = max(at_s, free_s.min())
        free_s[free_s.argmin()] = start_s + seconds
        assert latency_s == pytest.approx(start_s + seconds - at_s)


def test_sampled_times_keep_mean_and_tail_between_measured_sizes():
    times = ServiceTimes({2: np.array([1.0, 2.0, 9.0]), 6: np.array([3.0, 4.0, 23.0])})
    uniform = (np.arange(3000) + 0.5) / 3000
    drawn = np.array([times.draw(4, u) for u in uniform])
    assert sorted(set(drawn.round(9))) == [2.0, 3.0, 16.0]
    assert drawn.mean() == pytest.approx(times.mean_s(4))
    assert times.draw(1, 0.99) == 9.0
    assert times.draw(12, 0.99) == 46.0
    assert times.medians().points == ((2, 2.0), (6, 4.0))


@pytest.mark.parametrize("samples", [{}, {1: np.array([])}, {0: np.array([1.0])}, {1: np.array([0.0])}])
def test_service_times_refuse_what_was_not_measured(samples):
    with pytest.raises(ValueError, match="found"):
        ServiceTimes(samples)


def cascade(share=0.3, fallback=True, cache=None, limit_s=LIMIT_S, queue_rows=512, lanes=2):
    fast = {1: np.array([0.002, 0.003]), 8: np.array([0.004, 0.006])}
    slow = {1: np.array([0.008, 0.012]), 8: np.array([0.030, 0.034])}
    rule = BatchRule(max_rows=8, max_wait_s=0.003, limit_s=limit_s)
    late = BatchRule(max_rows=8, limit_s=limit_s)
    return Machine(
        (StageTimes(rule, fast), StageTimes(late, slow, share)),
        lanes=lanes,
        fallback=StageTimes(late, {1: np.array([0.001]), 8: np.array([0.002])}) if fallback else None,
        cache=cache,
        lookup_s=1e-5,
        queue_rows=queue_rows,
    )


def poisson(rate_rps, n=4000, seed=1):
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate_rps, n))


@st.composite
def runs(draw):
    n = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    gaps = rng.exponential(draw(st.sampled_from([1e-4, 0.002, 0.05])), n) * (rng.random(n) < draw(st.floats(0.2, 1)))
    some = draw(st.booleans())
    traffic = Traffic(
        np.cumsum(gaps),
        key=rng.integers(0, 6, n) if draw(st.booleans()) else None,
        high=rng.random(n) < 0.3 if draw(st.booleans()) else None,
        deadline_s=np.where(rng.random(n) < 0.5, np.nan, rng.uniform(0.001, 0.2, n)) if some else None,
        rows=rng.integers(1, 12, n) if draw(st.booleans()) else None,
        depth=rng.integers(0, 2, n) if draw(st.booleans()) else None,
    )
    cache = CacheRule(max_entries=draw(st.integers(1, 5)), entry_bytes=1, hit_share=draw(st.floats(0, 1)))
    machine = cascade(
        share=draw(st.floats(0, 1)),
        fallback=draw(st.booleans()),
        cache=cache if draw(st.booleans()) else None,
        limit_s=draw(st.none() | st.floats(0.001, 0.5)),
        queue_rows=draw(st.none() | st.integers(1, 30)),
        lanes=draw(st.integers(1, 3)),
    )
    down = draw(st.sets(st.integers(0, 2), max_size=2))
    return machine, traffic, {"machines": draw(st.integers(1, 3)), "down": down, "seed": draw(st.integers(0, 99))}


@settings(max_examples=300, deadline=None)
@given(runs())
def test_every_request_ends_once_and_every_rule_is_kept_whatever_happens(run):
    machine, traffic, options = run
    seen = simulate(machine, traffic, **options)
    n = len(traffic.arrival_s)
    answered = seen.outcome > SHED
    rows = np.ones(n, dtype=np.int64) if traffic.rows is None else traffic.rows
    high = np.zeros(n, dtype=bool) if traffic.high is None else traffic.high

    assert seen.requests == n
    assert np.array_equal(answered, np.isfinite(seen.latency_s))
    assert np.all(seen.latency_s[answered] >= seen.computing_s[answered] - 1e-9)
    shares = sum(seen.stage_shares) + seen.hit_share + seen.shed_share
    assert shares == pytest.approx(1)

    # Each request was computed exactly once by each stage on its way, and by no other; who waited for an equal one's
    # answer was not computed at all.
    own = seen.computing_s > 0
    assert machine.cache is not None or np.array_equal(own, answered)
    started = [int(batches.sum()) for batches in seen.batch_rows]
    assert started[0] == rows[own & ~high & ((seen.outcome == 0) | (seen.outcome == 1))].sum()
    assert len(started) == 2 or started[2] == rows[own & (seen.outcome == 2)].sum()
    if traffic.rows is None or traffic.depth is not None:
        assert started[1] == rows[own & (seen.outcome == 1)].sum()
    largest = max(int(rows.max()), 8)
    assert all(batches.max(initial=0) <= largest for batches in seen.batch_rows)

    fallback = 2 if machine.fallback is not None else None
    assert seen.fallback == fallback
    assert not np.any(high & (seen.outcome == 0)), "an early stage answered a request of high priority"
    assert fallback is None or not np.any(high & (seen.outcome == fallback))
    for place in options["down"]:
        assert place >= len(seen.batch_rows) or not len(seen.batch_rows[place])
    if not options["down"]:
        assert not np.any(seen.outcome == UNAVAILABLE)
    if machine.limit_s is None and traffic.deadline_s is None and machine.queue_rows is None:
        assert not np.any(seen.outcome == SHED)
    if machine.cache is None:
        assert not np.any(seen.outcome == CACHED)


@settings(max_examples=100, deadline=None)
@given(runs())
def test_a_batch_passes_its_row_limit_only_for_a_single_larger_request(run):
    machine, traffic, options = run
    seen = simulate(machine, Traffic(traffic.arrival_s, high=traffic.high), **options)
    assert all(batches.max(initial=0) <= 8 for batches in seen.batch_rows)


@settings(max_examples=50, deadline=None)
@given(runs())
def test_the_same_seed_gives_the_same_simulation(run):
    machine, traffic, options = run
    first, again = simulate(machine, traffic, **options), simulate(machine, traffic, **options)
    assert np.array_equal(first.latency_s, again.latency_s, equal_nan=True)
    assert np.array_equal(first.outcome, again.outcome)


def test_rows_go_as_far_as_the_shares_say_and_as_far_as_they_are_told():
    arrival_s = poisson(100.0)
    seen = simulate(cascade(share=0.3), Traffic(arrival_s))
    assert seen.stage_shares[1] == pytest.approx(0.3, abs=0.03)
    depth = np.arange(4000) % 4 == 0
    told = simulate(cascade(share=0.3), Traffic(arrival_s, depth=depth.astype(np.int64)))
    nominal = told.outcome < 2
    assert np.array_equal(told.outcome[nominal], depth[nominal])


def test_a_share_of_a_requests_rows_goes_on():
    rows = np.full(4000, 5, dtype=np.int64)
    seen = simulate(
        cascade(share=0.3, fallback=False, limit_s=None, queue_rows=None), Traffic(poisson(50.0), rows=rows)
    )
    assert seen.batch_rows[1].sum() == pytest.approx(0.3 * 20_000, rel=0.05)


def test_pressure_degrades_where_there_is_a_fallback_and_sheds_where_there_is_none():
    traffic = Traffic(poisson(3000.0))
    degraded = simulate(cascade(), traffic)
    assert degraded.degraded_share > 0.1
    assert degraded.goodput_rps > simulate(cascade(fallback=False), traffic).goodput_rps
    shed = simulate(cascade(fallback=False), traffic)
    assert shed.degraded_share == 0
    assert shed.shed_share > 0.1
    for seen in (degraded, shed):
        assert np.mean(seen.answer_s <= LIMIT_S) > 0.95
    calm = simulate(cascade(), Traffic(poisson(100.0)))
    assert calm.degraded_share + calm.shed_share < 0.01


def test_nothing_is_shed_by_an_idle_machine_even_where_no_answer_can_be_in_time():
    machine = Machine((StageTimes(BatchRule(max_rows=1, limit_s=0.001), {1: np.array([0.01])}),), queue_rows=1)
    seen = simulate(machine, Traffic(np.arange(20) * 0.05))
    assert seen.shed_share == 0
    assert seen.late_share == 1


def test_a_stage_that_is_down_leaves_the_fallback_and_nothing_to_high_priority():
    high = np.arange(4000) % 2 == 0
    seen = simulate(cascade(), Traffic(poisson(100.0), high=high), down={1})
    assert np.all(seen.outcome[high] == UNAVAILABLE)
    assert np.all(seen.outcome[~high] == 2)
    alone = simulate(cascade(fallback=False), Traffic(poisson(100.0)), down={1})
    assert np.all(alone.outcome == UNAVAILABLE)


def test_keys_hit_as_an_lru_cache_of_that_size_does():
    keys = np.random.default_rng(3).zipf(1.3, 20_000)
    cache = CacheRule(max_entries=50, entry_bytes=100, hit_share=0.0)
    seen = simulate(cascade(cache=cache), Traffic(np.arange(20_000) * 0.05, key=keys))
    assert seen.hit_share == pytest.approx(lru_hit_shares(keys, [50])[0])
    assert np.allclose(seen.latency_s[seen.outcome == CACHED], 1e-5)


def test_without_keys_hits_come_as_often_as_the_rule_says():
    cache = CacheRule(max_entries=50, entry_bytes=100, hit_share=0.4)
    seen = simulate(cascade(cache=cache), Traffic(poisson(50.0)))
    assert seen.hit_share == pytest.approx(0.4, abs=0.03)


def test_a_request_of_high_priority_finds_no_early_stages_answer():
    cache = CacheRule(max_entries=50, entry_bytes=100, hit_share=0.0)
    traffic = Traffic(np.arange(4) * 1.0, key=np.zeros(4), high=np.array([False, True, True, False]))
    assert simulate(cascade(share=0.0, cache=cache), traffic).outcome.tolist() == [0, 1, CACHED, CACHED]


def test_equal_requests_at_once_are_computed_once():
    cache = CacheRule(max_entries=50, entry_bytes=100, hit_share=0.0)
    stage = StageTimes(BatchRule(max_rows=1), {1: np.array([0.010])})
    machine = Machine((stage,), cache=cache)
    at_s = np.array([0.0, 0.001, 0.002, 0.003, 0.050])
    seen = simulate(machine, Traffic(at_s, key=np.array([7, 7, 8, 7, 7])))
    assert seen.latency_s == pytest.approx([0.010, 0.009, 0.018, 0.007, 0.0])
    assert seen.outcome.tolist() == [0, 0, 0, 0, CACHED]
    assert seen.batch_rows[0].tolist() == [1, 1]
    high = np.array([False, True, False, False, False])  # answered apart, as a plan may answer them otherwise
    apart = simulate(machine, Traffic(at_s, key=np.array([7, 7, 8, 7, 7]), high=high))
    assert len(apart.batch_rows[0]) == 3
    forgetful = simulate(Machine((stage,)), Traffic(at_s, key=np.array([7, 7, 8, 7, 7])))
    assert len(forgetful.batch_rows[0]) == 5


def test_the_simulator_decides_with_what_a_server_knows_of_the_same_plan():
    settings = Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=2, batch=8)
    model = StageModel(artifact="0" * 64, format="onnx", settings=settings)
    rules = BatchRule(max_rows=32, max_wait_s=0.01, limit_s=0.1), BatchRule(max_rows=4, limit_s=0.1)
    forecast = Forecast(
        quality=None, p99_s=None, throughput_rps=1, usd_per_million_packed=1, usd_per_million_provisioned=None
    )
    plan = Plan(
        name="cascade", output="y", output_kind="logits", usd_per_hour=1, forecast=forecast,
        stages=tuple(
            PlanStage(models=(model,), batch_rule=rule, share=share)
            for rule, share in zip(rules, (1, 0.4), strict=True)
        ),
    )  # fmt: skip
    service = [{1: np.array([0.01, 0.02, 0.09]), 8: np.array([0.03])}, {1: np.array([0.05])}]
    served = served_plan(plan, [ServiceTimes(seconds).medians() for seconds in service])
    assert served_machine(plan_machine(plan, service)) == served
    assert [stage.rule.max_rows for stage in served.stages] == [8, 4]
    assert served.queue_rows == 1024


def test_two_machines_behind_a_balancer_wait_less_than_one_with_half_the_traffic():
    machine = Machine((StageTimes(ONE, {1: exponential()}),))
    alone = simulate(machine, Traffic(poisson(70.0, 40_000)))
    both = simulate(machine, Traffic(poisson(140.0, 40_000)), machines=2)
    assert both.machines == 2
    assert both.utilisation == pytest.approx(0.7, abs=0.02)
    assert both.answer_s.mean() < alone.answer_s.mean()


def test_figures_of_a_small_run_by_hand():
    machine = Machine((StageTimes(ONE, {1: np.array([0.010])}),))
    three = Traffic(np.array([0.0, 0.001, 0.5]))
    seen = simulate(machine, three)
    assert seen.latency_s == pytest.approx([0.010, 0.019, 0.010])
    assert seen.computing_s == pytest.approx([0.010] * 3)
    assert seen.duration_s == pytest.approx(0.51)
    assert seen.utilisation == pytest.approx(0.03 / 0.51)
    assert seen.usd_per_million(3.6) == pytest.approx(0.51 * 0.001 / 3 * 1e6)
    assert seen.quantile_s(0.99) is None
    held = simulate(machine, three, limit_s=0.015)
    assert held.outcome.tolist() == [0, SHED, 0]
    assert (held.shed_share, held.late_share) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert held.goodput_rps == pytest.approx(2 / 0.51)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"arrival_s": np.array([])}, "at least 1"),
        ({"arrival_s": np.array([2.0, 1.0])}, "ascending"),
        ({"arrival_s": np.array([1.0]), "high": np.array([True, False])}, "high needs a value"),
        ({"arrival_s": np.array([1.0]), "rows": np.array([0])}, "at least 1 row"),
    ],
)
def test_traffic_refuses_what_cannot_come(wrong, message):
    with pytest.raises(ValueError, match=message):
        Traffic(**wrong)


def test_figures_out_of_range_are_refused():
    machine = Machine((StageTimes(ONE, {1: np.array([0.010])}),))
    with pytest.raises(ValueError, match="machines"):
        simulate(machine, Traffic(np.array([0.0])), machines=0)
    with pytest.raises(ValueError, match="limit_s"):
        simulate(machine, Traffic(np.array([0.0])), limit_s=0.0)


def test_a_replay_keeps_the_slow_moments_of_a_run_together() -> None:
    """Batches that were slow in a row make a queue; the same batches in any order make a much shorter one."""
    rng = np.random.default_rng(3)
    seconds = np.where(np.arange(4000) % 400 < 40, 0.02, 0.005) * rng.uniform(0.9, 1.1, 4000)
    levels = levels_of([0] * len(seconds), seconds)
    machine = Machine((StageTimes(BatchRule(max_rows=1), {1: seconds}),))
    traffic = Traffic(np.arange(4000) / 100)
    replayed, drawn = simulate(machine, traffic, levels=levels), simulate(machine, traffic)
    start_s = end_s = 0.0
    expected = []
    for arrival_s, each_s in zip(traffic.arrival_s, seconds, strict=True):
        start_s = max(arrival_s, end_s)
        end_s = start_s + each_s
        expected.append(end_s - arrival_s)
    np.testing.assert_allclose(replayed.latency_s, expected, rtol=1e-9)
    assert np.quantile(replayed.latency_s, 0.99) > 3 * np.quantile(drawn.latency_s, 0.99)
