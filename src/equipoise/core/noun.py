"""What every noun shares: it is frozen, refuses unknown keys, and has a digest of its content."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict


class Noun(BaseModel):
    """A frozen record that round-trips through JSON.

    Two nouns with the same content have the same digest, in any process and on any machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def content_digest(self) -> str:
        """SHA-256 of the canonical JSON form (keys in declared order, no spaces), as 64 hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
