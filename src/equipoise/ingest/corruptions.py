"""How people write corruptions: `--corrupt NAME[:strength][:max_drop]`, or `[[corrupt]]` in the brief."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equipoise.core.corruption import EVERY, FAMILY_OF, STRENGTHS, Corruption
from equipoise.errors import BriefError
from equipoise.ingest.spellings import fail, margin, refuse_unknown, suggestion

SPELLING = "NAME[:strength][:max_drop], such as gaussian_noise, jpeg:3 or missing_values:0.02"
REPORT = "report"
ALL_STRENGTHS = "all"
KEYS = ("name", "strength", "max_drop")
SCHEMA: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "name": {"enum": [EVERY, *FAMILY_OF]},
            "strength": {"enum": [ALL_STRENGTHS, *STRENGTHS]},
            "max_drop": {
                "anyOf": [
                    {"const": REPORT},
                    {"type": "number", "minimum": 0},
                    {"type": "string", "pattern": r"^\s*\d+(\.\d+)?([eE]-?\d+)?\s*%?\s*$"},
                ]
            },
        },
        "required": ["name"],
        "additionalProperties": False,
    },
}


def corruptions(value: Any, where: str) -> tuple[Corruption, ...]:
    """Corruptions in the order in which they are asked for: tables in TOML, a repeated option on the command line.

    Raises:
        BriefError: One is unknown, has another strength than 1 to 5, or stands there twice.

    Example:
        >>> corruptions(["jpeg:3:0.02"], "--corrupt")
        (Corruption(name='jpeg', strength=3, max_drop=Margin(drop=0.02, relative=False), blocks=True),)
    """
    spelt: Sequence[Any] = [value] if isinstance(value, (str, dict)) else value
    if not isinstance(spelt, (list, tuple)):
        fail(where, value, f"needed {SPELLING}; in a file, tables [[corrupt]] with {', '.join(KEYS)}")
    found = tuple(_corruption(each if isinstance(each, dict) else _parts(each, where), where) for each in spelt)
    names = [each.set_name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise BriefError(where, f"found {name} twice", "needed each corruption and strength once")
    return found


def _parts(spelling: Any, where: str) -> dict[str, Any]:
    if not isinstance(spelling, str):
        fail(where, spelling, f"needed {SPELLING}")
    parts = spelling.split(":")
    if len(parts) > len(KEYS):
        fail(where, spelling, f"needed {SPELLING}")
    # A whole number from 1 to 5 is a strength: no loss of a share is that large.
    if len(parts) == 2 and parts[1].strip() not in (ALL_STRENGTHS, *map(str, STRENGTHS)):
        parts.insert(1, ALL_STRENGTHS)
    return dict(zip(KEYS, parts, strict=False))


def _corruption(table: dict[str, Any], where: str) -> Corruption:
    refuse_unknown(table, KEYS, where)
    name, strength, drop = (table.get(key) for key in KEYS)
    if name != EVERY and name not in FAMILY_OF:
        hint = suggestion(name, list(FAMILY_OF)) if isinstance(name, str) else ""
        fail(where, name, f"{hint}needed {EVERY} or one of {', '.join(FAMILY_OF)}")
    number = None
    if strength is not None and str(strength).strip() != ALL_STRENGTHS:
        if isinstance(strength, bool) or str(strength).strip() not in map(str, STRENGTHS):
            fail(f"{where} {name}", strength, f"needed a strength from 1 to 5, or {ALL_STRENGTHS}; as {SPELLING}")
        number = int(strength)
    if drop == REPORT:
        return Corruption(name=name, strength=number, blocks=False)
    return Corruption(name=name, strength=number, max_drop=None if drop is None else margin(drop, f"{where} {name}"))
