"""What filling costs, where rows are token sequences of different lengths."""

from __future__ import annotations

from pydantic import Field

from equipoise.core.noun import Noun


class Padding(Noun):
    """Shares of the tokens computed that are filling, in batches of the plan's size.

    Attributes:
        rows: Rows that were looked at.
        tokens_mean: Tokens of a row, on average.
        tokens_longest: Tokens of the longest row.
        batch: Rows of a batch.
        to_longest_row: Share, were every row filled up to the longest of the data.
        to_longest_of_batch: Share, were every row filled up to the longest of its batch, batches as rows come.
        as_run: Share as it is run: a batch divided by length.
        by_length: Share where rows can be put in order first, as when a file is answered.
    """

    rows: int = Field(ge=1)
    tokens_mean: float = Field(ge=1)
    tokens_longest: int = Field(ge=1)
    batch: int = Field(ge=1)
    to_longest_row: float = Field(ge=0, lt=1)
    to_longest_of_batch: float = Field(ge=0, lt=1)
    as_run: float = Field(ge=0, lt=1)
    by_length: float = Field(ge=0, lt=1)
