"""Runs functions in a child process of their own, with a memory cap and a time limit.

A model file, a converter or an inference library may crash, hang or eat memory; what it takes down is the child. The
child's *resident* size is watched, since inference runtimes reserve address space freely and a limit on it would kill
healthy ones. A child never outlives its parent, even one that was killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from equipoise.errors import ChildCrashed, ChildOverMemory, ChildTimedOut, EquipoiseError
from equipoise.host.environment import memory_bytes

WATCH_S = 0.02
LOG_TAIL_BYTES = 4000
DEFAULT_MEMORY_SHARE = 0.8


class Sandbox:
    """A child process that answers one call at a time and keeps its state between calls.

    Args:
        log: File that receives what the child prints.
        memory_cap_bytes: Largest resident size; by default 80% of the memory that this process may use.

    Example:
        >>> import math, tempfile
        >>> with Sandbox(Path(tempfile.mkdtemp()) / "log") as child:
        ...     child.call(math.sqrt, 16.0, timeout_s=60)
        4.0
    """

    def __init__(self, log: Path, memory_cap_bytes: int | None = None) -> None:
        self.log = log
        self.memory_cap_bytes = memory_cap_bytes or int(DEFAULT_MEMORY_SHARE * memory_bytes())
        self.peak_memory_bytes = 0
        self._over_memory = False
        self._paused = False
        self._closed = threading.Event()
        self._pipe, child_end = Pipe()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "equipoise.host.child", str(child_end.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(child_end.fileno(),),
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then decides
            )
        child_end.close()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child can be called again."""
        return not self._closed.is_set() and self._process.poll() is None

    def call(self, function: Any, /, *arguments: Any, timeout_s: float) -> Any:
        """Call an importable function in the child and return what it returns.

        Args:
            function: A module-level function; it, its arguments and its result are pickled.
            arguments: Its arguments.
            timeout_s: Seconds after which the child is stopped.

        Raises:
            EquipoiseError: The function raised one; it is raised again here. The child lives on.
            ChildCrashed: The function raised anything else, or the process died.
            ChildTimedOut: It passed `timeout_s`.
            ChildOverMemory: Its resident size passed the cap.
        """
        self.resume()
        try:
            self._pipe.send((function, arguments))
            answered = self._pipe.poll(timeout_s)
            ok, value = self._pipe.recv() if answered else (False, None)
        except (EOFError, OSError):
            raise self._death() from None
        except BaseException:  # an interrupt: the answer that is still to come would be taken for the next call's
            self.close()
            raise
        if not answered:
            self.close()
            raise ChildTimedOut(f"not finished within {timeout_s:.0f} s", self._log_tail())
        if ok:
            return value
        if isinstance(value, EquipoiseError):
            raise value
        raise ChildCrashed(str(value), self._log_tail())

    def pause(self) -> None:
        """Stop the child's threads, so that none of them spins beside another that is being timed."""
        if not self._paused and self._process.poll() is None:
            os.killpg(self.pid, signal.SIGSTOP)
            self._paused = True

    def resume(self) -> None:
        """Let a paused child go on."""
        if self._paused:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGCONT)
            self._paused = False

    def close(self) -> None:
        """End the child and all that it started."""
        self._closed.set()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _watch(self) -> None:
        try:
            process = psutil.Process(self.pid)
            while not self._closed.wait(WATCH_S):
                resident = process.memory_info().rss
                self.peak_memory_bytes = max(self.peak_memory_bytes, resident)
                if resident > self.memory_cap_bytes:
                    self._over_memory = True
                    os.killpg(self.pid, signal.SIGKILL)
                    return
        except (psutil.NoSuchProcess, ProcessLookupError):
            return

    def _death(self) -> ChildCrashed | ChildOverMemory:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.poll()
        over_memory = self._over_memory
        tail = self._log_tail()
        self.close()
        if over_memory:
            return ChildOverMemory(
                f"resident memory passed its cap: {self.peak_memory_bytes / 1e6:,.0f} MB used, "
                f"{self.memory_cap_bytes / 1e6:,.0f} MB allowed",
                tail,
            )
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
        return ChildCrashed(f"the process died ({how})", tail)

    def _log_tail(self) -> str:
        with suppress(OSError):
            return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        return ""
