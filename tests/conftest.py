"""What tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real models, data, traces and prices that lies beside the project; the test skips without it."""
    folder = Path(os.environ.get("EQUIPOISE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set EQUIPOISE_DATA to the folder that holds it")
    return folder
