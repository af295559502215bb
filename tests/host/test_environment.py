"""Cores and memory come from the process's affinity and its cgroup, never from the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from equipoise.host.environment import cores, environment, memory_bytes


@pytest.mark.parametrize(("quota", "expected"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)])
def test_quota_of_cgroup_v2_bounds_cores(tmp_path: Path, quota: str, expected: int | None) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert cores(tmp_path) == (expected or len(os.sched_getaffinity(0)))


def test_quota_of_cgroup_v1_bounds_cores(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert cores(tmp_path) == 1
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1")
    assert cores(tmp_path) == len(os.sched_getaffinity(0))


def test_limit_of_cgroup_bounds_memory(tmp_path: Path) -> None:
    unlimited = memory_bytes(tmp_path)
    (tmp_path / "memory.max").write_text("1048576")
    assert memory_bytes(tmp_path) == 1048576
    (tmp_path / "memory.max").write_text("max")
    assert memory_bytes(tmp_path) == unlimited


def test_environment_names_the_libraries_that_compute() -> None:
    found = environment()
    assert {"onnxruntime", "openvino", "scikit-learn"} <= set(found.libraries)
    assert found.cores >= 1
    assert found.content_digest == environment().content_digest
