"""How nearly inputs must match to share a remembered answer: chosen on earlier requests, proved on later ones.

A cache of near matches answers a request with what the plan said to another row, so that it is another plan and needs
a proof of its own. The requests of a trace are divided by time. The earlier half chooses the steps that inputs are
rounded to, from requests for rows that are not of the certify split. The later half proves that one choice, against
the original's answers to the rows that were really asked for, from requests for rows of the certify split: nothing of
these rows but their inputs had a part in the choice. All requests pass through the cache in either case, since the rows
that fill it decide how often, and with what, a request is answered from it.

Requests are not independent: all that find one entry get one answer. So they are grouped by cell, the inputs that share
a key, and with the brief's own groups by whatever either of the two joins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from equipoise.compose.actions import NearMatched
from equipoise.compose.certify import (
    WANTED_POWER,
    Claim,
    Evidence,
    Judgement,
    certificate,
    judge,
    power_on,
)
from equipoise.compose.wording import quality_reason
from equipoise.policy.cache import Lru, cache_key, lru_hit_shares
from equipoise.stats.mean_test import MIN_GROUPS
from equipoise.stats.predictions import Predictions

Array = NDArray[Any]
Index = NDArray[np.intp]
Given = Callable[[Index, Index], Predictions]
"""Decodes the plan's answers to some rows as answers to others, pair by pair."""

FACTORS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5)
"""Steps that are tried, in standard deviations of each input, finest first."""
NEARLY_AS_MUCH = 0.02
"""Steps whose worth differs by less are worth the same, and the finest of them is the safest."""


@dataclass(frozen=True)
class Requests:
    """The requests of a trace, in the order of time.

    Attributes:
        time_s: When each came, ascending, [n].
        row: The row that each asked for, as its place among the rows of the trace, [n].
        certify: Whether a row of the trace is of the certify split, [rows].
        high: Whether each has high priority, [n]; null where none has.
        key: Of each, as the trace says it, [n]; null where that is not known.
    """

    time_s: NDArray[np.float64]
    row: Index
    certify: NDArray[np.bool_]
    high: NDArray[np.bool_] | None = None
    key: NDArray[np.object_] | None = None

    @property
    def n(self) -> int:
        """Number of requests."""
        return len(self.row)

    @property
    def early(self) -> int:
        """How many are in the earlier half; those of one time are all in one half."""
        return int(np.searchsorted(self.time_s, self.time_s[self.n // 2], "left"))

    def before_row(self, rows: int) -> Requests:
        """Those before the first that asked for another row than the first `rows`."""
        beyond = self.row >= rows
        end = int(beyond.argmax()) if beyond.any() else self.n
        return Requests(
            self.time_s[:end],
            self.row[:end],
            self.certify[:rows],
            None if self.high is None else self.high[:end],
            None if self.key is None else self.key[:end],
        )


@dataclass(frozen=True)
class Sizing:
    """What a cache may be, and what that costs.

    Attributes:
        sizes: Answers that may be remembered, each >= 1.
        entry_share: Price of one remembered answer's memory, as a share of the machine's.
        exact_entries: Answers that the cache of exact matches remembers.
    """

    sizes: tuple[int, ...]
    entry_share: float
    exact_entries: int

    def best(self, cells: Index) -> tuple[float, int]:
        """The most that a cache is worth to these requests, as a share of the machine's price, and its size."""
        shares = lru_hit_shares(cells, self.sizes)
        worth = shares - self.entry_share * np.asarray(self.sizes)
        place = int(worth.argmax())
        return float(worth[place]), self.sizes[place]


def near_match(
    feeds: Mapping[str, Array],
    requests: Requests,
    evidence: Evidence,
    given: Given,
    sizing: Sizing,
    spread: Mapping[str, float],
    seed: int = 0,
) -> NearMatched:
    """Choose how nearly inputs must match on the earlier requests, and test that on the later ones.

    Args:
        feeds: Inputs of the rows of the trace, name to [rows, ...].
        requests: The requests.
        evidence: The original's answers to those rows, and what is claimed on them.
        given: The plan's answers.
        sizing: What a cache may be.
        spread: Standard deviation of each input of numbers that varies, by name.
        seed: Of bootstraps.

    Returns:
        The steps and what was proved of them; why there are none, in words.
    """
    if not spread:
        return NearMatched(why_not="not offered: no input holds numbers that vary, and others are matched exactly")
    if requests.n < 2 or not 0 < requests.early < requests.n:
        return NearMatched(why_not="not offered: the requests cannot be divided into an earlier and a later half")
    exact = cells_of(feeds, requests, {})
    wrong = _ambiguous_key(requests, exact)
    if wrong is not None:
        return NearMatched(why_not=f"not offered: the trace's key {wrong!r} stands for rows whose inputs differ")
    chosen = _choose(feeds, requests, evidence, given, sizing, spread, exact, seed)
    if isinstance(chosen, str):
        return NearMatched(why_not=f"not offered: {chosen}")
    fillers = replay(chosen.cells, chosen.max_entries)
    exact_fillers = replay(exact, sizing.exact_entries)
    found = NearMatched(
        near=chosen.steps,
        max_entries=chosen.max_entries,
        hit_share=_hit_share(fillers, requests.early),
        exact_hit_share=_hit_share(exact_fillers, requests.early),
    )
    return _prove(found, chosen, fillers, requests, evidence, given, seed)


def steps_of(spread: Mapping[str, float], factor: float) -> dict[str, float]:
    """Steps that inputs are rounded to: a share of each one's standard deviation."""
    return {name: factor * deviation for name, deviation in spread.items()}


def spread_of(feeds: Mapping[str, Array]) -> dict[str, float]:
    """Standard deviation of each input of numbers, all its elements together; those that do not vary are left out.

    Args:
        feeds: Inputs of rows that prove nothing, name to [n, ...].
    """
    found = {}
    for name, array in feeds.items():
        if array.dtype.kind not in "iuf":
            continue
        numbers = array.astype(np.float64).ravel()
        numbers = numbers[np.isfinite(numbers)]
        deviation = float(numbers.std()) if len(numbers) else 0.0
        if 0 < deviation < np.inf:
            found[name] = deviation
    return found


def cells_of(feeds: Mapping[str, Array], requests: Requests, steps: Mapping[str, float]) -> Index:
    """Which requests share a key, by the function that the server calls: equal numbers, equal keys, [n].

    Args:
        feeds: Inputs of the rows of the trace, name to [rows, ...].
        requests: The requests.
        steps: Steps that inputs are rounded to, by name; empty for exact matches.
    """
    keys = [
        cache_key("", "", "", (), {name: array[row : row + 1] for name, array in feeds.items()}, steps)
        for row in range(len(requests.certify))
    ]
    cell = np.unique(np.array(keys, dtype="S16"), return_inverse=True)[1].reshape(-1)[requests.row]
    if requests.high is not None:
        cell = 2 * cell + requests.high
    return cell.astype(np.intp)


def replay(cells: Index, max_entries: int) -> Index:
    """Play requests through the server's cache, empty at first.

    Args:
        cells: Cell of each request in order, [n].
        max_entries: Answers that are kept.

    Returns:
        For each request, the place of the one whose computed answer it gets: its own where nothing was found.
    """
    cache: Lru[int] = Lru(max_entries)
    fillers = np.arange(len(cells), dtype=np.intp)
    for place, cell in enumerate(cells.tolist()):
        found = cache.get(cell)
        if found is None:
            cache.put(cell, place)
        else:
            fillers[place] = found
    return fillers


@dataclass(frozen=True)
class _Option:
    """Steps that are tried, in which cells they put requests, at which size of cache, and how many were tried."""

    steps: dict[str, float]
    cells: Index
    max_entries: int
    tried: int = 0


def _choose(
    feeds: Mapping[str, Array],
    requests: Requests,
    evidence: Evidence,
    given: Given,
    sizing: Sizing,
    spread: Mapping[str, float],
    exact: Index,
    seed: int,
) -> _Option | str:
    """The steps that save most of those that are likely to pass; why there are none, in words."""
    early = requests.early
    proving = int(np.count_nonzero(requests.certify[requests.row[early:]]))
    choosing = int(np.count_nonzero(~requests.certify[requests.row[:early]]))
    if not (proving and choosing):
        return f"{choosing:,} earlier requests can choose and {proving:,} later ones can prove"
    exact_worth = sizing.best(exact[:early])[0]
    options: list[tuple[float, _Option]] = []
    for factor in FACTORS:
        steps = steps_of(spread, factor)
        cells = cells_of(feeds, requests, steps)
        worth, size = sizing.best(cells[:early])
        if worth > exact_worth:
            options.append((worth, _Option(steps, cells, size)))
    if not options:
        return f"inputs that differ by less than {FACTORS[-1]:g} standard deviations are no more often found than equal"
    likeliest: tuple[float, Judgement] | None = None
    for tried, option in enumerate(_in_order(options), start=1):
        judged = _judge_early(option, requests, evidence, given, seed)
        if judged is None:
            continue
        judgement, count = judged
        power = power_on(judgement, proving / count)
        if power >= WANTED_POWER:
            return replace(option, tried=tried)
        if likeliest is None or power > likeliest[0]:
            likeliest = power, judgement
    if likeliest is None:
        return "no earlier request could be judged"
    power, judgement = likeliest
    if judgement.passed:
        return (
            f"the {proving:,} later requests that can prove are too few (they would pass with probability {power:.2g})"
        )
    reason = quality_reason(judgement, on="earlier requests'")
    return f"at the surest step, {reason}"


def _in_order(options: list[tuple[float, _Option]]) -> list[_Option]:
    """Options by what they are worth, most first; of those that are worth nearly as much, finest first.

    Args:
        options: What each is worth, and what it is, finest first.
    """
    ordered: list[_Option] = []
    while options:
        least = max(worth for worth, _ in options) - NEARLY_AS_MUCH
        ordered += [option for worth, option in options if worth >= least]
        options = [pair for pair in options if pair[0] < least]
    return ordered


def _judge_early(
    option: _Option, requests: Requests, evidence: Evidence, given: Given, seed: int
) -> tuple[Judgement, int] | None:
    """What the earlier requests say, by rows that prove nothing, and how many requests these are."""
    early, row = requests.early, requests.row
    cells = option.cells[:early]
    fillers = replay(cells, option.max_entries)
    answered_by = _stand_ins(cells, row[:early], row[fillers], requests.certify)
    judged = np.flatnonzero(~requests.certify[row[:early]] & (answered_by >= 0))
    if not len(judged):
        return None
    asked = row[judged]
    there = _asked(evidence, asked, cells[judged])
    return judge(given(answered_by[judged], asked), there, seed), len(judged)


def _stand_ins(cells: Index, row: Index, answered_by: Index, certify: NDArray[np.bool_]) -> Index:
    """The rows whose answers requests get; where that is one of the certify split, another row of its cell.

    What proves may not choose, not even by its answers to others. To leave such requests out altogether would make near
    matches look rarer than they are; only those whose cell has no other row are left out (-1).
    """
    others: dict[int, list[int]] = {}
    for cell, asked in zip(cells.tolist(), row.tolist(), strict=True):
        known = others.setdefault(cell, [])
        if len(known) < 2 and asked not in known and not certify[asked]:
            known.append(asked)
    found = answered_by.copy()
    for place in np.flatnonzero(certify[answered_by]).tolist():
        found[place] = next((other for other in others[int(cells[place])] if other != row[place]), -1)
    return found


def _prove(
    found: NearMatched,
    chosen: _Option,
    fillers: Index,
    requests: Requests,
    evidence: Evidence,
    given: Given,
    seed: int,
) -> NearMatched:
    """Test the one choice on the later requests for rows of the certify split."""
    later = np.arange(requests.early, requests.n)
    judged = later[requests.certify[requests.row[later]]]
    asked, answered_by = requests.row[judged], requests.row[fillers[judged]]
    there = _asked(evidence, asked, chosen.cells[judged])
    answers = given(answered_by, asked)
    judgement = judge(answers, there, seed)
    if judgement.main.difference is None:
        return found.model_copy(update={"why_not": f"not offered: {judgement.main.method}"})
    proof = certificate(answers, judgement, there, candidates_tried=chosen.tried, candidates_certified=1, seed=seed)
    reason = ""
    if not judgement.passed:
        few = judgement.main.groups is not None and judgement.main.groups < MIN_GROUPS
        why = judgement.main.method if few else quality_reason(judgement, on="later requests'")
        reason = f"not offered: {why}"
    return found.model_copy(update={"certificate": proof, "why_not": reason})


def _asked(evidence: Evidence, rows: Index, cells: Index) -> Evidence:
    """The evidence as requests give it: a row as often as it was asked for, and the claims that have rows there."""
    claims: list[Claim] = []
    for claim in evidence.claims:
        inside = np.zeros(evidence.baseline.n, dtype=bool)
        inside[claim.rows] = True
        places = np.flatnonzero(inside[rows])
        if len(places) or claim.kind == "metric":
            claims.append(replace(claim, rows=places))
    own = None if evidence.groups is None else evidence.groups[rows]
    return replace(
        evidence,
        baseline=evidence.baseline.take(rows),
        target=None if evidence.target is None else evidence.target[rows],
        groups=_joined(cells, own),
        claims=tuple(claims),
    )


def _joined(cells: Index, groups: NDArray[np.integer[Any]] | None) -> Index:
    """The finest groups that break neither a cell nor a group of the brief."""
    if groups is None:
        return cells
    left = np.unique(cells, return_inverse=True)[1].reshape(-1)
    right = np.unique(groups, return_inverse=True)[1].reshape(-1) + int(left.max()) + 1
    size = int(right.max()) + 1
    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(size, size))
    joined: Index = connected_components(graph, directed=False)[1][left].astype(np.intp)
    return joined


def _hit_share(fillers: Index, early: int) -> float:
    """Share of the later requests that find an answer."""
    places = np.arange(len(fillers))
    return float((fillers != places)[early:].mean())


def _ambiguous_key(requests: Requests, exact: Index) -> str | None:
    """A key of the trace whose requests have different inputs; null where there is none."""
    if requests.key is None:
        return None
    cell_of: dict[Any, int] = {}
    inputs = exact if requests.high is None else exact // 2
    for key, cell in zip(requests.key.tolist(), inputs.tolist(), strict=True):
        if cell_of.setdefault(key, cell) != cell:
            return str(key)
    return None
