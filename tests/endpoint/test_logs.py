"""Log lines: one object each whatever a client sends, nothing of what it sent, and nobody waits for them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.endpoint.logs import MOST_REFUSALS, MOST_WAITING, Access, Log, LogForm, LogHandler, raised_at

SECRET = "my salary is 12345"


class Written:
    """A log, and what it wrote."""

    def __init__(self, path: Path, form: LogForm) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self.log = Log(form, self._file)

    def lines(self) -> list[bytes]:
        self.log.close()
        os.close(self._file)
        written = self._path.read_bytes()
        assert written.isascii()
        assert not written or written.endswith(b"\n")
        return written.splitlines()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Written]:
    return lambda form="json": Written(tmp_path / "log", form)


def test_a_request_is_one_line_without_what_is_not_known(written: Any) -> None:
    made = written()
    made.log.access(
        Access("7", "POST", "/v2/models/{model}/infer", "shop", "m", "1", 3), status=200, seconds=0.25, answer_bytes=17
    )
    made.log.access(Access("8", "GET"), status=404, seconds=0.5, answer_bytes=2)
    first, second = made.records()
    time = first.pop("time")
    assert time.endswith("Z")
    assert len(time) == len("2026-01-31T12:00:00.000Z")
    assert first == {
        "level": "info", "event": "request", "request_id": "7", "key": "shop", "method": "POST",
        "route": "/v2/models/{model}/infer", "model": "m", "version": "1", "status": 200, "rows": 3, "seconds": 0.25,
        "bytes": 17,
    }  # fmt: skip
    assert set(second) == {"time", "level", "event", "request_id", "method", "status", "seconds", "bytes"}


@pytest.mark.parametrize("form", ["json", "text"])
@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.text() | st.characters().map(lambda one: f"a{one}b"), min_size=3, max_size=3))
def test_no_name_begins_a_line_or_breaks_one(
    tmp_path_factory: pytest.TempPathFactory, form: LogForm, names: list[str]
) -> None:
    made = Written(tmp_path_factory.mktemp("logs") / "log", form)
    names = [*names[:2], names[2] + "\n\r\x85\u2028\x1b[2J\ud800\x00" + "x" * 1000]
    for name in names:
        made.log.access(Access(name, "POST", "/", None, name, name), 200, 0.0, 0)
    lines = made.lines()
    assert len(lines) == len(names)
    assert max(map(len, lines)) < 6000
    assert not any(control in line for line in lines for control in (b"\r", b"\x1b", b"\x00"))
    if form == "json":
        for name, line in zip(names, lines, strict=True):
            said = json.loads(line)
            assert said["model"] == said["request_id"] == name[:128]


def test_text_is_for_people(written: Any) -> None:
    made = written("text")
    made.log.event("ready", url="http://127.0.0.1:8080", why="it is time", nothing=None)
    (line,) = made.lines()
    assert line.decode().split("Z ", 1)[1] == 'info    ready url=http://127.0.0.1:8080 why="it is time"'


def test_none_is_nothing_and_no_thread(written: Any) -> None:
    import threading

    before = threading.active_count()
    made = written("none")
    made.log.event("ready")
    made.log.access(Access("7", "GET"), 200, 0.0, 0)
    assert threading.active_count() == before
    assert made.lines() == []


def test_who_does_not_read_holds_nobody_up_and_what_is_lost_is_counted() -> None:
    reading, writing = os.pipe()
    log = Log("json", writing)
    for number in range(3 * MOST_WAITING):  # a pipe holds some hundreds of them
        log.event("tick", number=number)
    with open(reading, "rb") as file, ThreadPoolExecutor(1) as pool:
        read = pool.submit(file.read)
        log.close()
        os.close(writing)
        records = [json.loads(line) for line in read.result().splitlines()]
    ticks = [record["number"] for record in records if record["event"] == "tick"]
    dropped = sum(record["lines"] for record in records if record["event"] == "log_lines_dropped")
    assert ticks == sorted(ticks)
    assert dropped > 0
    assert len(ticks) + dropped == 3 * MOST_WAITING


@pytest.mark.parametrize("status", [429, "UNAVAILABLE"])
def test_a_flood_of_refusals_is_none_of_lines(
    status: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Written(tmp_path / "log", "json")
    for second, refusals in ((0, MOST_REFUSALS + 7), (1, 5), (2, MOST_REFUSALS + 1)):
        monkeypatch.setattr("equipoise.endpoint.logs.time.time", lambda now_s=1e9 + second: now_s)
        for _ in range(refusals):
            written.log.access(Access(), status, 0.0, 0)
            written.log.access(Access(), 200, 0.0, 0)
    assert written.log.statuses == {status: 2 * MOST_REFUSALS + 13, 200: 2 * MOST_REFUSALS + 13}
    records = written.records()
    told = [record["status"] for record in records if record["event"] == "request"]
    assert told.count(200) == 2 * MOST_REFUSALS + 13
    assert told.count(status) == 2 * MOST_REFUSALS + 5
    untold = [record for record in records if record["event"] == "refusals_without_a_line"]
    assert [(record["second"], record["requests"]) for record in untold] == [
        ("2001-09-09T01:46:40Z", 7),
        ("2001-09-09T01:46:42Z", 1),
    ]


def test_a_reader_who_has_gone_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log = Log("json", writing)
    for _ in range(10):
        log.event("tick")
    log.close()
    os.close(writing)


def fails() -> None:
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        raise RuntimeError(f"could not convert {SECRET}") from error


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    found = logging.getLogger("equipoise.test_logs")
    found.setLevel(logging.INFO)
    found.propagate = False
    yield found
    found.handlers.clear()


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_libraries_log_is_told_without_what_may_quote_a_request(
    written: Any, logger: logging.Logger, form: str
) -> None:
    made = written(form)
    logger.addHandler(LogHandler(made.log))
    logger.debug("too fine")
    logger.info("swapped", extra={"event": "swapped", "fields": {"model": "m"}})
    logger.warning("a task failed\nfuture: <ValueError(%r)>", SECRET)
    try:
        fails()
    except RuntimeError:
        logger.exception("a request failed")
    lines = made.lines()
    everything = b"\n".join(lines)
    assert SECRET.encode() not in everything
    assert b"fails()" in everything
    if form == "json":
        swapped, task, failed = map(json.loads, lines)
        assert (swapped["event"], swapped["model"], swapped["level"]) == ("swapped", "m", "info")
        assert (task["event"], task["message"], task["level"]) == ("message", "a task failed", "warning")
        assert (failed["message"], failed["error"], failed["level"]) == ("a request failed", "RuntimeError", "error")
        assert failed["traceback"].rstrip().endswith("ValueError")


def test_a_loop_of_causes_ends() -> None:
    first, second = ValueError(SECRET), KeyError(SECRET)
    first.__cause__, second.__cause__ = second, first
    assert raised_at(first) == "ValueError\ncaused by\nKeyError"
