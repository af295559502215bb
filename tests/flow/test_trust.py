"""What lets a file run code is said on the command line, each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equipoise.errors import BriefError, ModelError
from equipoise.flow.optimize import optimize_from
from equipoise.ingest.brief import brief_from_options


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """A study of a pickle, begun with --trust and stopped before it ended."""
    (tmp_path / "model.pkl").write_bytes(b"no pickle")
    np.savez(tmp_path / "data.npz", x=np.zeros((60, 2)), label=np.arange(60) % 2)
    brief = brief_from_options(model=tmp_path / "model.pkl", data=tmp_path / "data.npz", trust=True)
    (tmp_path / "out" / "study").mkdir(parents=True)
    (tmp_path / "out" / "study" / "brief.json").write_text(brief.model_dump_json())
    return tmp_path / "out"


def test_to_go_on_with_a_study_of_a_pickle_takes_trust_again(started: Path) -> None:
    for options in ({}, {"trust": False}):
        with pytest.raises(BriefError, match=r"--resume .*model\.pkl.*give --trust again"):
            optimize_from(None, options, resume=started)
    with pytest.raises(ModelError, match=r"model\.pkl: cannot be opened"):  # now it was
        optimize_from(None, {"trust": True}, resume=started)
