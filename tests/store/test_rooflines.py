from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from equipoise.core.estimate import Estimate
from equipoise.core.roofline import Peak, Roofline
from equipoise.errors import BriefError
from equipoise.store.rooflines import keep_roofline, kept_roofline


def roofline(threads: int = 2, flops_per_s: float = 1e11) -> Roofline:
    def measured(value: float) -> Estimate:
        return Estimate(value=value, low=None, high=None, n=1, method="")

    peak = Peak(precision="f32", flops_per_s=measured(flops_per_s), runtime="openvino")
    return Roofline(environment="e" * 64, threads=threads, peaks=(peak,), bytes_per_s=measured(1e10))


def test_a_roofline_is_kept_by_environment_and_threads(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    assert kept_roofline("e" * 64, 2, url) is None
    keep_roofline(roofline(2), url)
    keep_roofline(roofline(1, 5e10), url)
    assert kept_roofline("e" * 64, 2, url) == roofline(2)
    assert kept_roofline("e" * 64, 1, url) == roofline(1, 5e10)
    assert kept_roofline("f" * 64, 2, url) is None
    keep_roofline(roofline(2, 2e11), url)
    assert kept_roofline("e" * 64, 2, url) == roofline(2, 2e11)


def test_one_of_another_layout_is_measured_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    keep_roofline(roofline(), url)
    with sqlite3.connect(tmp_path / "store.db") as store:
        store.execute("update rooflines set roofline = '{}'")
    store.close()
    assert kept_roofline("e" * 64, 2, url) is None


def test_a_store_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("no database at all, though long enough to be taken for the header of one" * 9)
    with pytest.raises(BriefError, match="EQUIPOISE_STORE"):
        kept_roofline("e" * 64, 2, f"sqlite:///{tmp_path / 'store.db'}")
    with pytest.raises(BriefError, match="EQUIPOISE_STORE"):
        keep_roofline(roofline(), "nonsense://")
