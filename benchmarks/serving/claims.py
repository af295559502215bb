"""What a benchmark claims: a figure, the bound it must keep, and a table that says which do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from equipoise.host.environment import environment


@dataclass(frozen=True)
class Claim:
    """A figure and its bound.

    Attributes:
        what: In words, with its unit.
        found: The figure.
        bound: What it must reach, or stay within.
        at_least: Whether the bound is a lower one.
    """

    what: str
    found: float
    bound: float
    at_least: bool

    @property
    def holds(self) -> bool:
        """Whether it keeps its bound; not a number keeps none."""
        return self.found >= self.bound if self.at_least else self.found <= self.bound

    @property
    def line(self) -> str:
        """A line of a table."""
        sign = ">=" if self.at_least else "<="
        word = "PASS" if self.holds else f"SHORT by {self._short:.1%}"
        return f"| {self.what} | {self.found:.4g} | {sign} {self.bound:.4g} | {word} |"

    @property
    def _short(self) -> float:
        return abs(self.found - self.bound) / abs(self.bound) if self.bound else abs(self.found)


def at_least(what: str, found: float, bound: float) -> Claim:
    """A figure that must reach a bound."""
    return Claim(what, float(found), float(bound), at_least=True)


def at_most(what: str, found: float, bound: float) -> Claim:
    """A figure that must stay within a bound."""
    return Claim(what, float(found), float(bound), at_least=False)


def options_of(what: str) -> argparse.ArgumentParser:
    """The options that every benchmark here has."""
    parser = argparse.ArgumentParser(description=what.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds of each: to see that it runs at all")
    parser.add_argument("--out", type=Path, help="JSON file for all figures (default: none)")
    return parser


def report(title: str, claims: Sequence[Claim], figures: dict[str, Any], options: argparse.Namespace) -> None:
    """Print the claims, and write all figures where a file was named."""
    print(f"\n## {title}{' (quick: too short to mean anything)' if options.quick else ''}\n")
    print("| claim | found | needed | |\n|---|---|---|---|")
    for claim in claims:
        print(claim.line)
    kept = sum(claim.holds for claim in claims)
    print(f"\n{kept} of {len(claims)} hold", flush=True)
    if options.out is not None:
        content = {
            "title": title,
            "quick": options.quick,
            "environment": environment().model_dump(),
            "claims": [asdict(claim) | {"holds": claim.holds} for claim in claims],
            "figures": figures,
        }
        options.out.write_text(json.dumps(content, indent=1, default=float) + "\n", encoding="utf-8")
