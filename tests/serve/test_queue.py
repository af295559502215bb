"""A stage's queue against a plain list of the same requests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from equipoise.serve.queue import StageQueue
from equipoise.serve.work import Work


def work(arrival_s: float, rows: int) -> Work:
    return Work(feeds={}, n=rows, arrival_s=arrival_s, high=False, outputs=(), key=None)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.integers(0, 5), st.integers(1, 9)),
            st.tuples(st.just("pop"), st.integers(1, 4), st.just(0)),
            st.tuples(st.just("remove"), st.integers(0, 20), st.just(0)),
        )
    )
)
def test_order_and_counts_hold_whatever_comes_and_goes(steps: list[tuple[str, int, int]]) -> None:
    queue, expected = StageQueue(), list[Work]()
    for step, number, rows in steps:
        if step == "push":
            new = work(number, rows)
            queue.push(new)
            expected.append(new)
            expected.sort(key=lambda each: each.arrival_s)
        elif step == "pop":
            assert queue.pop(number) == expected[:number]
            del expected[:number]
        elif number < len(expected):
            queue.remove(expected.pop(number))
        assert len(queue) == len(expected)
        assert queue.waiting_rows == sum(each.rows for each in expected)
        state = queue.oldest(3, free_lanes=1)
        assert list(state.arrival_s) == [each.arrival_s for each in expected[:3]]
        assert list(state.rows) == [each.rows for each in expected[:3]]
