"""Studies whose answer is made of several models: what is chosen, proved, written and served."""

from __future__ import annotations

from typing import Any


def test_a_cascade_is_found_proved_and_written(study: Any) -> None:
    ended = study("cascade")
    print(ended.result.model_dump_json(indent=1))
    for failure in ended.result.rejected:
        print(failure.name, failure.reason)
    assert ended.result.chosen.stages
