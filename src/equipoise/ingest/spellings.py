"""How people write margins, durations, sizes and names: one parser each, shared by the options and the TOML brief."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from equipoise.core.brief import OodSet, OwnedMachine
from equipoise.core.certificate import Margin
from equipoise.errors import BriefError

BYTES_PER_MB = 1_000_000
NAMES_SUFFIX = ".txt"
MIN_BUDGET_S = 10.0
MAIN_POPULATION = "main"
SECONDS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
OWNED_KEYS = ("capex_usd", "months", "watts", "usd_per_kwh")

METRICS = (
    "accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "f1_binary", "auroc", "log_loss", "ece",
    "mae", "rmse", "r2", "agreement", "none",
)  # fmt: skip
PERSONS_METRIC = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def fail(where: str, found: object, needed: str) -> NoReturn:
    """Refuse a value, quoting it as it was found.

    Raises:
        BriefError: Always.
    """
    shown = repr(found) if not isinstance(found, str) else f'"{found}"'
    raise BriefError(where, f"found {shown}", needed)


def text(value: Any, where: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        fail(where, value, "needed a text that is not empty")
    return value


def class_name(value: Any, where: str) -> str:
    """A class, which TOML may spell as a number."""
    return text(str(value) if isinstance(value, int) and not isinstance(value, bool) else value, where)


def flag(value: Any, where: str) -> bool:
    """Either true or false."""
    if not isinstance(value, bool):
        fail(where, value, "needed true or false, without quotes")
    return value


def whole_number(value: Any, where: str) -> int:
    """A whole number that is not negative, as a seed is."""
    if isinstance(value, str) and re.fullmatch(r"\d+", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        fail(where, value, "needed a whole number from 0 to 4294967295")
    return value


def number(value: Any, where: str, needed: str = "needed a number") -> float:
    """A finite number, as TOML or an option spells it."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            fail(where, value, needed)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        fail(where, value, needed)
    return float(value)


def share(value: Any, where: str) -> float:
    """A share between 0 and 1, both left out."""
    found = number(value, where, "needed a number between 0 and 1, such as 0.2")
    if not 0 < found < 1:
        fail(where, value, "needed a number between 0 and 1, such as 0.2")
    return found


def positive(unit: str, factor: float = 1.0) -> Callable[[Any, str], float]:
    """A parser of numbers above 0 in `unit`, multiplied by `factor`.

    Example:
        >>> positive("milliseconds", 1e-3)("30", "--p99-ms")
        0.03
    """

    def parse(value: Any, where: str) -> float:
        needed = f"needed a number above 0, in {unit}"
        found = number(value, where, needed)
        if found <= 0:
            fail(where, value, needed)
        return found * factor

    return parse


def not_negative(unit: str, factor: float = 1.0) -> Callable[[Any, str], float]:
    """A parser of numbers that are 0 or more in `unit`, multiplied by `factor`."""

    def parse(value: Any, where: str) -> float:
        needed = f"needed a number that is 0 or more, in {unit}"
        found = number(value, where, needed)
        if found < 0:
            fail(where, value, needed)
        return found * factor

    return parse


def usd_per_error(value: Any, where: str) -> float | dict[str, float]:
    """The price of an error: a number, or one for each true class (a table in TOML, `fraud=5,ok=0.1` in an option).

    Example:
        >>> usd_per_error("fraud=5,ok=0.1", "--usd-per-error")
        {'fraud': 5.0, 'ok': 0.1}
    """
    price = not_negative("US dollars")
    if isinstance(value, str) and "=" in value:
        pairs = [part.rpartition("=") for part in value.split(",")]
        repeated = sorted({name for name, _, _ in pairs if [other for other, _, _ in pairs].count(name) > 1})
        if repeated:
            raise BriefError(where, f"found {', '.join(repeated)} more than once", "needed each class once")
        value = {name.strip(): usd for name, _, usd in pairs}
    if not isinstance(value, dict):
        return price(value, where)
    if not value or not all(value):
        fail(where, value, "needed a number, or true classes and their prices, such as fraud=5,ok=0.1")
    return {name: price(usd, f"{where}.{name}") for name, usd in value.items()}


def memory_bytes(value: Any, where: str) -> int:
    """Megabytes (of 1,000,000 bytes) to bytes."""
    return round(positive("megabytes", BYTES_PER_MB)(value, where))


def confidence(value: Any, where: str) -> float:
    """A probability from 0.5 up to, not including, 1."""
    needed = "needed a probability of at least 0.5 and below 1, such as 0.95"
    found = number(value, where, needed)
    if not 0.5 <= found < 1:
        fail(where, value, needed)
    return found


def duration_s(value: Any, where: str) -> float:
    """Seconds from `90`, `300s`, `5m` or `1h`.

    Example:
        >>> duration_s("5m", "--budget")
        300.0
    """
    needed = f"needed a duration of at least {MIN_BUDGET_S:g} s, such as 90, 300s, 5m or 1h"
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", value)
        if match is None or match[2] not in SECONDS:
            fail(where, value, needed)
        found = float(match[1]) * SECONDS[match[2]]
    else:
        found = number(value, where, needed)
    if found < MIN_BUDGET_S:
        fail(where, value, needed)
    return found


def margin(value: Any, where: str) -> Margin:
    """A largest drop: `0.01` in the metric's units, or `2%` as a share of the baseline's figure.

    Example:
        >>> margin("2%", "--max-drop")
        Margin(drop=0.02, relative=True)
    """
    needed = "needed a number that is 0 or more, such as 0.01, or a share of the original's figure, such as 2%"
    relative = isinstance(value, str) and value.strip().endswith("%")
    found = number(value.strip()[:-1], where, needed) / 100 if relative else number(value, where, needed)
    if found < 0:
        fail(where, value, needed)
    if relative and found >= 1:
        fail(where, value, "needed a share below 100%: losing all of the original's quality is no limit")
    return Margin(drop=found, relative=relative)


def metric(value: Any, where: str) -> str:
    """A known metric, or a person's own as `module:function`."""
    found = text(value, where)
    if found in METRICS or PERSONS_METRIC.fullmatch(found):
        return found
    known = ", ".join(METRICS)
    fail(where, value, f"{suggestion(found, METRICS)}needed one of {known}, or your own module:function")


def one_of(*choices: str) -> Callable[[Any, str], str]:
    """A parser that accepts just these words."""

    def parse(value: Any, where: str) -> str:
        if value not in choices:
            hint = suggestion(value, choices) if isinstance(value, str) else ""
            fail(where, value, f"{hint}needed one of {', '.join(choices)}")
        return str(value)

    return parse


def names(value: Any, where: str) -> tuple[str, ...]:
    """Different names in order: a list in TOML, `a,b,c` in an option."""
    needed = "needed different names: a list of texts in TOML, separated by commas in an option"
    found = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or not found:
        fail(where, value, needed)
    if not all(isinstance(name, str) and name for name in found):
        fail(where, value, needed)
    repeated = sorted({name for name in found if found.count(name) > 1})
    if repeated:
        raise BriefError(where, f"found {', '.join(repeated)} more than once", needed)
    return tuple(found)


def class_names(value: Any, where: str) -> tuple[str, ...]:
    """Different classes in order, which TOML may spell as numbers; or the path of a text file with one a line."""
    if isinstance(value, str) and value.endswith(NAMES_SUFFIX):
        return names(_lines(Path(value), where), where)
    return names([class_name(name, where) for name in value] if isinstance(value, list) else value, where)


def _lines(path: Path, where: str) -> list[str]:
    try:
        return [line for text in path.read_text(encoding="utf-8-sig").splitlines() if (line := text.strip())]
    except (OSError, UnicodeDecodeError) as error:
        raise BriefError(where, f"{path} cannot be read ({error})", "needed a text file with one name a line") from None


def paths(value: Any, where: str) -> tuple[str, ...]:
    """Paths: a list in TOML, a repeated option on the command line."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)):
        fail(where, value, "needed a list of paths")
    return tuple(text(path, where) for path in found)


def slices(value: Any, where: str) -> dict[str, Margin]:
    """Column to margin: a table in TOML, `COL:max_drop` for each `--slice`."""
    if isinstance(value, dict):
        return {column: margin(drop, f"{where}.{column}") for column, drop in value.items()}
    found: dict[str, Margin] = {}
    for spelling in _spellings(value, where, "COL:max_drop, such as sex:0.01"):
        column, separator, drop = spelling.rpartition(":")
        if not separator or not column:
            fail(where, spelling, "needed COL:max_drop, such as sex:0.01")
        if column in found:
            raise BriefError(where, f"found column {column!r} twice", "needed each column once")
        found[column] = margin(drop, f"{where} {column}")
    return found


def ood_sets(value: Any, where: str) -> dict[str, OodSet]:
    """Name to out-of-distribution set: tables in TOML, `NAME=PATH:max_drop` for each `--ood`."""
    if isinstance(value, dict):
        found = {name: _ood_table(table, f"{where}.{name}") for name, table in value.items()}
    else:
        found = {}
        for spelling in _spellings(value, where, "NAME=PATH:max_drop, such as winter=winter.npz:0.02"):
            name, equals, rest = spelling.partition("=")
            path, colon, drop = rest.rpartition(":")
            if not (equals and colon and name and path):
                fail(where, spelling, "needed NAME=PATH:max_drop, such as winter=winter.npz:0.02")
            if name in found:
                raise BriefError(where, f"found the name {name!r} twice", "needed a name of its own for each set")
            found[name] = OodSet(path=path, max_drop=margin(drop, f"{where} {name}"))
    if MAIN_POPULATION in found:
        raise BriefError(where, f"found the name {MAIN_POPULATION!r}", "needed another: it means the rows of --data")
    return found


def owned_machine(value: Any, where: str) -> OwnedMachine:
    """A machine of one's own: a table in TOML, `capex,months,watts,usd_per_kwh` in an option."""
    needed = f"needed the four numbers {', '.join(OWNED_KEYS)}, the first two above 0, such as 2400,36,180,0.15"
    if isinstance(value, str):
        parts = value.split(",")
        if len(parts) != len(OWNED_KEYS):
            fail(where, value, needed)
        value = dict(zip(OWNED_KEYS, parts, strict=True))
    if not isinstance(value, dict):
        fail(where, value, needed)
    refuse_unknown(value, OWNED_KEYS, where)
    missing = [key for key in OWNED_KEYS if key not in value]
    if missing:
        raise BriefError(where, f"found no {', '.join(missing)}", needed)
    found = {key: number(value[key], f"{where}.{key}", needed) for key in OWNED_KEYS}
    if found["capex_usd"] <= 0 or found["months"] <= 0 or found["watts"] < 0 or found["usd_per_kwh"] < 0:
        fail(where, ",".join(f"{figure:g}" for figure in found.values()), needed)
    return OwnedMachine(**found)


def suggestion(found: str, known: Sequence[str]) -> str:
    """`did you mean ...? ` where a known word is close, else nothing."""
    from difflib import get_close_matches

    by_end = [word for word in known if word.rpartition(".")[2] == found.rpartition(".")[2]]
    close = by_end or get_close_matches(found, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}? " if close else ""


def refuse_unknown(table: dict[str, Any], known: Sequence[str], where: str) -> None:
    """Refuse a table with a key that is not known, naming the closest one that is.

    Raises:
        BriefError: There is such a key.
    """
    for key in table:
        if key not in known:
            raise BriefError(
                f"{where}.{key}", "found an unknown key", f"{suggestion(key, known)}needed one of {', '.join(known)}"
            )


def _ood_table(table: Any, where: str) -> OodSet:
    needed = "needed a table with path and max_drop"
    if not isinstance(table, dict):
        fail(where, table, needed)
    refuse_unknown(table, ("path", "max_drop"), where)
    missing = [key for key in ("path", "max_drop") if key not in table]
    if missing:
        raise BriefError(where, f"found no {' and no '.join(missing)}", needed)
    return OodSet(path=text(table["path"], f"{where}.path"), max_drop=margin(table["max_drop"], f"{where}.max_drop"))


def _spellings(value: Any, where: str, needed: str) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, (list, tuple)) or not all(isinstance(spelling, str) for spelling in value):
        fail(where, value, f"needed {needed}")
    return list(value)
