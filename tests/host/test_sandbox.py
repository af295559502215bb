"""The sandbox: state between calls, and every way a child can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from equipoise.errors import BriefError, ChildCrashed, ChildOverMemory, ChildTimedOut
from equipoise.host.sandbox import Sandbox


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "log", memory_cap_bytes=2**30) as sandbox:
        yield sandbox


def test_answers_calls_in_another_process(child: Sandbox) -> None:
    assert child.call(os.getpid, timeout_s=60) == child.pid
    assert child.call(sorted, [3, 1, 2], timeout_s=60) == [1, 2, 3]


def test_lives_on_after_an_error_and_names_it(child: Sandbox) -> None:
    with pytest.raises(ChildCrashed, match="ValueError: math domain error"):
        child.call(__import__("math").sqrt, -1.0, timeout_s=60)
    assert child.call(abs, -1, timeout_s=60) == 1


def test_passes_our_own_errors_through(child: Sandbox, tmp_path: Path) -> None:
    from equipoise.store.study import StudyFolder

    (tmp_path / "journal.jsonl").write_text('{"format_version": 99}\n')
    with pytest.raises(BriefError, match="format version 99"):
        child.call(StudyFolder, tmp_path, {}, timeout_s=60)


def test_over_its_memory_cap_it_is_stopped(tmp_path: Path) -> None:
    with Sandbox(tmp_path / "log", memory_cap_bytes=200 * 2**20) as child:
        with pytest.raises(ChildOverMemory, match="210 MB allowed"):
            child.call(bytes.__mul__, b"x" * 2**20, 3000, timeout_s=60)
        assert child.peak_memory_bytes > 200 * 2**20


def test_past_its_time_limit_it_is_stopped(child: Sandbox) -> None:
    with pytest.raises(ChildTimedOut, match="within 0 s"):
        child.call(time.sleep, 60, timeout_s=0.2)
    assert not psutil.pid_exists(child.pid)


def test_a_dead_child_is_noticed_with_its_signal(child: Sandbox) -> None:
    with pytest.raises(ChildCrashed, match="SIGKILL"):
        child.call(os.kill, child.pid, signal.SIGKILL, timeout_s=60)


def test_a_paused_child_does_not_run_and_goes_on_when_called(child: Sandbox) -> None:
    assert child.call(abs, -1, timeout_s=60) == 1
    child.pause()
    deadline = time.monotonic() + 10
    while psutil.Process(child.pid).status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
        time.sleep(0.01)
    assert psutil.Process(child.pid).status() == psutil.STATUS_STOPPED
    assert child.call(abs, -2, timeout_s=60) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="children die with their parent on Linux only")
def test_a_child_dies_with_a_killed_parent_even_when_paused(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\nfrom equipoise.host.sandbox import Sandbox\nimport time\n"
        f"child = Sandbox(Path({str(tmp_path)!r}) / 'log')\nchild.call(abs, -1, timeout_s=60)\nchild.pause()\n"
        "print(child.pid, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.05)
