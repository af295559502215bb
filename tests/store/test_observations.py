"""The log of observations on a real disk: what is flushed is found again, whatever became of the process."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.core.observation import COLUMNS, OBSERVATION, VERSION_KEY
from equipoise.errors import DataError
from equipoise.store.observations import NAME, Segment, read_observations, tidy

NEEDED: dict[str, Any] = {
    "time": datetime(2026, 1, 1, tzinfo=UTC), "model": "m", "version": "1", "plan": "d", "outcome": "answered",
    "rows": 1, "stages": [1], "total_s": 0.1, "queued_s": 0.0, "computing_s": 0.1, "cached": False, "joined": False,
    "degraded": False, "share": 1.0,
}  # fmt: skip


def batch_of(*ids: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([NEEDED | {"request_id": name} for name in ids], schema=OBSERVATION)


def ids(folder: Path) -> list[str]:
    found: list[str] = read_observations(folder)["request_id"].to_pylist()
    return found


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_segment_is_read_while_it_is_written_and_becomes_parquet(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "log"
    segment = Segment(folder)
    assert ids(folder) == []
    segment.append(batch_of("a", "b"))
    segment.append(batch_of("c"))
    assert ids(folder) == ["a", "b", "c"]
    assert tidy(folder) == 0
    assert [Path(name).suffix for name in files(folder)] == [".arrows"]
    segment.close()
    assert ids(folder) == ["a", "b", "c"]
    assert tidy(folder) == 1
    (name,) = files(folder)
    assert NAME.fullmatch(name)
    table = read_observations(folder)
    assert table["request_id"].to_pylist() == ["a", "b", "c"]
    assert table.schema.equals(OBSERVATION)
    written = pq.ParquetFile(folder / name)
    assert written.metadata.row_group(0).column(0).compression == "ZSTD"
    assert written.schema_arrow.metadata[VERSION_KEY] == b"1"
    assert tidy(folder) == 0


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_was_cut_anywhere_is_read_up_to_its_last_whole_batch(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    segment = Segment(folder)
    ends = [segment.bytes]
    for number in range(3):
        segment.append(batch_of(*(f"{number}.{place}" for place in range(number + 1))))
        ends.append(segment.bytes)
    segment.close()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    rest = data.draw(st.sampled_from([b"", b"\x00" * 100, b"\xff" * 100]))
    path.write_bytes(whole[:cut] + (rest if cut in ends else b""))
    batches = max((number for number, end in enumerate(ends) if end <= cut), default=0)
    expected = [f"{number}.{place}" for number in range(batches) for place in range(number + 1)]
    assert ids(folder) == expected
    assert tidy(folder) == bool(expected)
    assert [Path(name).suffix for name in files(folder)] == [".parquet"] * bool(expected)
    assert ids(folder) == expected


def test_what_a_killed_process_left_is_taken_up_by_the_next_and_by_nobody_before(tmp_path: Path) -> None:
    program = (
        "import sys, time, pyarrow as pa\n"
        "from pathlib import Path\n"
        "from equipoise.store.observations import Segment\n"
        "batch = pa.ipc.open_stream(sys.stdin.buffer).read_next_batch()\n"
        "segment = Segment(Path(sys.argv[1]))\n"
        "segment.append(batch)\n"
        "print('written', flush=True)\n"
        "time.sleep(600)\n"
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, OBSERVATION) as stream:
        stream.write_batch(batch_of("a", "b"))
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(sink.getvalue().to_pybytes())
        process.stdin.close()
        assert process.stdout.readline() == b"written\n"
        assert tidy(tmp_path) == 0
        assert ids(tmp_path) == ["a", "b"]
        process.send_signal(signal.SIGKILL)
    assert tidy(tmp_path) == 1
    assert ids(tmp_path) == ["a", "b"]


def test_a_segment_that_is_already_parquet_is_not_read_twice(tmp_path: Path) -> None:
    segment = Segment(tmp_path)
    segment.append(batch_of("a"))
    segment.close()
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    tidy(tmp_path)
    path.write_bytes(data)  # as if it had been killed between the two
    assert ids(tmp_path) == ["a"]
    assert tidy(tmp_path) == 0
    assert ids(tmp_path) == ["a"]
    assert [Path(name).suffix for name in files(tmp_path)] == [".parquet"]


def test_what_was_begun_and_never_named_goes(tmp_path: Path) -> None:
    segment = Segment(tmp_path)
    (path,) = tmp_path.iterdir()
    segment.close()
    path.rename(tmp_path / f".{path.name}.tmp")
    (tmp_path / "notes.txt").write_text("mine")
    assert tidy(tmp_path) == 0
    assert files(tmp_path) == ["notes.txt"]


def test_a_batch_that_does_not_fit_on_the_disk_leaves_the_segment_whole(tmp_path: Path) -> None:
    segment = Segment(tmp_path)
    segment.append(batch_of("a"))
    bound, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (segment.bytes + 1000, most))
    try:
        with pytest.raises(OSError, match="large"):
            segment.append(batch_of("b" * 100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bound, most))
    assert not segment.torn
    segment.append(batch_of("c"))
    segment.close()
    assert ids(tmp_path) == ["a", "c"]
    tidy(tmp_path)
    assert ids(tmp_path) == ["a", "c"]


def test_a_parquet_file_that_does_not_fit_leaves_its_segment_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a", "b" * 100_000):
        segment = Segment(tmp_path)
        segment.append(batch_of(name, name[::-1]))
        segment.close()
    old, new = files(tmp_path)
    tidied = tmp_path / "tidied"
    tidied.mkdir()
    (tmp_path / old).rename(tidied / old)
    tidy(tidied)
    (tmp_path / new).rename(tidied / new)
    bound, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))
    try:
        with pytest.raises(OSError, match="large"):
            tidy(tidied, keep_bytes=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bound, most))
    assert files(tidied) == [new]  # the old one made room, and went first
    assert tidy(tidied) == 1
    assert len(ids(tidied)) == 2


def test_files_go_when_they_have_had_their_time(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        segment = Segment(tmp_path)
        segment.append(batch_of(name))
        segment.close()
        tidy(tmp_path)
    oldest, *_ = files(tmp_path)
    os.utime(tmp_path / oldest, (0, 0))
    tidy(tmp_path, keep_s=3600.0)
    assert ids(tmp_path) == ["b", "c"]
    tidy(tmp_path, keep_bytes=(tmp_path / files(tmp_path)[-1]).stat().st_size)
    assert ids(tmp_path) == ["c"]


def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Segment(tmp_path / "file" / "log")
    assert files(tmp_path) == ["file"]


def test_what_cannot_be_read_says_what_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_observations(tmp_path / "nowhere")
    damaged = tmp_path / "observations-20260101T000000000000Z-000000000000.parquet"
    damaged.write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="take it out of the folder"):
        read_observations(tmp_path)
    later = batch_of("a").replace_schema_metadata({VERSION_KEY: b"2"})
    pq.write_table(pa.Table.from_batches([later]), damaged)
    with pytest.raises(DataError, match="version 2"):
        read_observations(tmp_path)


def test_every_column_says_what_it_means() -> None:
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)
    assert all(column.meaning.endswith(".") for column in COLUMNS)
