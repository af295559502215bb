"""A server under test: a process, and all that it starts, on a core of its own; what it takes of time and memory."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import IO

import psutil

SERVER_CORE, GENERATOR_CORE = 0, 1
START_S, STOP_S = 120.0, 8.0
EQUIPOISE = (sys.executable, "-m", "equipoise", "serve")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        process: What was started; it may have started others.
        port: Where it answers HTTP.
        log: What it printed.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def tree(self) -> list[psutil.Process]:
        """Its processes that live."""
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    @property
    def cpu_s(self) -> float:
        """Seconds of processor time that its living processes have used, in the kernel and out of it."""
        return sum(_cpu_s(process) for process in self.tree)

    @property
    def memory_bytes(self) -> int:
        """Resident memory of its processes together."""
        return sum(_memory_bytes(process) for process in self.tree)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started."""
        self.process.send_signal(number)


@contextmanager
def started(
    command: Sequence[str],
    port: int,
    ready_path: str = "/v2/health/ready",
    *,
    core: int = SERVER_CORE,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[Server]:
    """Start a server on one core, wait until it is ready, and end all of its processes afterwards.

    Args:
        command: What to run.
        port: Where it will answer.
        ready_path: Answers with 200 once it is ready.
        core: Where it and what it starts run.
        environment: Variables beside this process's own.
        folder: Where it runs.

    Raises:
        RuntimeError: It ended, or was not ready in time; the end of what it printed says why.
    """
    with tempfile.NamedTemporaryFile(prefix="server-", suffix=".log") as log:
        process = _start(command, core, environment or {}, folder, log)
        server = Server(process, port, Path(log.name))
        try:
            _wait_until_ready(server, ready_path)
            yield server
        finally:
            _end(server)


def equipoise(bundles: Sequence[str], port: int, *options: str) -> list[str]:
    """The command that serves bundles, with 1 thread of the event loop and no worker processes unless asked for."""
    return [*EQUIPOISE, *bundles, "--http", str(port), *options]


@cache
def _help() -> str:
    return subprocess.run([*EQUIPOISE, "--help"], capture_output=True, text=True, check=True).stdout


def understood(*option: str) -> tuple[str, ...]:
    """An option of `equipoise serve` and its value, or nothing where it has none of that name."""
    return option if option[0] in _help() else ()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def fetched(port: int, path: str, body: bytes | None = None, timeout_s: float = 60.0) -> tuple[int, bytes]:
    """Status and body of a single request; 0 where there was no answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def _start(
    command: Sequence[str], core: int, environment: Mapping[str, str], folder: Path | None, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=os.environ | ONE_THREAD | environment,
        preexec_fn=partial(os.sched_setaffinity, 0, {core}),
        start_new_session=True,
    )


def _wait_until_ready(server: Server, path: str) -> None:
    until_s = time.monotonic() + START_S
    while fetched(server.port, path, timeout_s=5)[0] != 200:
        said = server.log.read_text(errors="replace")[-2000:]
        if server.process.poll() is not None:
            raise RuntimeError(f"the server ended with {server.process.returncode} before it was ready:\n{said}")
        if time.monotonic() > until_s:
            raise RuntimeError(f"the server was not ready after {START_S:g} s:\n{said}")
        time.sleep(0.1)


def _end(server: Server) -> None:
    """Ask it to stop, then end what still lives of the processes that it started."""
    tree = server.tree
    if server.process.poll() is None:
        server.signal(signal.SIGTERM)
    psutil.wait_procs(tree, timeout=STOP_S)
    for process in tree:
        if process.is_running():
            process.kill()
    psutil.wait_procs(tree, timeout=STOP_S)
    server.process.wait()


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _memory_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
