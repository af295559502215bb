"""Requests that wait for a stage, in the order in which they came to the machine."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from equipoise.policy.batch import QueueState
from equipoise.serve.work import Work


@dataclass(slots=True)
class StageQueue:
    """Waiting requests by arrival, not by when they reached the stage.

    Attributes:
        waiting_rows: Their rows together.
    """

    waiting_rows: int = 0
    _arrival_s: list[float] = field(default_factory=list)
    _rows: list[int] = field(default_factory=list)
    _works: list[Work] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._works)

    def push(self, work: Work) -> None:
        """Put a request behind all that came no later."""
        arrival_s, rows = work.arrival_s, work.rows
        if not self._arrival_s or arrival_s >= self._arrival_s[-1]:
            self._arrival_s.append(arrival_s)
            self._rows.append(rows)
            self._works.append(work)
        else:
            place = bisect_right(self._arrival_s, arrival_s)
            self._arrival_s.insert(place, arrival_s)
            self._rows.insert(place, rows)
            self._works.insert(place, work)
        self.waiting_rows += rows

    def oldest(self, most: int, free_lanes: int) -> QueueState:
        """What a decision looks at."""
        return QueueState(self._arrival_s[:most], self._rows[:most], free_lanes)

    def pop(self, requests: int) -> list[Work]:
        """Take out the oldest."""
        taken = self._works[:requests]
        self.waiting_rows -= sum(self._rows[:requests])
        del self._arrival_s[:requests], self._rows[:requests], self._works[:requests]
        return taken

    def remove(self, work: Work) -> None:
        """Take out one that nobody waits for any more."""
        place = self._works.index(work, bisect_left(self._arrival_s, work.arrival_s))
        self.waiting_rows -= self._rows[place]
        del self._arrival_s[place], self._rows[place], self._works[place]
