"""What requests of one batch share, and which thread computes it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from equipoise.serve.cores import CoreBudget
from equipoise.serve.lanes import Asked, Lanes, ask
from equipoise.serve.lull import Lull

Array = np.ndarray[Any, Any]
FILLING = {"input_ids": 9, "attention_mask": 0}


class Stage:
    """Sums the ids that the mask shows, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Array]] = []

    def __call__(self, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], Array]:
        self.asked.append(feeds)
        return {"sum": (feeds["input_ids"] * feeds["attention_mask"]).sum(axis=1)}, np.ones(len(feeds["input_ids"]))


def tokens(*rows: list[int]) -> dict[str, Array]:
    ids = np.array(rows)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def test_sequences_of_different_lengths_are_asked_together() -> None:
    stage = Stage()
    pieces = [(tokens([1, 2]), None), (tokens([3, 4, 5], [6, 7, 8]), np.array([1])), (tokens([4]), None)]
    found = ask(stage, pieces, FILLING)
    assert [each[0]["sum"].tolist() for each in found if not isinstance(each, Exception)] == [[3], [21], [4]]
    (feeds,) = stage.asked
    assert feeds["input_ids"].tolist() == [[1, 2, 9], [6, 7, 8], [4, 9, 9]]
    assert feeds["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]


def test_other_shapes_are_asked_one_after_the_other() -> None:
    stage = Stage()
    found = ask(stage, [(tokens([1, 2]), None), (tokens([3]), None), (tokens([4, 5]), None)], {})
    assert [each[0]["sum"].tolist() for each in found if not isinstance(each, Exception)] == [[3], [3], [9]]
    assert [feeds["input_ids"].shape for feeds in stage.asked] == [(2, 2), (1, 1)]


class Where:
    """Says in which thread it is asked; it takes a while, and raises, where it is told to."""

    def __init__(self, takes_s: float = 0.0, raises: BaseException | None = None) -> None:
        self.takes_s, self.raises = takes_s, raises
        self.threads: list[int] = []

    def __call__(self, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], Array]:
        self.threads.append(threading.get_ident())
        time.sleep(self.takes_s)
        if self.raises is not None:
            raise self.raises
        return {"y": feeds["x"]}, np.ones(len(feeds["x"]))


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize("raises", [None, ValueError("no"), SystemExit(3)])
def test_a_batch_is_computed_where_it_is_told_to_and_its_lane_is_free_in_a_later_turn(
    here: bool, raises: BaseException | None
) -> None:
    stage = Where(raises=raises)
    pieces = [({"x": np.ones((1, 2))}, None), ({"x": np.zeros((2, 2))}, None)]

    async def main() -> None:
        lanes = Lanes("m", [[stage]], Lull(CoreBudget(1), 0.0))
        ended: asyncio.Future[tuple[int, list[Asked]]] = asyncio.get_running_loop().create_future()
        if here:
            found = lanes.compute(0, pieces, 0.0, lambda lane: ended.set_result((lane, found)))
        else:
            lanes.start(0, pieces, 0.0, lambda lane, found: ended.set_result((lane, found)))
        assert not ended.done()
        assert not lanes.free
        lane, found = await ended
        assert not lanes.free
        lanes.end(lane, 0.0)
        assert lanes.free == [lane]
        lanes.close()
        assert [isinstance(each, Exception) for each in found] == [raises is not None] * 2
        assert {thread == threading.get_ident() for thread in stage.threads} == {here}

    asyncio.run(main())
