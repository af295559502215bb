"""What serving has cost until now: the whole machine's price, idle or not, shared by the models on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from equipoise.policy.cost import MILLION, SECONDS_PER_HOUR, LaneUse, shared_usd

RECENT_S = 300.0
APART_S = 1.0
"""Accounts closer to each other than this are remembered as one: memory is bounded, however often somebody asks."""
ModelVersion = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Spent:
    """What one model has cost, and what was got for it.

    Attributes:
        usd: Its share of the machine, in US dollars.
        answered: Requests that it answered.
    """

    usd: float = 0.0
    answered: float = 0.0

    def per_million(self, since: Spent | None = None) -> float | None:
        """US dollars of a million answered requests; null where none was answered."""
        usd, answered = self.usd - (since.usd if since else 0.0), self.answered - (since.answered if since else 0.0)
        return usd / answered * MILLION if answered > 0 else None


class Spending:
    """A machine's bill, by model.

    Args:
        now_s: When it begins, on any clock that never goes back.

    Attributes:
        usd: The machine's price from then to the last account, in US dollars.
    """

    def __init__(self, now_s: float) -> None:
        self.usd = 0.0
        self._last_s = now_s
        self._use: dict[ModelVersion, LaneUse] = {}
        self._points: dict[ModelVersion, deque[tuple[float, Spent]]] = {}

    def account(
        self,
        now_s: float,
        usd_per_hour: float,
        use: Mapping[ModelVersion, LaneUse],
        answered: Mapping[ModelVersion, int],
    ) -> None:
        """Share the price of the time since the last account.

        Args:
            now_s: Until when.
            usd_per_hour: Price of the machine.
            use: Lane-seconds of each model since it is served; a model that is missing is forgotten.
            answered: Requests that each has answered since.
        """
        usd = usd_per_hour * (now_s - self._last_s) / SECONDS_PER_HOUR
        shares = shared_usd(usd, {key: total.since(self._use.get(key)) for key, total in use.items()})
        self._points = {key: self._points.get(key) or deque() for key in use}
        for key, points in self._points.items():
            if points and points[-1][1].answered > answered[key]:
                points.clear()  # the model's counts began anew, and so does its bill
            if not points:
                points.append((self._last_s, Spent()))
            spent = Spent(points[-1][1].usd + shares[key], answered[key])
            if len(points) > 2 and now_s - points[-2][0] < APART_S:
                points.pop()
            points.append((now_s, spent))
            while points[1][0] <= now_s - RECENT_S:
                points.popleft()
        self._use = dict(use)
        self.usd += usd
        self._last_s = now_s

    def of(self, key: ModelVersion) -> Spent:
        """What a model has cost until the last account."""
        return self._points[key][-1][1]

    def recent_per_million(self, key: ModelVersion) -> float | None:
        """US dollars of a million requests that were answered in the last five minutes; null where none was.

        Between two accounts both are taken to have grown steadily.
        """
        (start_s, first), (end_s, second), *_ = self._points[key]
        part = max(0.0, self._last_s - RECENT_S - start_s) / (end_s - start_s) if end_s > start_s else 0.0
        since = Spent(
            first.usd + part * (second.usd - first.usd), first.answered + part * (second.answered - first.answered)
        )
        return self.of(key).per_million(since)
