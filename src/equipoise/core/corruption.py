"""A corruption that a model is put to: which, how strong, and how much may be lost under it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from equipoise.core.certificate import Margin
from equipoise.core.noun import Noun

Family = Literal["images", "tables", "text"]

STRENGTHS = (1, 2, 3, 4, 5)
EVERY = "all"
FAMILY_OF: dict[str, Family] = {
    "gaussian_noise": "images",
    "shot_noise": "images",
    "impulse_noise": "images",
    "gaussian_blur": "images",
    "defocus_blur": "images",
    "motion_blur": "images",
    "contrast": "images",
    "brightness": "images",
    "jpeg": "images",
    "pixelate": "images",
    "missing_values": "tables",
    "unit_x10": "tables",
    "unit_x0.1": "tables",
    "offset": "tables",
    "category_typos": "tables",
    "typos": "text",
    "letter_case": "text",
    "dropped_words": "text",
}
"""Every corruption, and what it can be done to."""


class Corruption(Noun):
    """A corruption that rows of the data are put to, as a further set with a margin of its own.

    Attributes:
        name: A key of `FAMILY_OF`; in a brief also `all`, every one that the data can take.
        strength: 1 to 5; null for all five, a fifth of the rows each.
        max_drop: The loss that would be too much; null for the brief's own.
        blocks: Whether a candidate that does not prove the margin on this set is refused; else the set is only shown.
    """

    name: str
    strength: int | None = Field(default=None, ge=1, le=5)
    max_drop: Margin | None = None
    blocks: bool = True

    @property
    def set_name(self) -> str:
        """Name of the set of corrupted rows, unique among the sets of a study.

        >>> Corruption(name="jpeg").set_name, Corruption(name="jpeg", strength=3).set_name
        ('jpeg', 'jpeg:3')
        """
        return self.name if self.strength is None else f"{self.name}:{self.strength}"

    @classmethod
    def of_set(cls, set_name: str) -> Corruption:
        """The corruption that a set of corrupted rows was made by.

        >>> Corruption.of_set("jpeg:3").strength
        3
        """
        name, _, strength = set_name.partition(":")
        return cls(name=name, strength=int(strength) if strength else None)
