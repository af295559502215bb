"""Answers that are remembered: under which key, how many, how often that helps, and whether it pays."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equipoise.policy.cost import MILLION, SECONDS_PER_HOUR

Array = NDArray[Any]
Value = TypeVar("Value")

GIB = 2**30
KEY_BYTES = 16


def cache_key(
    plan: str,
    version: str,
    preprocessing: str,
    outputs: Iterable[str],
    inputs: Mapping[str, Array],
    near: Mapping[str, float] | None = None,
    *,
    high: bool = False,
) -> bytes:
    """The key of an answer: equal for two requests just where the same answer is right for both.

    Everything that the answer depends on goes in, each part with its length, so that no two different requests run into
    one another: the plan (its digest covers models, thresholds and settings), the version that serves it, how raw
    inputs are prepared, which outputs are wanted, priority (a request of high priority may not get an early stage's
    answer), and the inputs' names, types, shapes and values. What does not matter for an answer is left out: the
    request's id, the order of names, memory layout and byte order, the sign of zero, and which of the many bit patterns
    a NaN has. Text is compared as text, whatever array holds it.

    Args:
        plan: Digest of the plan.
        version: Version of the plan that is served under its name.
        preprocessing: Digest of how inputs are prepared; empty for none.
        outputs: Names of the outputs that are wanted.
        inputs: Name to array: booleans, numbers, or text with None where it is missing.
        near: Input name to step, > 0: numbers are rounded to multiples of it, so that inputs that nearly match share an
            answer. Whether they may is for the one who certifies the plan.
        high: Whether the request has high priority.

    Returns:
        16 bytes: the chance that any two of a billion different requests meet is below 1e-20.

    Raises:
        ValueError: A step that is not a positive number, or of an input that is not there or holds no numbers.
        TypeError: An array that holds something else than booleans, numbers and text.

    Example:
        >>> x = np.array([[0.0, 1.5]])
        >>> key = cache_key("plan", "1", "", ["label"], {"x": x})
        >>> key == cache_key("plan", "1", "", ["label"], {"x": -x * [1, -1]})
        True
        >>> key == cache_key("plan", "1", "", ["label"], {"x": x + 1e-9})
        False
        >>> near = {"x": 0.5}
        >>> cache_key("plan", "1", "", [], {"x": x}, near) == cache_key("plan", "1", "", [], {"x": x + 1e-9}, near)
        True
    """
    steps = near or {}
    _check_steps(steps, inputs)
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    wanted = sorted(set(outputs))
    for text in (plan, version, preprocessing, "high" if high else "normal", str(len(wanted)), *wanted):
        _add_text(digest, text)
    for name in sorted(inputs):
        _add_text(digest, name)
        _add_array(digest, name, np.asarray(inputs[name]), steps.get(name))
    return digest.digest()


class Lru(Generic[Value]):
    """Answers by key; the one unused for longest goes first.

    Args:
        max_entries: How many are kept, >= 1.

    Raises:
        ValueError: `max_entries` is below 1.

    Example:
        >>> cache = Lru(2)
        >>> cache.put("a", 1); cache.put("b", 2); cache.get("a")
        1
        >>> cache.put("c", 3)
        >>> cache.get("b") is None, len(cache)
        (True, 2)
    """

    def __init__(self, max_entries: int) -> None:
        if max_entries < 1:
            raise ValueError(f"a cache keeps at least 1 entry, found {max_entries}")
        self.max_entries = max_entries
        self._entries: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """What is kept under a key, used from now on; null for nothing."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: Hashable, value: Value) -> None:
        """Keep a value (not None) under a key."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self.max_entries:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything: another plan is served."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


def lru_hit_shares(keys: ArrayLike, capacities: Sequence[int]) -> NDArray[np.float64]:
    """Share of requests that find their answer in an LRU cache, for each capacity, exactly and in one pass.

    A request is a hit just where fewer than `capacity` other keys were asked since the last time its key was (its stack
    distance, Mattson et al. 1970). Of the requests between the two, those whose own last time also lies between them
    ask no further key: `distance = i - last[i] - 1 - #{j < i: last[j] > last[i]}`. The counts are those of inversions,
    found bit by bit in `O(n log n)`.

    Args:
        keys: Key of each request in order, [n], n >= 1; equal keys are equal requests. The cache is empty at first.
        capacities: Entries that are kept, >= 1 each.

    Returns:
        Share of hits among all n requests for each capacity, float64[capacities], 0 to 1.

    Raises:
        ValueError: No keys, or a capacity below 1.

    Example:
        >>> lru_hit_shares(["a", "b", "a", "c", "b"], [1, 2, 3])
        array([0. , 0.2, 0.4])
    """
    if min(capacities, default=1) < 1:
        raise ValueError(f"a cache keeps at least 1 entry, found {min(capacities)}")
    _, codes = np.unique(np.asarray(keys).ravel(), return_inverse=True)
    n = len(codes)
    if not n:
        raise ValueError("a hit share needs at least one request, found none")
    order = np.argsort(codes, kind="stable")
    last = np.full(n, -1, dtype=np.int64)
    again = codes[order[1:]] == codes[order[:-1]]
    last[order[1:][again]] = order[:-1][again]
    repeats = last >= 0
    places = np.flatnonzero(repeats)
    distance = places - last[places] - 1 - _inversions(last[places])
    ordered = np.sort(distance)
    return np.searchsorted(ordered, np.asarray(capacities, dtype=np.int64), side="left") / n


def repeat_hit_share(repeat_share: float) -> float:
    """Share of hits where all that is known is how many requests repeat an earlier one.

    A cache that forgets nothing answers every repeat: `hit_share = repeat_share`. It is the most that any cache can do,
    and what one does that is large for the traffic; a trace with keys says how large that is (`lru_hit_shares`).

    Args:
        repeat_share: Share of requests that are equal to an earlier one, 0 to 1.

    Raises:
        ValueError: It is out of range.
    """
    if not 0 <= repeat_share <= 1:
        raise ValueError(f"repeat_share must lie between 0 and 1, found {repeat_share}")
    return repeat_share


@dataclass(frozen=True)
class CacheWorth:
    """What a million answers cost without a cache and with it, in US dollars.

    Attributes:
        usd_per_million_without: Without.
        usd_per_million: With it: computing what was not found, looking up, and memory.
        memory_usd_per_million: The part of it that memory costs.
    """

    usd_per_million_without: float
    usd_per_million: float
    memory_usd_per_million: float

    @property
    def pays(self) -> bool:
        """Whether it costs less with the cache."""
        return self.usd_per_million < self.usd_per_million_without


def memory_usd_per_hour(max_entries: int, entry_bytes: int, usd_per_gib_hour: float) -> float:
    """Price of a cache's memory: `max_entries * entry_bytes / 2**30 * usd_per_gib_hour`.

    Args:
        max_entries: Answers that are kept, >= 0.
        entry_bytes: Memory of one, key included, >= 0.
        usd_per_gib_hour: Price of a GiB of memory for an hour, >= 0.

    Raises:
        ValueError: A figure is negative or not finite.

    Example:
        >>> memory_usd_per_hour(max_entries=2**20, entry_bytes=1024, usd_per_gib_hour=0.004)
        0.004
    """
    _need_not_negative(max_entries=max_entries, entry_bytes=entry_bytes, usd_per_gib_hour=usd_per_gib_hour)
    return max_entries * entry_bytes / GIB * usd_per_gib_hour


def cache_worth(
    hit_share: float,
    usd_per_million_without: float,
    lookup_s: float,
    usd_per_hour: float,
    memory_usd_hour: float,
    rate_rps: float,
) -> CacheWorth:
    """What answers cost with a cache: `(1 - hits) * without + lookup + memory`.

    Every request is looked up, found or not: `lookup_s / 3600 * usd_per_hour * 1e6` for a million of them, as if the
    whole machine stood still meanwhile, so that the cache is never flattered. Memory is paid by the hour, so that it
    weighs the less the more requests share it: `memory_usd_hour / (rate_rps * 3600) * 1e6`.

    Args:
        hit_share: Share of requests that find their answer, 0 to 1.
        usd_per_million_without: Cost of a million computed answers, > 0.
        lookup_s: Seconds for making a key and looking it up, >= 0.
        usd_per_hour: Price of the machine, > 0.
        memory_usd_hour: Price of the cache's memory (`memory_usd_per_hour`), >= 0.
        rate_rps: Requests a second that share the cache, > 0.

    Returns:
        Both costs: the caller leaves out a cache that does not pay.

    Raises:
        ValueError: A figure is out of its range.

    Example:
        >>> worth = cache_worth(0.4, 2.0, lookup_s=1e-5, usd_per_hour=0.09, memory_usd_hour=0.001, rate_rps=10.0)
        >>> round(worth.usd_per_million, 4), worth.pays
        (1.228, True)
    """
    if not 0 <= hit_share <= 1:
        raise ValueError(f"hit_share must lie between 0 and 1, found {hit_share}")
    _need_not_negative(lookup_s=lookup_s, memory_usd_hour=memory_usd_hour)
    for name, value in (
        ("usd_per_million_without", usd_per_million_without),
        ("usd_per_hour", usd_per_hour),
        ("rate_rps", rate_rps),
    ):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number, found {value}")
    memory_usd = memory_usd_hour / (rate_rps * SECONDS_PER_HOUR) * MILLION
    lookup_usd = lookup_s / SECONDS_PER_HOUR * usd_per_hour * MILLION
    with_usd = (1 - hit_share) * usd_per_million_without + lookup_usd + memory_usd
    return CacheWorth(usd_per_million_without, with_usd, memory_usd)


def _inversions(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many elements before each one are larger: int64[n]; `values` >= 0."""
    counts = np.zeros(len(values), dtype=np.int64)
    place = np.arange(len(values))
    # From the top bit down, elements stand in groups of equal higher bits, each group in the first order: what is
    # before an element, in its group and has the bit that it lacks is larger, and is met at no other bit.
    for bit in reversed(range(int(values.max(initial=0)).bit_length())):
        ones = (values >> bit) & 1
        group = values >> (bit + 1)
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        sizes = np.diff(starts, append=len(values))
        seen = np.cumsum(ones) - ones
        seen -= np.repeat(seen[starts], sizes)
        zero = ones == 0
        counts[place[zero]] += seen[zero]
        within = np.arange(len(values)) - np.repeat(starts, sizes)
        zeros = np.repeat(sizes - np.add.reduceat(ones, starts), sizes)
        target = np.repeat(starts, sizes) + np.where(zero, within - seen, zeros + seen)
        moved, moved_place = np.empty_like(values), np.empty_like(place)
        moved[target], moved_place[target] = values, place
        values, place = moved, moved_place
    return counts


def _add_text(digest: Any, text: str) -> None:
    encoded = text.encode("utf-8", "surrogatepass")
    digest.update(len(encoded).to_bytes(8, "little"))
    digest.update(encoded)


def _add_array(digest: Any, name: str, array: Array, step: float | None) -> None:
    kind = array.dtype.kind
    _add_text(digest, "text" if kind in "OU" else array.dtype.newbyteorder("<").str)
    _add_text(digest, ",".join(map(str, array.shape)))
    _add_text(digest, "" if step is None else repr(float(step)))
    if kind in "OU":
        for value in array.ravel().tolist():
            if value is None:
                digest.update(b"\x00")
            elif isinstance(value, str):
                digest.update(b"\x01")
                _add_text(digest, value)
            else:
                raise TypeError(f"input {name!r} holds {type(value).__name__} {value!r}, needed text or None")
        return
    if kind not in "biufc":
        raise TypeError(f"input {name!r} holds {array.dtype}, needed booleans, numbers or text")
    if step is not None and (kind in "fc" or step > 1):
        with np.errstate(over="ignore"):
            array = np.rint(array / (step if kind == "c" else np.float64(step)))
        kind = array.dtype.kind
    if kind in "fc":
        array = _one_bit_pattern(array)
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest.update(plain.reshape(-1).view(np.uint8))


def _one_bit_pattern(array: Array) -> Array:
    """Floats with one zero and one NaN."""
    if array.dtype.kind == "c":
        parts = np.stack([array.real, array.imag], axis=-1)
        return _one_bit_pattern(parts)
    array = array + array.dtype.type(0)  # -0.0 + 0.0 is 0.0
    missing = np.isnan(array)
    if missing.any():
        array[missing] = np.nan
    return array


def _check_steps(steps: Mapping[str, float], inputs: Mapping[str, Array]) -> None:
    for name, step in steps.items():
        if name not in inputs:
            raise ValueError(
                f"a step is given for the input {name!r}, found only {', '.join(sorted(inputs)) or 'none'}"
            )
        if not 0 < step < math.inf:
            raise ValueError(f"the step of input {name!r} must be a positive number, found {step}")
        if np.asarray(inputs[name]).dtype.kind not in "iufc":
            raise ValueError(f"a step is given for the input {name!r}, which holds no numbers")


def _need_not_negative(**figures: float) -> None:
    for name, value in figures.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a number that is 0 or more, found {value}")
