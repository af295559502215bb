"""Near matches from end to end: a trace that says what was asked for, and one that does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.errors import DataError
from equipoise.flow.near import check_rows, requests_of
from equipoise.ingest.trace import Trace

ASKED: dict[str, Any] = {
    "data": "places.npz", "trace": "asked.csv", "alternative": ["small.onnx"], "max_drop": 0.05, "p99_ms": 200,
    "price": 0.1, "budget": "12s",
}  # fmt: skip


@pytest.fixture(scope="module")
def asked(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A study whose trace says what was asked for, with time for near matches however busy the machine is; resumed."""
    from equipoise.flow.optimize import optimize_from

    out = tmp_path_factory.mktemp("near") / "out"
    doing: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(inputs)
        patch.setattr("equipoise.compose.caching.OPENING_S", -1e6)
        result, _ = optimize_from(Path("large.onnx"), ASKED, out=out)
        again, _ = optimize_from(None, {}, resume=out, watcher=lambda progress: doing.append(progress.doing))
    return result, again, doing, out


def test_near_matches_are_proved_on_later_requests(asked: Any) -> None:
    result, _, _, out = asked
    cache = result.cache
    proof = cache.near_certificate
    assert proof is not None, cache.near_reason
    assert proof.passed
    # The later half of 12,000 requests, of which about half ask for rows of the certify split.
    assert 2000 < proof.n < 4500
    assert 200 < proof.groups < 450
    assert proof.candidates_certified == 1
    assert proof.reused == result.certificate.reused
    if cache.chosen and cache.rule.near:
        assert cache.near_reason == ""
    else:  # one machine, that answers this traffic anyway, costs the same with a cache
        assert "no cheaper" in cache.near_reason
    written = json.loads((out / "result.json").read_text())
    assert written["cache"]["near_certificate"]["passed"] is True
    assert cache.rule.lookup_s == cache.lookup_s > 0


def test_a_study_that_is_resumed_answers_no_row_of_the_trace_again(asked: Any) -> None:
    first, again, doing, _ = asked
    assert not any("answering" in each or "match" in each for each in doing)
    assert again.cache == first.cache


@pytest.mark.slow
def test_a_trace_with_keys_alone_gives_a_cache_of_exact_matches(study: Callable[[str], Any]) -> None:
    cache = study("keyed").result.cache
    assert cache is not None
    assert cache.rule.near == {}
    assert cache.near_certificate is None
    assert "columns key and row" in cache.near_reason


# --- rows that were asked for ---------------------------------------------------------------------------------------

TRACE = Trace(
    np.arange(5.0), np.zeros(5), np.ones(5, dtype=np.int64),
    key=np.array(list("abcab"), dtype=object), row=np.array([7, 2, 5, 7, 2]),
)  # fmt: skip


def test_rows_stand_in_the_order_of_their_first_request() -> None:
    found = requests_of(TRACE, np.array([2, 9]))
    assert found is not None
    requests, rows = found
    assert rows.tolist() == [7, 2, 5]
    assert requests.row.tolist() == [0, 1, 2, 0, 1]
    assert requests.certify.tolist() == [False, True, False]
    assert requests.high is None
    urgent = requests_of(replace(TRACE, high=np.arange(5) == 1), np.array([2]))
    assert urgent is not None
    assert urgent[0].high is not None


@pytest.mark.parametrize("trace", [None, replace(TRACE, row=None)])
def test_without_rows_it_is_not_known_what_was_asked_for(trace: Trace | None) -> None:
    assert requests_of(trace, np.array([2])) is None


def test_rows_that_are_not_there_and_rows_without_keys_are_refused() -> None:
    check_rows(TRACE, 8, Path("t.csv"), "d.npz")
    check_rows(replace(TRACE, row=None, key=None), 1, Path("t.csv"), "d.npz")
    with pytest.raises(DataError, match=r"request 1 asks for row 7, and 1 more .* d.npz has 7 rows"):
        check_rows(TRACE, 7, Path("t.csv"), "d.npz")
    with pytest.raises(DataError, match="column row and no column key"):
        check_rows(replace(TRACE, key=None), 8, Path("t.csv"), "d.npz")
