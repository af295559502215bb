"""Traces of real traffic."""

from __future__ import annotations

import numpy as np
import pytest

from equipoise.errors import DataError
from equipoise.ingest.trace import Trace, busiest_requests, busiest_window, read_trace


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        path = tmp_path / "trace.csv"
        path.write_text(text)
        return path

    return write_text


def test_single_requests_in_iso_time_with_other_columns(write):
    trace = read_trace(
        write("Bytes,TIMESTAMP\n7,2023-11-16 18:15:46.5000000\n,2023-11-16T18:15:47.75\n1,2023-11-16 18:15:50.5\n")
    )
    assert trace.start_s.tolist() == [0, 1.25, 4]
    assert trace.requests == 3
    assert trace.duration_s == 4
    assert trace.mean_rate_rps == pytest.approx(2 / 4)


def test_times_in_seconds_of_any_epoch_and_zone(write):
    assert read_trace(write("timestamp\n1700000000.25\n1700000001\n")).start_s.tolist() == [0, 0.75]
    zones = write("timestamp\n2026-03-01T12:00:00+01:00\n2026-03-01T11:00:02Z\n")
    assert read_trace(zones).start_s.tolist() == [0, 2]


def test_counts_of_periods_with_a_gap_that_tells_nothing(write):
    trace = read_trace(write("count,Period\n6,0\n0,60\n12,120\n\n6,600\n"))
    assert trace.length_s.tolist() == [60, 60, 60, 60]
    assert trace.requests == 24
    assert trace.mean_rate_rps == pytest.approx(24 / 240)
    assert trace.duration_s == 660


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "cannot be read"),
        ("timestamp\n", "no rows"),
        ("time,requests\n0,1\n", "its columns are time, requests"),
        ("timestamp,Timestamp\n1,2\n", "more than one column"),
        ("timestamp\n1\n3\n2\n", "line 4: timestamp is '2'"),
        ("timestamp\n5\n5\n", "all have one time"),
        ("timestamp\n-1\n5\n", "line 2: timestamp is '-1'"),
        ("timestamp\n1\nnan\n", "line 3: timestamp is 'nan'"),
        ("timestamp\n2026-01-01\nyesterday\n", "line 3: timestamp is 'yesterday'"),
        ("timestamp,x\n1,a\n,b\n3,c\n", "line 3: timestamp is ''"),
        ("period,count\n0,1\n60,-2\n", "line 3: count is '-2'"),
        ("period,count\n0,1\n60,1.5\n", "line 3: count is '1.5'"),
        ("period,count\n0,1\n60,\n", "line 3: count is ''"),
        ("period,count\n0,1\n0,4\n", "line 3: period is '0'"),
        ("period,count\n0,1\n", "one period"),
        ("period,count\n0,0\n60,0\n", "are 0"),
        ("timestamp,key\n1,a\n2,\n3,\n", "line 3: key is '' (and 1 lines more)"),
        ("timestamp,row\n1,0\n2,\n", "line 3: row is ''"),
        ("timestamp,row\n1,0\n2,1.5\n", "line 3: row is '1.5'"),
        ("timestamp,row\n1,-1\n2,1\n", "line 2: row is '-1'; needed is a row number of the data file"),
        ("timestamp,row\n1,first\n2,1\n", "line 2: row is 'first'"),
        ("timestamp,priority\n1,high\n2,urgent\n", "line 3: priority is 'urgent'; needed is normal or high"),
        ("timestamp,key,Key\n1,a,b\n2,a,b\n", "more than one column is named key"),
    ],
)
def test_what_is_no_trace_is_one_clear_error(write, text, expected):
    with pytest.raises(DataError) as caught:
        read_trace(write(text))
    assert expected in str(caught.value)
    assert "trace.csv" in str(caught.value)


def test_single_requests_may_have_keys_rows_and_priorities(write):
    trace = read_trace(write("Key,timestamp,Row,PRIORITY,other\na,0,3,High,x\n\n b ,1,0,,\na,2.5,3,normal,\n"))
    assert trace.key.tolist() == ["a", "b", "a"]
    assert trace.row.tolist() == [3, 0, 3]
    assert trace.high.tolist() == [True, False, False]
    assert trace.single


def test_what_a_trace_does_not_say_is_null(write):
    trace = read_trace(write("timestamp\n0\n1\n"))
    assert (trace.key, trace.row, trace.high) == (None, None, None)
    periods = read_trace(write("period,count,key\n0,1,\n60,1,\n"))
    assert (periods.key, periods.row, periods.high) == (None, None, None)
    assert not periods.single


def test_the_busiest_requests_keep_what_is_known_of_them(write):
    trace = read_trace(write("timestamp,key,row,priority\n0,a,0,high\n7,b,1,normal\n8,c,2,high\n8.5,b,1,\n20,d,3,\n"))
    found = busiest_requests(trace, 2.0)
    assert found.start_s.tolist() == busiest_window(trace, 2.0).tolist() == [0, 1, 1.5]
    assert found.key.tolist() == ["b", "c", "b"]
    assert found.row.tolist() == [1, 2, 1]
    assert found.high.tolist() == [False, True, False]
    assert found.requests == 3
    with pytest.raises(ValueError, match="periods"):
        busiest_requests(read_trace(write("period,count\n0,1\n60,1\n")), 2.0)
    with pytest.raises(ValueError, match="seconds"):
        busiest_requests(trace, 0.0)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_trace(tmp_path / "none.csv")


def test_the_busiest_window_of_single_requests_is_the_fullest_and_keeps_its_gaps():
    rng = np.random.default_rng(0)
    at_s = np.sort(np.concatenate([rng.uniform(0, 100, 200), rng.uniform(40, 45, 200)]))
    trace = Trace(at_s - at_s[0], np.zeros(400), np.ones(400, dtype=np.int64))
    window = busiest_window(trace, 5.0)
    at_s = trace.start_s
    fullest = max(np.sum((at_s >= begin) & (at_s <= begin + 5)) for begin in at_s if begin + 5 <= at_s[-1])
    assert len(window) == fullest
    gaps = np.diff(at_s)
    start = next(k for k in range(400) if np.allclose(gaps[k : k + len(window) - 1], np.diff(window)))
    assert 30 < at_s[start] < 50


def test_the_busiest_window_of_periods_is_the_fullest_at_the_traces_own_rate():
    count = np.asarray([10, 600, 1200, 600, 10], dtype=np.int64)
    trace = Trace(np.arange(5) * 60.0, np.full(5, 60.0), count)
    window = busiest_window(trace, 90.0)
    assert np.all((window >= 0) & (window < 90))
    assert np.all(np.diff(window) >= 0)
    # The fullest 90 s are the middle minute, and half of a minute beside it.
    assert len(window) == pytest.approx(1500, abs=5 * np.sqrt(150))
    assert np.array_equal(window, busiest_window(trace, 90.0))
    assert not np.array_equal(window, busiest_window(trace, 90.0, seed=1))
    assert len(busiest_window(trace, 60.0)) == 1200


def test_a_window_longer_than_the_trace_is_the_trace():
    trace = Trace(np.arange(3) * 60.0, np.full(3, 60.0), np.asarray([5, 0, 7], dtype=np.int64))
    assert len(busiest_window(trace, 1e6)) == 12
    singles = Trace(np.asarray([0.0, 2.0, 9.0]), np.zeros(3), np.ones(3, dtype=np.int64))
    assert busiest_window(singles, 1e6).tolist() == [0, 2, 9]


def test_a_gap_is_never_filled():
    trace = Trace(np.asarray([0.0, 1000.0]), np.asarray([10.0, 10.0]), np.asarray([50, 40], dtype=np.int64))
    window = busiest_window(trace, 500.0)
    assert len(window) == 50
    assert window.max() - window.min() <= 10


def test_real_traces(shared_data):
    conversations = read_trace(shared_data / "traces/azure_llm_conv.csv")
    assert conversations.requests == 19_366
    assert conversations.mean_rate_rps == pytest.approx(19_365 / 3501.72, rel=1e-3)
    minute = busiest_window(conversations, 60.0)
    assert len(minute) > conversations.mean_rate_rps * 60
    assert minute[-1] <= 60

    worldcup = read_trace(shared_data / "traces/worldcup98_per_minute.csv")
    assert worldcup.requests > 1_350_000_000
    minute = busiest_window(worldcup, 60.0)
    assert len(minute) == 229_426
    assert len(busiest_window(worldcup, 10.0)) == pytest.approx(229_426 / 6, rel=0.03)
