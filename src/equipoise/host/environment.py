"""The machine as this process may use it: its affinity and its cgroup's quota, never the host's size."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from equipoise.core.environment import Environment

COMPUTING_LIBRARIES = ("nncf", "numpy", "onnx", "onnxruntime", "openvino", "scikit-learn", "skl2onnx", "torch")
INFERENCE_FLAGS = frozenset(
    {
        "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
        "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16",
        "asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve", "sve2",
    }
)  # fmt: skip
CGROUP = Path("/sys/fs/cgroup")


@cache
def environment() -> Environment:
    """Describe this machine and the installed libraries that compute."""
    cpu_model, flags = _cpu()
    return Environment(
        cpu_model=cpu_model,
        cpu_flags=tuple(sorted(flags & INFERENCE_FLAGS)),
        cores=cores(),
        memory_bytes=memory_bytes(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        libraries={name: found for name in COMPUTING_LIBRARIES if (found := _version(name)) is not None},
    )


def cores(cgroup: Path = CGROUP) -> int:
    """Whole cores that this process may use, at least 1: its affinity, bounded by its cgroup's CPU quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = _cpu_quota(cgroup)
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def memory_bytes(cgroup: Path = CGROUP) -> int:
    """Bytes of memory that this process may use: the machine's, bounded by its cgroup's limit."""
    total = int(psutil.virtual_memory().total)
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroup v2, v1
        text = _read(cgroup / name)
        if text is not None and text.isdigit():
            return min(total, int(text))
    return total


def _cpu_quota(cgroup: Path) -> float | None:
    text = _read(cgroup / "cpu.max")
    if text is not None:
        quota, _, period = text.partition(" ")
        return None if quota == "max" else int(quota) / int(period or 100_000)
    quota_us, period_us = _read(cgroup / "cpu/cpu.cfs_quota_us"), _read(cgroup / "cpu/cpu.cfs_period_us")
    if quota_us is None or period_us is None or int(quota_us) <= 0:
        return None
    return int(quota_us) / int(period_us)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _cpu() -> tuple[str, set[str]]:
    text = _read(Path("/proc/cpuinfo"))
    if text is None:
        return platform.processor() or platform.machine(), set()
    model, flags = platform.machine(), set[str]()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        elif key.strip() in ("flags", "Features"):
            flags = set(value.split())
            break
    return model, flags


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
