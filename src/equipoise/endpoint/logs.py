"""Log lines on standard error, written by a thread of their own so that nothing waits for whoever reads them.

What a client sent stands in no line: no input, no key, no message of an error that may quote them. Names that a client
chose are cut short, and every line is ASCII, so that none of them can begin a new line or move a terminal's cursor.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, Literal

import orjson

LogForm = Literal["json", "text", "none"]
Level = Literal["info", "warning", "error"]
MOST_WAITING = 10_000
MOST_AT_ONCE = 1_000
PAUSE_S = 0.05
"""Between writes: a thread that woke for every line would take the interpreter's lock from the event loop each time."""
LAST_LINES_S = 2.0
"""How long the end of the process waits for a reader who does not read."""
MOST_NAME = 128
MOST_FRAMES = 30
PLAIN = re.compile(r"[\w.:;,/+@~{}-]+", re.ASCII)
STDERR = 2
SERVERS_FAULT = (500, "INTERNAL")
REFUSALS = frozenset((401, 403, 429, 503, "UNAUTHENTICATED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"))
MOST_REFUSALS = 100
"""Lines a second about requests that were refused: a flood of them must not become one of lines."""

Record = dict[str, Any]


@dataclass(slots=True)
class Access:
    """What a line says of a request; its fields are filled in as they become known.

    Attributes:
        request_id: Its name.
        method: Of HTTP, or `gRPC`.
        route: The pattern of its path, or the method of gRPC; null where nothing is there.
        key: Name of the key that it brought.
        model: That it asks.
        version: Of that model.
        rows: That it asks about.
        error: Kind of error that it met.
    """

    request_id: str = ""
    method: str = ""
    route: str | None = None
    key: str | None = None
    model: str | None = None
    version: str | None = None
    rows: int | None = None
    error: str | None = None


class Log:
    """Takes records from any thread and writes them as lines.

    At most `MOST_WAITING` records wait to be written; what comes then is dropped, and counted by a line of its own. So
    are refusals beyond `MOST_REFUSALS` in a second.

    Args:
        form: `json` for one object a line, `text` for people, `none` for nothing at all.
        file: Number of the open file that lines go to.

    Attributes:
        statuses: Requests by the status that they ended with; counted whatever is written.
    """

    def __init__(self, form: LogForm, file: int = STDERR) -> None:
        self.statuses: dict[int | str, int] = {}
        self._on = form != "none"
        self._file = file
        self._render = _json_line if form == "json" else _text_line
        self._waiting: SimpleQueue[Record | None] = SimpleQueue()
        self._dropped = 0
        self._told_dropped = 0
        self._refusals_in = self._refusals = 0
        self._ending = Event()
        self._writer = Thread(target=self._write_on, name="equipoise-log", daemon=True)
        if self._on:
            self._writer.start()

    def event(self, event: str, level: Level = "info", **fields: object) -> None:
        """Say that something happened; fields that are null are left out."""
        if self._on:
            self._put({"time": time.time(), "level": level, "event": event, **fields})

    def access(self, access: Access, status: int | str, seconds: float, answer_bytes: int) -> None:
        """Say how a request ended.

        Args:
            access: What is known of it.
            status: Of HTTP, or gRPC's name of it; 499 where the client left.
            seconds: From its head to its answer.
            answer_bytes: Bytes of the answer's body.
        """
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if not self._on:
            return
        now_s = time.time()
        if self._refusals and int(now_s) != self._refusals_in:
            self._tell_refusals()
        if self._is_told(status, now_s):
            self._put(
                {
                    "time": now_s,
                    "level": "error" if status in SERVERS_FAULT else "info",
                    "event": "request",
                    "request_id": _short(access.request_id),
                    "key": access.key,
                    "method": access.method,
                    "route": access.route,
                    "model": _short(access.model),
                    "version": _short(access.version),
                    "status": status,
                    "error": access.error,
                    "rows": access.rows,
                    "seconds": round(seconds, 6),
                    "bytes": answer_bytes,
                }
            )

    def close(self) -> None:
        """Write what waits, and end the thread."""
        if self._on:
            self._tell_refusals()
            self._on = False
            self._waiting.put(None)
            self._ending.set()
            self._writer.join(LAST_LINES_S)

    def _is_told(self, status: int | str, now_s: float) -> bool:
        """Whether a request gets a line of its own."""
        if status not in REFUSALS:
            return True
        self._refusals_in = int(now_s)
        self._refusals += 1
        return self._refusals <= MOST_REFUSALS

    def _tell_refusals(self) -> None:
        """Count the refusals of a second that got no line."""
        untold, self._refusals = self._refusals - MOST_REFUSALS, 0
        if untold > 0:
            second = _second(self._refusals_in) + "Z"  # it may be told much later: with the next request
            self.event("refusals_without_a_line", "warning", second=second, requests=untold)

    def _put(self, record: Record) -> None:
        if self._waiting.qsize() < MOST_WAITING:
            self._waiting.put(record)
        else:
            self._dropped += 1

    def _write_on(self) -> None:
        more = True
        while more:
            records = [self._waiting.get()]
            try:
                while len(records) < MOST_AT_ONCE:
                    records.append(self._waiting.get_nowait())
            except Empty:
                pass
            more = None not in records
            lines = [self._render(record) for record in records if record is not None]
            dropped = self._dropped - self._told_dropped
            if dropped:
                self._told_dropped += dropped
                record = {"time": time.time(), "level": "warning", "event": "log_lines_dropped", "lines": dropped}
                lines.append(self._render(record))
            _write(self._file, b"".join(lines))
            if len(records) < MOST_AT_ONCE:
                self._ending.wait(PAUSE_S)


class LogHandler(logging.Handler):
    """Sends what libraries log to a `Log`.

    Only the first line of a message is kept and, of an error, its kind and where it was raised: what follows may quote
    a request. An `event` and `fields` given as `extra` become the line's own.
    """

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record on."""
        try:
            level: Level = "info" if record.levelno < logging.WARNING else "warning"
            if record.levelno >= logging.ERROR:
                level = "error"
            fields: dict[str, object] = {"logger": record.name, "message": record.getMessage().partition("\n")[0]}
            error = record.exc_info[1] if record.exc_info else None
            if error is not None:
                fields |= {"error": type(error).__qualname__, "traceback": raised_at(error)}
            self._log.event(getattr(record, "event", "message"), level, **fields, **getattr(record, "fields", {}))
        except Exception:  # a record that cannot be formatted: `logging` itself says so, and goes on
            self.handleError(record)


@contextmanager
def logged(form: LogForm) -> Iterator[Log]:
    """Write what this process logs, its libraries' warnings too, until the block ends."""
    log = Log(form)
    handler = LogHandler(log)
    root, own = logging.getLogger(), logging.getLogger("equipoise")
    root.addHandler(handler)
    own.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield log
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        log.close()


def log_failure(log: logging.Logger, message: str, error: BaseException, access: Access) -> None:
    """Say that a request failed by the server's own fault, and where."""
    log.error(message, exc_info=error, extra={"fields": {"request_id": access.request_id}})


def raised_at(error: BaseException) -> str:
    """Where an error and its causes were raised, without their messages, which may quote a request."""
    parts: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        frames = traceback.format_tb(cause.__traceback__)[-MOST_FRAMES:]
        parts.append("".join([*frames, type(cause).__qualname__]))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\ncaused by\n".join(parts)


def _short(name: str | None) -> str | None:
    return name if name is None else name[:MOST_NAME]


def _time(time_s: float) -> str:
    second = int(time_s)
    return f"{_second(second)}.{int((time_s - second) * 1000):03d}Z"


@lru_cache(4)
def _second(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _json_line(record: Record) -> bytes:
    said = {name: value for name, value in record.items() if value is not None}
    said["time"] = _time(record["time"])
    line: bytes | None
    try:
        line = orjson.dumps(said)
    except TypeError:  # half of a surrogate pair in a name, or a value of another kind
        line = None
    if line is None or not line.isascii():
        line = json.dumps(said, default=repr).encode()
    return line + b"\n"


def _text_line(record: Mapping[str, Any]) -> bytes:
    said = [_time(record["time"]), f"{record['level']:<7}", record["event"]]
    for name, value in record.items():
        if name == "seconds":
            said.append(f"seconds={value:.6f}")
        elif name not in ("time", "level", "event", "traceback") and value is not None:
            said.append(f"{name}={value if PLAIN.fullmatch(str(value)) else json.dumps(value, default=repr)}")
    lines = [" ".join(said), *record.get("traceback", "").splitlines()]
    return ("\n    ".join(lines) + "\n").encode("ascii", "backslashreplace")


def _write(file: int, lines: bytes) -> None:
    """Write all of it, waiting for the reader; to one who has gone nothing can be said."""
    rest = memoryview(lines)
    while rest:
        try:
            rest = rest[os.write(file, rest) :]
        except BlockingIOError:
            select.select([], [file], [])
        except OSError:
            return
