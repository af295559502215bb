"""What is kept of each served request: the columns of an observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

VERSION = 1
"""Of the columns: one more for each that comes or goes. Readers take all versions up to this one."""
VERSION_KEY = b"equipoise_observation"


@dataclass(frozen=True)
class Column:
    """A column of observations.

    Attributes:
        name: Its name.
        type: Its Arrow type.
        meaning: What it says, and when it is null.
        nullable: Whether it may be null.
    """

    name: str
    type: Any
    meaning: str
    nullable: bool = True


INPUT = pa.struct(
    [("name", pa.string()), ("datatype", pa.string()), ("shape", pa.list_(pa.int64())), ("data", pa.binary())]
)
COLUMNS = (
    Column("time", pa.timestamp("us", tz="UTC"), "When it was over.", nullable=False),
    Column("request_id", pa.string(), "Its name in headers and logs; null outside of a server."),
    Column("client_id", pa.string(), "What the request itself said that it is called; null for nothing."),
    Column("key", pa.string(), "Name of the key that it came with; null without keys."),
    Column("model", pa.string(), "What it asked.", nullable=False),
    Column("version", pa.string(), "Of that model.", nullable=False),
    Column("plan", pa.string(), "Digest of the plan that answered.", nullable=False),
    Column("outcome", pa.string(), "What became of it: `answered`, or why not.", nullable=False),
    Column("rows", pa.int32(), "Rows that it asked about.", nullable=False),
    Column("stages", pa.list_(pa.int16()), "Numbers of the stages that were asked, in order, from 1.", nullable=False),
    Column("total_s", pa.float64(), "Seconds from its arrival to its end.", nullable=False),
    Column("queued_s", pa.float64(), "Of those, seconds in queues.", nullable=False),
    Column("computing_s", pa.float64(), "Of those, seconds in batches.", nullable=False),
    Column("cached", pa.bool_(), "Whether its answer was remembered.", nullable=False),
    Column("joined", pa.bool_(), "Whether it waited for an equal request's answer.", nullable=False),
    Column("degraded", pa.bool_(), "Whether the plan's fallback answered.", nullable=False),
    Column("untrusted_rows", pa.int32(), "Rows whose answers the plan does not trust; null without an answer."),
    Column("confidence_min", pa.float32(), "Least confidence of its rows; null where none has one."),
    Column("confidence_mean", pa.float32(), "Mean confidence of its rows; null where none has one."),
    Column("answered_by", pa.list_(pa.int16()), "Stage that answered each row, from 1; null without an answer."),
    Column("confidences", pa.list_(pa.float32()), "Confidence of each row, of the stage that answered it."),
    Column("labels", pa.list_(pa.string()), "Label of each row; null in it where that is left to a person."),
    Column("values", pa.list_(pa.float64()), "Numbers of each row, row by row, of a model that predicts numbers."),
    Column("inputs", pa.list_(INPUT), "What it asked about, as binary tensors; null unless that is asked for."),
    Column("share", pa.float64(), "Share of requests that were kept when it was, 0 to 1.", nullable=False),
)
OBSERVATION = pa.schema(
    [pa.field(each.name, each.type, each.nullable) for each in COLUMNS], metadata={VERSION_KEY: str(VERSION).encode()}
)
