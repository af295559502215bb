"""Times finalists in turns, so that a noisy neighbour hits all alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from equipoise.compose.actions import Race, Raced
from equipoise.compose.servable import Entrant, Servable
from equipoise.core.estimate import Estimate
from equipoise.core.profile import LatencyQuantiles, Profile
from equipoise.core.variant import Failure
from equipoise.errors import EquipoiseError, SandboxError
from equipoise.flow.children import OPEN_TIMEOUT_S, open_child
from equipoise.host.sandbox import Sandbox
from equipoise.measure.session import Round, time_batches
from equipoise.runtimes.base import Array
from equipoise.stats.intervals import median_of_rounds, quantile_estimate, ratio_of_rounds
from equipoise.store.study import StudyFolder

BLOCK = 6
"""Entrants beside the two baselines that are kept open at the same time."""
LEAST_TURN_S = 0.12
LEAST_ROUNDS = 6
"""Fewer rounds give no 95% interval for their median."""


@dataclass
class _Runner:
    entrant: Entrant
    child: Sandbox
    cold_start_s: float
    batch_s: float
    rounds: list[Round] = field(default_factory=list)


def race(
    action: Race,
    study: StudyFolder,
    sample: Mapping[str, Array],
    memory_cap: Callable[[Servable], int | None],
    environment: str,
) -> Raced:
    """Time every entrant in a fresh process, in turns: A B C A B C ...; those whose turn it is not are stopped.

    Args:
        action: Who, how often, how long, opening included; first the baseline, then the tuned baseline.
        study: Where raw samples and logs are kept.
        sample: Real rows to time with.
        memory_cap: Largest resident size of a config's process, bytes; null for the default.
        environment: Digest of the environment that the profiles are bound to.

    Returns:
        A profile or a failure for each entrant; ratios of throughput are paired by round.

    Raises:
        SandboxError: A baseline itself could not be timed.
    """
    pair, rivals = action.entrants[:2], action.entrants[2:]
    blocks = [rivals[start : start + BLOCK] for start in range(0, len(rivals), BLOCK)] or [()]
    raced = Raced(
        profiles={}, failures={}, ratio_to_tuned={}, ratio_to_baseline={}, samples=f"race-{action.content_digest}"
    )
    samples: dict[str, Array] = {}
    for block in blocks:
        deadline = time.monotonic() + action.seconds / len(blocks)
        with ExitStack() as stack:
            runners = [
                runner
                for entrant in (*pair, *block)
                if (runner := _enter(entrant, entrant in pair, study, sample, memory_cap(entrant.config), raced))
            ]
            for runner in runners:
                stack.callback(runner.child.close)
            _take_turns(runners, action, deadline, raced)
        baseline, tuned = runners[0], runners[1]
        for runner in runners:
            name = runner.entrant.name
            if name in raced.failures:
                continue
            raced.profiles.setdefault(name, _profile(runner, environment))
            samples.setdefault(name, np.concatenate([turn.batch_s for turn in runner.rounds]))
            speeds = _speeds(runner)
            raced.ratio_to_tuned.setdefault(name, _ratio(speeds, _speeds(tuned)))
            raced.ratio_to_baseline.setdefault(name, _ratio(speeds, _speeds(baseline)))
    study.save_arrays(raced.samples, samples)
    return raced


def _enter(
    entrant: Entrant,
    required: bool,
    study: StudyFolder,
    sample: Mapping[str, Array],
    memory_cap_bytes: int | None,
    raced: Raced,
) -> _Runner | None:
    begin = time.monotonic()
    log = f"race-{entrant.content_digest[:16]}"
    with ExitStack() as stack:
        try:
            child = stack.enter_context(
                open_child(entrant.config, entrant.settings, sample, study, log, memory_cap_bytes=memory_cap_bytes)
            )
            cold_start_s = time.monotonic() - begin
            warm = child.call(time_batches, entrant.settings.batch, 0.05, timeout_s=OPEN_TIMEOUT_S)
        except EquipoiseError as error:
            if required:
                raise
            raced.failures[entrant.name] = _failure(entrant, error)
            return None
        stack.pop_all()  # it stays open for its turns
    child.pause()
    return _Runner(entrant, child, cold_start_s, float(np.median(warm.batch_s)))


def _take_turns(runners: list[_Runner], action: Race, deadline: float, raced: Raced) -> None:
    needs = [_turn_s(runner, action) for runner in runners]
    least_s = len(runners) * LEAST_TURN_S * LEAST_ROUNDS
    turns_s = _shares(needs, max(least_s, deadline - time.monotonic()) / action.rounds)
    for _ in range(action.rounds):
        for runner, turn_s in zip(runners, turns_s, strict=True):
            _take_turn(runner, turn_s, action, raced)
        if time.monotonic() > deadline and len(runners[0].rounds) >= LEAST_ROUNDS:
            return
    short = [pair for pair in zip(runners, turns_s, strict=True) if _samples(pair[0]) < action.samples]
    while short and time.monotonic() < deadline:  # a noisy turn cost someone the last few samples that bound a p99
        for runner, turn_s in short:
            _take_turn(runner, turn_s, action, raced)
        short = [
            (runner, turn_s)
            for runner, turn_s in short
            if _samples(runner) < action.samples and runner.entrant.name not in raced.failures
        ]


def _take_turn(runner: _Runner, turn_s: float, action: Race, raced: Raced) -> None:
    name, settings = runner.entrant.name, runner.entrant.settings
    if name in raced.failures:
        return
    least = min(math.ceil(action.samples / action.rounds), max(2, int(turn_s / runner.batch_s)))
    try:
        turn = runner.child.call(time_batches, settings.batch, 0.9 * turn_s, least, timeout_s=10 + 20 * turn_s)
    except EquipoiseError as error:
        raced.failures[name] = _failure(runner.entrant, error)
        return
    runner.child.pause()
    runner.rounds.append(turn)


def _samples(runner: _Runner) -> int:
    return sum(len(turn.batch_s) for turn in runner.rounds)


def _turn_s(runner: _Runner, action: Race) -> float:
    """Seconds for an entrant's share of the samples in one round."""
    batches = action.samples / action.rounds / runner.entrant.settings.replicas
    return max(LEAST_TURN_S, 1.25 * batches * runner.batch_s)


def _shares(needs: list[float], total: float) -> list[float]:
    """Divide `total` so that small needs are met whole and the large ones share what is left alike.

    Example:
        >>> _shares([1.0, 2.0, 9.0], 9.0)
        [1.0, 2.0, 6.0]
        >>> _shares([1.0, 2.0], 9.0)
        [1.0, 2.0]
    """
    shares = [0.0] * len(needs)
    left = total
    for position, index in enumerate(sorted(range(len(needs)), key=needs.__getitem__)):
        shares[index] = min(needs[index], left / (len(needs) - position))
        left -= shares[index]
    return shares


def _profile(runner: _Runner, environment: str) -> Profile:
    batch_s = np.concatenate([turn.batch_s for turn in runner.rounds])
    return Profile(
        latency_s=LatencyQuantiles(
            p50=quantile_estimate(batch_s, 0.5),
            p95=quantile_estimate(batch_s, 0.95),
            p99=quantile_estimate(batch_s, 0.99),
        ),
        throughput_rps=median_of_rounds(_speeds(runner)),
        peak_memory_bytes=_once(runner.child.peak_memory_bytes, "largest resident size, sampled every 20 ms"),
        cold_start_s=_once(runner.cold_start_s, "from starting the process to the first answer"),
        environment=environment,
    )


def _speeds(runner: _Runner) -> Array:
    return np.array([turn.rows_per_s for turn in runner.rounds])


def _ratio(mine: Array, others: Array) -> Estimate:
    rounds = min(len(mine), len(others))
    return ratio_of_rounds(mine[:rounds], others[:rounds])


def _once(value: float, method: str) -> Estimate:
    return Estimate(value=float(value), low=None, high=None, n=1, method=method)


def _failure(entrant: Entrant, error: EquipoiseError) -> Failure:
    return Failure(
        name=entrant.name,
        recipe=entrant.config.recipe,
        stage="time",
        reason=str(error),
        log=error.log if isinstance(error, SandboxError) else "",
    )
