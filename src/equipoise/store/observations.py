"""The log of observations: a folder of Parquet files, and of segments that are still being written.

A segment is an Arrow IPC stream that is only ever added to, one whole record batch after the other, and locked by the
server that writes it. Once it is closed, `tidy` makes it a Parquet file; one that a server left behind when it was
killed can be locked by the next, and is read up to its last whole batch. Names begin with the time, so that they sort
by it, and end in a random part, so that several servers can share a folder.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from equipoise.core.observation import OBSERVATION, VERSION, VERSION_KEY
from equipoise.errors import DataError
from equipoise.policy.retention import LogFile, expired

SEGMENT, PARQUET, UNFINISHED = ".arrows", ".parquet", ".tmp"
NAME = re.compile(r"observations-\d{8}T\d{12}Z-[0-9a-f]{12}\.(arrows|parquet)")
UNFINISHED_NAME = re.compile(r"\.observations-\d{8}T\d{12}Z-[0-9a-f]{12}\.arrows\.tmp")
END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""What an IPC stream ends with."""
ROW_GROUP = 1 << 16


class Segment:
    """A segment that is being written, by this process alone.

    Args:
        folder: Where; it is made where it is not there.

    Attributes:
        bytes: Its size.
        torn: Whether half a batch is at its end, behind which nothing would be found.

    Raises:
        OSError: It cannot be written there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"observations-{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z-{secrets.token_hex(6)}"
        unfinished = folder / f".{stem}{SEGMENT}{UNFINISHED}"
        self.bytes, self.torn = 0, False
        self._file = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            # Locked before it has its name: nobody may take it for one that was left behind.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write(OBSERVATION.serialize())
            unfinished.rename(folder / f"{stem}{SEGMENT}")
        except OSError:
            os.close(self._file)
            unfinished.unlink(missing_ok=True)
            raise

    def append(self, batch: pa.RecordBatch) -> None:
        """Add a batch, whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        self._write(batch.serialize())

    def close(self) -> None:
        """End it, and leave it to `tidy`."""
        with suppress(OSError):  # a stream that does not end is read up to its last batch
            self._write(END)
        os.close(self._file)

    def _write(self, data: bytes | pa.Buffer) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            self.torn = True
            os.ftruncate(self._file, self.bytes)
            self.torn = False
            raise
        self.bytes += len(data)


def tidy(folder: Path, keep_s: float | None = None, keep_bytes: int | None = None) -> int:
    """Make Parquet files of all segments that nobody writes to, and delete files that have had their time.

    Args:
        folder: The log.
        keep_s: How long a file is kept after it was finished; null for ever.
        keep_bytes: Most bytes of all files together; null for no bound.

    Returns:
        How many segments became Parquet files.

    Raises:
        OSError: A file cannot be read, written or deleted.
    """
    for path in _found(folder, UNFINISHED_NAME):
        with _locked(path) as free:
            if free:
                path.unlink(missing_ok=True)
    _delete_expired(folder, keep_s, keep_bytes)  # first of all: a new file may need the room
    made = 0
    for path in _found(folder, NAME):
        if path.suffix == SEGMENT:
            with _locked(path) as free:
                made += free and _make_parquet(path)
    _delete_expired(folder, keep_s, keep_bytes)
    return made


def read_observations(folder: Path) -> pa.Table:
    """All observations of a log, those that were flushed just now among them.

    Args:
        folder: The log.

    Returns:
        A table with the columns of `core.observation.COLUMNS`, by the time at which their files were begun.

    Raises:
        DataError: A file is not one of a log, or is of a later version.
    """
    if not folder.is_dir():
        raise DataError(str(folder), "there is no such folder", "give the folder of `equipoise serve --observations`")
    tables = [OBSERVATION.empty_table()]
    for stem in sorted({path.stem for path in _found(folder, NAME)}):
        table = _read(folder / stem)
        if table is not None:
            _require_known(folder / stem, table.schema)
            tables.append(table)
    return pa.concat_tables(tables, promote_options="default").select(OBSERVATION.names)


def _read(place: Path) -> pa.Table | None:
    """A file under either of its names: while one reads, a segment may become a Parquet file, or have had its time."""
    for suffix in (PARQUET, SEGMENT, PARQUET):
        path = place.with_suffix(suffix)
        try:
            return pq.read_table(path) if suffix == PARQUET else _whole_batches(path)
        except FileNotFoundError:
            continue
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(str(path), f"it cannot be read ({error})", "take it out of the folder") from None
    return None


def _whole_batches(path: Path) -> pa.Table | None:
    """What a segment holds up to its last whole batch; null where not even its head is whole."""
    # Read, not mapped: a segment may become shorter under a reader, when a disk is full.
    data = path.read_bytes()
    try:
        stream = pa.ipc.open_stream(pa.BufferReader(data))
    except (pa.ArrowInvalid, OSError):
        return None
    batches = []
    with suppress(pa.ArrowInvalid, OSError, StopIteration):
        while True:
            batches.append(stream.read_next_batch())
    return pa.Table.from_batches(batches, stream.schema)


def _make_parquet(path: Path) -> bool:
    """Make a segment a Parquet file, and say whether it was one and had any rows."""
    finished = path.with_suffix(PARQUET)
    table = None if finished.exists() else _whole_batches(path)
    if table is not None and len(table):
        unfinished = path.with_name(f".{finished.name}{UNFINISHED}")
        try:
            with unfinished.open("wb") as file:
                pq.write_table(table, file, compression="zstd", row_group_size=ROW_GROUP)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(finished)
        except OSError:
            unfinished.unlink(missing_ok=True)  # it would fill the disk further
            raise
    path.unlink()
    return table is not None and bool(len(table))


def _delete_expired(folder: Path, keep_s: float | None, keep_bytes: int | None) -> None:
    files = [_log_file(path) for path in _found(folder, NAME) if path.suffix == PARQUET]
    for name in expired([file for file in files if file is not None], time.time(), keep_s, keep_bytes):
        (folder / name).unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether a file is there and nobody else writes to it, nor will while this lasts."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another server may have finished with it between its being opened and locked.
            free = path.exists()
        except BlockingIOError:
            free = False
        yield free
    finally:
        os.close(file)


def _found(folder: Path, name: re.Pattern[str]) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if name.fullmatch(path.name))
    except FileNotFoundError:
        return []


def _log_file(path: Path) -> LogFile | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return LogFile(path.name, found.st_mtime, found.st_size)


def _require_known(place: Path, schema: pa.Schema) -> None:
    version = (schema.metadata or {}).get(VERSION_KEY, b"").decode("latin-1")
    if not version.isdigit() or int(version) > VERSION:
        found = f"its observations are of version {version or 'none'}"
        raise DataError(str(place), found, f"this program reads versions up to {VERSION}: install a newer one")
