"""Answers that a plan remembers, and equal requests that are being answered: each is computed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from equipoise.core.plan import CacheRule
from equipoise.policy.cache import Lru, cache_key
from equipoise.serve.work import Answer, Work

Array = NDArray[Any]
TIMES_ENTRY = 16
"""An answer that takes so many times the memory that was planned for one is not remembered: it has many rows."""


class Memory:
    """The cache of one plan.

    Args:
        rule: What it remembers.
        plan: Digest of the plan.
        model: Name under which it is served.
        version: Version under that name.
    """

    def __init__(self, rule: CacheRule, plan: str, model: str, version: str) -> None:
        self._rule, self._plan, self._version = rule, plan, f"{model}/{version}"
        self._answers: Lru[Answer] = Lru(rule.max_entries)
        self._flights: dict[bytes, Work] = {}

    def key(self, inputs: Mapping[str, Array], outputs: Iterable[str], *, high: bool) -> bytes:
        """The key of a request's answer."""
        return cache_key(self._plan, self._version, "", outputs, inputs, self._rule.near, high=high)

    def answer(self, key: bytes) -> Answer | None:
        """The answer that is remembered; null for none."""
        return self._answers.get(key)

    def flight(self, key: bytes) -> Work | None:
        """An equal request that is being answered by the whole plan; null for none."""
        return self._flights.get(key)

    def begin(self, work: Work) -> None:
        """Equal requests may wait for this one's answer from now on."""
        assert work.key is not None
        self._flights[work.key] = work

    def end(self, work: Work) -> None:
        """No longer."""
        if work.key is not None and self._flights.get(work.key) is work:
            del self._flights[work.key]

    def keep(self, key: bytes, answer: Answer) -> Answer:
        """Remember an answer, in arrays of its own that nobody can write to."""
        # A slice of a batch's output would keep the whole batch in memory.
        outputs = {name: array.copy() for name, array in answer.outputs.items()}
        for array in (*outputs.values(), answer.stage, answer.confidence, answer.trusted):
            array.flags.writeable = False
        kept = answer._replace(outputs=outputs)
        arrays = (*outputs.values(), answer.stage, answer.confidence, answer.trusted)
        if sum(array.nbytes for array in arrays) <= TIMES_ENTRY * self._rule.entry_bytes:
            self._answers.put(key, kept._replace(cached=True))
        return kept
