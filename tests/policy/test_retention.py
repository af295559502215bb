"""Which files of a log have had their time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from equipoise.policy.retention import LogFile, expired

FILES = st.lists(
    st.builds(LogFile, st.text("abcdef", min_size=1, max_size=6), st.floats(0, 1e9), st.integers(0, 1000)),
    unique_by=lambda file: file.name,
    max_size=12,
)


@given(
    files=FILES, now_s=st.floats(0, 1e9), keep_s=st.none() | st.floats(0, 1e9), keep_bytes=st.none() | st.integers(0)
)
def test_what_is_left_keeps_both_bounds(
    files: list[LogFile], now_s: float, keep_s: float | None, keep_bytes: int | None
) -> None:
    gone = expired(files, now_s, keep_s, keep_bytes)
    left = [file for file in files if file.name not in gone]
    assert gone == sorted(set(gone))
    assert keep_s is None or all(now_s - file.written_s <= keep_s for file in left)
    assert keep_bytes is None or sum(file.bytes for file in left) <= keep_bytes


@given(files=FILES, keep_bytes=st.integers(0, 5000))
def test_no_more_goes_than_must(files: list[LogFile], keep_bytes: int) -> None:
    gone = expired(files, 0.0, None, keep_bytes)
    assert expired(files, 1e9, None, None) == []
    if gone:
        youngest = max(gone)
        kept = sum(file.bytes for file in files if file.name not in gone or file.name == youngest)
        assert kept > keep_bytes
        assert all(file.name > youngest for file in files if file.name not in gone)
