"""A trace: when requests really came."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Seconds = NDArray[np.float64]
OPTIONAL = ("key", "row", "priority")
NEEDED = "a trace is a CSV file with the column `timestamp` (one request a line) or with `period` and `count`"


@dataclass(frozen=True)
class Trace:
    """When requests came, in seconds from the first line of the trace.

    Attributes:
        start_s: Start of each period, or, where the trace has a line for each request, its time; ascending: float64[n].
        length_s: Length of each period; 0 for single requests: float64[n].
        count: Requests in each period; 1 for single requests: int64[n].
        key: Of each single request; equal keys are equal requests: text, object[n]; null where the trace has none.
        row: Row of the data file, from 0, that each single request asked for: int64[n]; null where it has none.
        high: Whether each single request has high priority: bool[n]; null where the trace does not say.
    """

    start_s: Seconds
    length_s: Seconds
    count: NDArray[np.int64]
    key: NDArray[np.object_] | None = None
    row: NDArray[np.int64] | None = None
    high: NDArray[np.bool_] | None = None

    @property
    def single(self) -> bool:
        """Whether it tells of each request, not of periods."""
        return not self.length_s.any()

    @property
    def requests(self) -> int:
        """Number of requests."""
        return int(self.count.sum())

    @property
    def duration_s(self) -> float:
        """From the first request or period to the end of the last, seconds."""
        return float(self.start_s[-1] + self.length_s[-1])

    @property
    def mean_rate_rps(self) -> float:
        """Mean requests a second: over the periods that the trace tells of, or from first to last single request."""
        told_s = float(self.length_s.sum())
        return self.requests / told_s if told_s else (self.requests - 1) / self.duration_s


def read_trace(path: Path) -> Trace:
    """Read a trace from a CSV file.

    The column `timestamp` holds one request a line; `period` and `count` hold the start of a period and the requests in
    it. Beside `timestamp` there may be `key` (text: equal keys are equal requests), `row` (the row of the data file,
    from 0, that was asked for) and `priority` (normal or high; empty for normal). Names are compared without regard to
    case, and other columns are ignored. Times are ISO 8601 or seconds. A period ends where the next begins, and lasts
    no longer than is usual in the file: where periods are left out, nothing is known of the traffic between, and none
    is assumed.

    Args:
        path: The file.

    Returns:
        The trace.

    Raises:
        DataError: The file is missing, empty or has not these columns; a time, count, key or row is missing, a time,
            count or row is not a number or negative, a priority is another word; times do not ascend; or there is too
            little to tell a rate from.
    """
    table = _columns(path)
    if "timestamp" in table:
        start_s = _seconds(table["timestamp"], path, strictly=False)
        if start_s[-1] == 0:
            raise DataError(str(path), f"its {len(start_s)} requests all have one time", "a trace must last some time")
        return Trace(
            start_s,
            np.zeros(len(start_s)),
            np.ones(len(start_s), dtype=np.int64),
            key=_keys(table["key"], path) if "key" in table else None,
            row=_whole(table["row"], path, "a row number of the data file, 0 or more") if "row" in table else None,
            high=_priorities(table["priority"], path) if "priority" in table else None,
        )
    start_s = _seconds(table["period"], path, strictly=True)
    count = _whole(table["count"], path, "a whole number of requests, 0 or more")
    if len(start_s) < 2:
        raise DataError(str(path), "it has one period", "at least 2 are needed to tell how long a period lasts")
    if not count.any():
        raise DataError(str(path), f"the counts of all {len(count)} periods are 0", "a trace needs requests")
    gaps = np.diff(start_s)
    lengths, times_seen = np.unique(gaps.round(6), return_counts=True)
    usual_s = float(lengths[times_seen.argmax()])
    return Trace(start_s, np.append(np.minimum(gaps, usual_s), usual_s), count)


def busiest_window(trace: Trace, seconds: float, seed: int = 0) -> Seconds:
    """Arrivals of the stretch of a trace in which most requests came, never faster or slower than they did.

    A rate is not a load: what fills a queue is how requests bunch, and squeezing an hour into a minute makes bunches
    that never were. So the window is as long as the time there is to replay it. Single requests keep their times.
    Within a period only the number of requests is known: each is placed at random, uniformly and independently, and a
    period that lies partly in the window gives each of its requests the corresponding chance of being in it.

    Args:
        trace: The trace.
        seconds: Length of the window, > 0; the whole trace where it is shorter.
        seed: For the places within periods.

    Returns:
        Ascending times from the start of the window, seconds: float64[n].

    Raises:
        ValueError: `seconds` is not a positive number.

    Example:
        >>> trace = Trace(np.array([0.0, 7.0, 8.0, 8.5, 20.0]), np.zeros(5), np.ones(5, dtype=np.int64))
        >>> busiest_window(trace, seconds=2.0)
        array([0. , 1. , 1.5])
    """
    if not 0 < seconds < np.inf:
        raise ValueError(f"seconds must be a positive number, found {seconds}")
    if trace.single:
        part, begin_s = _busiest_requests(trace.start_s, seconds)
        found: Seconds = trace.start_s[part] - begin_s
        return found
    end_s = trace.start_s + trace.length_s
    edges = np.stack([trace.start_s, end_s], axis=1).ravel()
    told = np.concatenate([[0], np.repeat(np.cumsum(trace.count), 2)[:-1]]).astype(np.float64)
    # Requests up to a time are piecewise linear in it: the fullest window begins or ends where a period does.
    begins = np.clip(np.concatenate([edges, edges - seconds]), 0.0, max(0.0, trace.duration_s - seconds))
    inside = np.interp(begins + seconds, edges, told) - np.interp(begins, edges, told)
    begin_s = float(begins[inside.argmax()])
    first, last = np.searchsorted(end_s, begin_s, "right"), np.searchsorted(trace.start_s, begin_s + seconds, "left")
    rng = np.random.default_rng(seed)
    periods = slice(first, last)
    at_s = np.repeat(trace.start_s[periods], trace.count[periods])
    at_s += rng.random(len(at_s)) * np.repeat(trace.length_s[periods], trace.count[periods])
    at_s = np.sort(at_s) - begin_s
    return at_s[(at_s >= 0) & (at_s < seconds)]


def busiest_requests(trace: Trace, seconds: float) -> Trace:
    """The stretch of a trace of single requests in which most came, with their keys, rows and priorities.

    Args:
        trace: A trace with a line for each request.
        seconds: Length of the stretch, > 0; the whole trace where it is shorter.

    Returns:
        Its requests, at the times of `busiest_window`.

    Raises:
        ValueError: `seconds` is not a positive number, or the trace tells of periods.
    """
    if not 0 < seconds < np.inf:
        raise ValueError(f"seconds must be a positive number, found {seconds}")
    if not trace.single:
        raise ValueError("a trace of periods does not tell its requests apart")
    part, begin_s = _busiest_requests(trace.start_s, seconds)
    return Trace(
        trace.start_s[part] - begin_s,
        trace.length_s[part],
        trace.count[part],
        key=None if trace.key is None else trace.key[part],
        row=None if trace.row is None else trace.row[part],
        high=None if trace.high is None else trace.high[part],
    )


def _busiest_requests(at_s: Seconds, seconds: float) -> tuple[slice, float]:
    begins = np.minimum(at_s, max(0.0, at_s[-1] - seconds))
    first, last = np.searchsorted(at_s, begins, "left"), np.searchsorted(at_s, begins + seconds, "right")
    best = int((last - first).argmax())
    return slice(int(first[best]), int(last[best])), float(begins[best])


def _columns(path: Path) -> dict[str, pd.Series[str]]:
    """The columns that a trace needs, as text, indexed by line number."""
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(str(path), "there is no such file", "give the path of a trace") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError, OSError) as error:
        raise DataError(str(path), f"it cannot be read ({error})", NEEDED) from None
    table.columns = pd.Index([str(name).strip().lower() for name in table.columns])
    table.index = pd.RangeIndex(2, len(table) + 2)
    for names in (("timestamp",), ("period", "count")):
        if set(names) <= set(table.columns):
            wanted = [*names, *(name for name in OPTIONAL if name in table.columns and names == ("timestamp",))]
            twice = [name for name in wanted if list(table.columns).count(name) > 1]
            if twice:
                raise DataError(str(path), f"more than one column is named {' or '.join(twice)}", "keep one of them")
            table = table.loc[(table != "").any(axis=1)]  # a blank line says nothing
            if table.empty:
                raise DataError(str(path), "it has a header and no rows", NEEDED)
            return {name: table[name].str.strip() for name in wanted}
    raise DataError(str(path), f"its columns are {', '.join(table.columns) or 'none'}", NEEDED)


def _seconds(text: pd.Series[str], path: Path, *, strictly: bool) -> Seconds:
    import pandas as pd

    numbers = pd.to_numeric(text, errors="coerce")
    if numbers.notna().any():
        at_s = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
        _refuse(text, ~np.isfinite(at_s), path, "a number of seconds, as the other lines have")
        _refuse(text, at_s < 0, path, "a time of 0 s or later")
    else:
        moments = pd.to_datetime(text, errors="coerce", format="ISO8601", utc=True)
        _refuse(text, moments.isna().to_numpy(), path, "an ISO 8601 time such as 2026-07-20T12:00:00, or seconds")
        at_s = (moments - moments.iloc[0]).dt.total_seconds().to_numpy(dtype=np.float64)
    steps = np.diff(at_s, prepend=-np.inf)
    needed = "a time after the line above" if strictly else "a time no earlier than the line above"
    _refuse(text, steps <= 0 if strictly else steps < 0, path, f"{needed}; sort the file by time")
    first: Seconds = at_s - at_s[0]
    return first


def _whole(text: pd.Series[str], path: Path, needed: str) -> NDArray[np.int64]:
    import pandas as pd

    numbers = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = ~np.isfinite(numbers) | (numbers < 0) | (numbers != np.floor(numbers))
    _refuse(text, wrong, path, needed)
    return numbers.astype(np.int64)


def _keys(text: pd.Series[str], path: Path) -> NDArray[np.object_]:
    _refuse(text, (text == "").to_numpy(), path, "a key for each request, or no such column")
    return text.to_numpy(dtype=object)


def _priorities(text: pd.Series[str], path: Path) -> NDArray[np.bool_]:
    words = text.str.lower()
    _refuse(text, ~words.isin(["", "normal", "high"]).to_numpy(), path, "normal or high")
    high: NDArray[np.bool_] = (words == "high").to_numpy(dtype=bool)
    return high


def _refuse(text: pd.Series[str], wrong: NDArray[np.bool_], path: Path, needed: str) -> None:
    if wrong.any():
        place = int(wrong.argmax())
        more = f" (and {int(wrong.sum()) - 1} lines more)" if wrong.sum() > 1 else ""
        line = text.index[place]
        raise DataError(f"{path}, line {line}", f"{text.name} is {text.iloc[place]!r}{more}", f"needed is {needed}")
