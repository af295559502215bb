"""How rows were divided, and what was found when they were."""

from __future__ import annotations

from equipoise.core.noun import Noun


class Duplicates(Noun):
    """Rows that repeat other rows.

    Attributes:
        exact: Rows that equal an earlier row.
        near: Rows that nearly equal an earlier row, and do not equal one.
        in_training: Rows that also stand in the training data, exactly or nearly; null where none was given.
        conflicting_targets: Rows that equal an earlier row and have another target.
    """

    exact: int
    near: int
    in_training: int | None
    conflicting_targets: int


class Splits(Noun):
    """Sizes of the three splits and the digest of the data they were drawn from.

    Attributes:
        calibrate: Rows that calibrations, and students of a teacher, may read.
        search: Rows that choose candidates and thresholds.
        certify: Rows that only the final test reads.
        groups_in_certify: Number of groups among the certify rows; null without a group column.
        data_digest: SHA-256 over the certify rows and their targets, in canonical order: the same rows have the same
            digest in whatever file and order they come.
        duplicates: Rows that repeat others; a row and its duplicates are always in one split.
    """

    calibrate: int
    search: int
    certify: int
    groups_in_certify: int | None
    data_digest: str
    duplicates: Duplicates
