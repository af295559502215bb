"""What an hour of a machine costs: given, looked up, derived, or assumed and labelled so.

Prices that are looked up come from a table shipped with the package, dated and sourced, and from the person's own
table, which `import_prices` fills and which goes first.
"""

from __future__ import annotations

import csv
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from datetime import date
from difflib import get_close_matches
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.core.brief import HardwareBrief
from equipoise.core.environment import Environment
from equipoise.core.price import Price
from equipoise.errors import BriefError, DataError
from equipoise.policy.cost import owned_usd_per_hour

if TYPE_CHECKING:
    import _csv

ARM = frozenset({"arm64", "aarch64"})
REFERENCE = {False: ("aws:c7i.", "aws:c7a.medium"), True: ("aws:c7g.",)}
"""By whether the machine is an ARM one: the instances whose price is assumed where none is given."""

NAME = ("name", "instance_type")
VCPUS = ("vcpus", "vcpu")
PRICE_PREFIX = "usd_per_hour"
AWS_COLUMNS = frozenset({"instance_type", "vcpu", "memory_mib", "arch", "cpu_manufacturer", "gpu_name", "network_mbps"})
NEEDED_COLUMNS = (
    "needed are `name` or `instance_type`, `vcpus`, and a price column whose name starts with `usd_per_hour`"
)


@dataclass(frozen=True)
class InstancePrice:
    """A row of a price table.

    Attributes:
        name: Provider and instance type, `aws:c7i.large`.
        vcpus: Virtual CPUs.
        memory_mib: Memory; null where the table does not say.
        arch: `amd64`, `arm64`; empty where the table does not say.
        gpu: Number and kind of GPUs, `1x t4`; empty for none.
        usd_per_hour: Price on demand.
        source: Who says so, and for which region.
        dated: Day it was true, ISO 8601.
    """

    name: str
    vcpus: int
    memory_mib: int | None
    arch: str
    gpu: str
    usd_per_hour: float
    source: str
    dated: str


def price_for(hardware: HardwareBrief, environment: Environment) -> Price:
    """Say what an hour of the machine costs, and where that figure comes from.

    A price that was given is taken as it is. An instance is looked up, the person's own table first. A machine of one's
    own costs its price spread over its life, and electricity. With none of the three, the price of a common
    compute instance with as many virtual CPUs as this machine has cores (the next larger one where there is none such)
    is assumed, and called that.

    Args:
        hardware: What the person said of it.
        environment: The machine that is measured on.

    Returns:
        The price, with its kind, source and date.

    Raises:
        BriefError: More than one of price, instance and owned machine was given, or the instance is in no table.
        DataError: The person's own table is damaged.
    """
    given = [key for key in ("usd_per_hour", "instance", "owned") if getattr(hardware, key) is not None]
    if len(given) > 1:
        raise BriefError("hardware", f"{' and '.join(given)} are given together", "give one of them")
    if hardware.usd_per_hour is not None:
        return Price(usd_per_hour=hardware.usd_per_hour, kind="given", source="given for this study")
    if hardware.owned is not None:
        owned = hardware.owned
        return Price(
            usd_per_hour=owned_usd_per_hour(owned),
            kind="owned",
            source=f"{owned.capex_usd:g} USD over {owned.months:g} months of 730.5 h, and {owned.watts:g} W at "
            f"{owned.usd_per_kwh:g} USD per kWh",
        )
    if hardware.instance is not None:
        found = _look_up(hardware.instance, known_prices())
        return _price(found, "instance", found.source)
    reference = _reference(environment)
    return _price(reference, "assumed", f"assumed, no price was given: {reference.name}, {reference.source}")


def extrapolation_note(price: Price, environment: Environment) -> str | None:
    """Say in what the priced machine differs from the one that was measured; null where nothing is known to differ.

    Args:
        price: Of the machine that will serve.
        environment: The machine that was measured on.

    Returns:
        A sentence with the formula that was used, or null.
    """
    if price.instance is None:
        return None
    cores = environment.cores
    differences = []
    if price.vcpus is not None and price.vcpus != cores:
        differences.append(f"has {price.vcpus} vCPU{'s' * (price.vcpus != 1)}, and this machine {cores}")
    row = next((row for row in known_prices() if row.name == price.instance), None)
    if row is not None and row.arch and (row.arch in ARM) != _is_arm(environment):
        differences.append(f"is {row.arch}, and this machine {environment.system.rpartition(' ')[2]}")
    if row is not None and row.gpu:
        differences.append(f"has a GPU ({row.gpu}) that was not used")
    if not differences:
        return None
    return (
        f"{price.instance} {'; it '.join(differences)}: costs are an extrapolation, its price for what this machine "
        "answered (usd_per_hour / (measured requests a second * 3600) * 1e6), not scaled to the difference; "
        "measure there to be sure"
    )


def known_prices() -> tuple[InstancePrice, ...]:
    """All prices that can be looked up, sorted by name: the shipped table, under the person's own.

    Raises:
        DataError: The person's own table is damaged.
    """
    shipped = files("equipoise.ingest").joinpath("prices.csv").read_text(encoding="utf-8")
    table = {row.name: row for row in _parse(shipped.splitlines(), "prices.csv", None, None)}
    own = own_table()
    if own.is_file():
        table.update((row.name, row) for row in _parse(_lines(own), str(own), None, None))
    return tuple(table[name] for name in sorted(table))


def import_prices(file: Path, provider: str | None = None, dated: str | None = None) -> int:
    """Merge a price list into the person's own table, which is looked in before the shipped one.

    A row replaces the row of the same name. Rows without a price (types that are not sold in the region) are left out.
    The table is replaced as a whole, so that nothing is lost if this is interrupted.

    Args:
        file: A CSV file with a header: `name` or `instance_type`; `vcpus` or `vcpu`; one price column whose name starts
            with `usd_per_hour`, anything after it naming the region; and if it has them `memory_mib`, `arch`, `gpu` (or
            `gpu_name` and `gpu_count`), `provider`, `source`, `dated`. Other columns are ignored.
        provider: Where the machines can be had, such as `aws`; null where the file says so, in a column `provider`, in
            its names (`aws:c7i.large`), or by being a list of AWS instance types with their usual columns.
        dated: Day on which the prices were true, ISO 8601; null for the file's column `dated`, or its name's date.

    Returns:
        How many prices were taken in.

    Raises:
        DataError: The file or a line of it cannot be used; nothing is taken in then.
    """
    if provider is not None and not re.fullmatch(r"[A-Za-z0-9_.-]+", provider):
        raise DataError("--provider", f"it is {provider!r}", "needed is a word, such as aws")
    in_name = re.search(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)", file.name)
    told = _day(dated, "--dated") if dated is not None else None
    named = _day(in_name.group(), str(file)) if in_name and told is None else None
    rows = list(_parse(_lines(file), str(file), provider, told, named))
    if not rows:
        raise DataError(str(file), "no row of it has a price", "needed is at least one")
    own = own_table()
    merged = {row.name: row for row in _parse(_lines(own), str(own), None, None)} if own.is_file() else {}
    merged.update((row.name, row) for row in rows)
    _replace(own, [merged[name] for name in sorted(merged)])
    return len(rows)


def own_table() -> Path:
    """Where the person's own prices are kept: `$EQUIPOISE_CONFIG`, else the user's configuration folder."""
    if folder := os.environ.get("EQUIPOISE_CONFIG"):
        return Path(folder) / "prices.csv"
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "equipoise" / "prices.csv"


def _look_up(instance: str, table: Iterable[InstancePrice]) -> InstancePrice:
    wanted = instance.strip().lower()
    by_name = {row.name.lower(): row for row in table}
    if wanted in by_name:
        return by_name[wanted]
    bare = [row.name for name, row in by_name.items() if name.partition(":")[2] == wanted]
    if len(bare) == 1:
        return by_name[bare[0].lower()]
    close = bare or [by_name[name].name for name in get_close_matches(wanted, by_name, n=3, cutoff=0.5)]
    found = "fits several instances" if bare else f"is none of the {len(by_name)} instances with a known price"
    suggestion = f"did you mean {' or '.join(close)}? " if close else ""
    raise BriefError(
        "--instance",
        f"{instance!r} {found}",
        f"{suggestion}`equipoise prices list` shows them all, `equipoise prices import` adds some",
    )


def _reference(environment: Environment) -> InstancePrice:
    """The smallest common compute instance with at least as many virtual CPUs as there are cores, else the largest."""
    shipped = files("equipoise.ingest").joinpath("prices.csv").read_text(encoding="utf-8")
    families = REFERENCE[_is_arm(environment)]
    rows = sorted(
        (row for row in _parse(shipped.splitlines(), "prices.csv", None, None) if row.name.startswith(families)),
        key=lambda row: row.vcpus,
    )
    return next((row for row in rows if row.vcpus >= environment.cores), rows[-1])


def _is_arm(environment: Environment) -> bool:
    return environment.system.lower().rpartition(" ")[2] in ARM


def _price(row: InstancePrice, kind: str, source: str) -> Price:
    return Price.model_validate(
        {
            "usd_per_hour": row.usd_per_hour,
            "kind": kind,
            "source": source,
            "dated": row.dated,
            "instance": row.name,
            "vcpus": row.vcpus,
            "memory_mib": row.memory_mib,
        }
    )


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(str(file), "there is no such file", "give the path of a CSV file of prices") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(file), f"it cannot be read ({error})", "needed is a CSV file in UTF-8") from None


def _parse(
    lines: Iterable[str], where: str, provider: str | None, dated: str | None, fallback_dated: str | None = None
) -> Iterator[InstancePrice]:
    """Rows of a price list; `dated` goes before a column of that name, `fallback_dated` after it."""
    reader = csv.reader(lines, skipinitialspace=True)
    header = [name.strip().lower() for name in next(_cells(reader, where), [])]
    column = _price_column(header, where)
    region = column.removeprefix(PRICE_PREFIX).strip("_").replace("_", "-")
    if provider is None and set(header) >= AWS_COLUMNS:
        provider = "aws"
    first_line: dict[str, int] = {}
    for cells in _cells(reader, where):
        line = f"{where}, line {reader.line_num}"
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise DataError(line, f"it has {len(cells)} cells", f"the header has {len(header)}")
        record = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        if not record[column]:
            continue
        name = _name(record, provider, line)
        if name.lower() in first_line:
            raise DataError(line, f"{name} is also in line {first_line[name.lower()]}", "keep one of the two")
        first_line[name.lower()] = reader.line_num
        day = dated or record.get("dated") or fallback_dated
        if day is None:
            raise DataError(line, "nothing says which day the prices are of", "give it with --dated YYYY-MM-DD")
        number = partial(_number, record, line=line)
        memory = number(("memory_mib",)) if record.get("memory_mib") else None
        yield InstancePrice(
            name=name,
            vcpus=_whole(number(VCPUS), VCPUS[0], line),
            memory_mib=None if memory is None else _whole(memory, "memory_mib", line),
            arch=record.get("arch", ""),
            gpu=record.get("gpu") or _gpu(record),
            usd_per_hour=number((column,)),
            source=record.get("source") or " ".join(part for part in (name.partition(":")[0], region) if part),
            dated=_day(day, line),
        )


def _cells(reader: _csv.Reader, where: str) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise DataError(f"{where}, line {reader.line_num}", f"it is not CSV ({error})", "repair the line") from None


def _price_column(header: list[str], where: str) -> str:
    repeated = sorted({name for name in header if header.count(name) > 1 and name})
    if repeated:
        raise DataError(f"{where}, line 1", f"more than one column is named {', '.join(repeated)}", "keep one of each")
    prices = [name for name in header if name.startswith(PRICE_PREFIX)]
    if not prices or not set(NAME) & set(header) or not set(VCPUS) & set(header):
        raise DataError(f"{where}, line 1", f"its columns are {', '.join(header) or 'none'}", NEEDED_COLUMNS)
    if len(prices) > 1:
        raise DataError(f"{where}, line 1", f"it has the prices {', '.join(prices)}", "keep the one that you pay")
    return prices[0]


def _name(record: dict[str, str], provider: str | None, line: str) -> str:
    name = next((record[key] for key in NAME if record.get(key)), "")
    if not name:
        raise DataError(line, "it names no instance", "needed is a name, such as c7i.large")
    before, colon, instance = name.partition(":")
    seller = before if colon else provider or record.get("provider", "")
    if not seller:
        raise DataError(line, f"nothing says who offers {name}", "give it with --provider, such as aws")
    return f"{seller.lower()}:{instance if colon else name}"


def _number(record: dict[str, str], names: tuple[str, ...], line: str) -> float:
    text = next((record[name] for name in names if record.get(name)), "")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise DataError(line, f"{names[0]} is {text!r}", "needed is a number above 0")
    return value


def _whole(value: float, name: str, line: str) -> int:
    if value != int(value):
        raise DataError(line, f"{name} is {value:g}", "needed is a whole number")
    return int(value)


def _gpu(record: dict[str, str]) -> str:
    return f"{record.get('gpu_count') or 1}x {record['gpu_name']}" if record.get("gpu_name") else ""


def _day(text: str, where: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise DataError(where, f"the date is {text!r}", "needed is a day, as YYYY-MM-DD") from None


def _replace(table: Path, rows: list[InstancePrice]) -> None:
    """Write the table beside itself and move it into place, so that a reader sees the old one or the new one."""
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=table.parent, prefix=".prices-", suffix=".csv", delete=False, encoding="utf-8", newline=""
        ) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([field.name for field in fields(InstancePrice)])
            writer.writerows(["" if cell is None else cell for cell in astuple(row)] for row in rows)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(table)
    except OSError as error:
        raise DataError(
            str(table), f"it cannot be written ({error})", "set EQUIPOISE_CONFIG to a folder that can"
        ) from None
