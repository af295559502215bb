"""What tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
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


@pytest.fixture(scope="session", autouse=True)
def own_register(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Studies of tests are noted in a register of their own, never in the person's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EQUIPOISE_STORE", f"sqlite:///{tmp_path_factory.mktemp('register') / 'store.db'}")
        yield
