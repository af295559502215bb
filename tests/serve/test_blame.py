"""Who is to blame where a stage raised: told at once where that is known, else once a golden row was asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equipoise.errors import BadRequest, StageFailed
from equipoise.serve.blame import Blame, lacks_room
from equipoise.serve.crew import RaisedThere
from equipoise.serve.work import Work

ERROR = ValueError("the category 'bad_alloc' was never seen")


class Told:
    """What became of requests."""

    def __init__(self) -> None:
        self.failed: list[tuple[Work, Exception]] = []
        self.stood_in: list[tuple[Work, int, str]] = []
        self.blame = Blame(
            "m",
            ["stage 1", "stage 2"],
            lambda work, error: self.failed.append((work, error)),
            lambda work, stage, now_s, why: self.stood_in.append((work, stage, why)),
        )


def work() -> Work:
    return Work({"x": np.zeros((1, 2))}, 1, 0.0, False, ("y",), None)


def test_who_shared_a_batch_with_answers_hears_it_at_once_and_others_wait() -> None:
    told, alone, among = Told(), work(), work()
    told.blame.raised(0, alone, ERROR, answers=False)
    told.blame.raised(0, among, ERROR, answers=True)
    assert [each for each, _ in told.failed] == [among]
    assert isinstance(told.failed[0][1], BadRequest)
    told.blame.judge(1, None, 1.0)
    assert len(told.failed) == 1
    told.blame.judge(0, "stage 1 fails on a golden row", 1.0)
    assert told.stood_in == [(alone, 0, "stage 1 fails on a golden row")]
    told.blame.judge(0, None, 1.0)
    assert len(told.failed) == 1


def test_who_is_held_is_refused_where_the_stage_answers_its_golden_row() -> None:
    told, first, gone = Told(), work(), work()
    told.blame.raised(1, first, ERROR, answers=False)
    told.blame.raised(1, gone, ERROR, answers=False)
    gone.over = True
    told.blame.judge(1, None, 1.0)
    ((refused, error),) = told.failed
    assert refused is first
    assert "stage 2 of m failed on this request, while it answers others (ValueError: the category" in str(error)
    told.blame.raised(1, first, ERROR, answers=False)
    assert told.blame.let_go() == [first]
    assert told.blame.let_go() == []


def test_a_lack_of_room_is_nobodys_fault() -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

    told = Told()
    told.blame.raised(0, work(), MemoryError("Unable to allocate 8 GiB"), answers=True)
    assert isinstance(told.failed[0][1], StageFailed)
    assert lacks_room(RuntimeException("Failed to allocate memory for requested buffer of size 1"))
    assert not lacks_room(RuntimeException("indices element out of data bounds"))


@pytest.mark.parametrize("error", [ERROR, RaisedThere("ValueError: the category 'bad_alloc' was never seen")])
def test_words_that_quote_rows_are_no_lack_of_room(error: Any) -> None:
    assert not lacks_room(error)
