"""Worker processes, as the server sees them: started, asked, missed when they die, and started again."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from signal import Signals
from typing import Any

from numpy.typing import NDArray

from equipoise.core.plan import Plan
from equipoise.core.tensor import ModelSpec
from equipoise.errors import BundleError, EquipoiseError, Unavailable
from equipoise.serve.cores import with_settings
from equipoise.serve.opening import Ask, Facts, Opening
from equipoise.serve.pipe import Channel, channel
from equipoise.serve.worker import PROGRAM, Raised

Array = NDArray[Any]
Tell = Callable[[Sequence[int], str | None], object]
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 30.0
HEALTHY_S = 60.0
"""A process that lived this long died of something new: it is started again as if it were the first time."""
HUNG_S = 60.0
"""A process that has not answered a batch for so long has hung, and is killed."""
OPENS_WITHIN_S = 600.0
"""A process that has not opened the plan by then has hung too; a large model is compiled in a minute or two."""
LOOKS = 4
"""Times in that time that one is looked for."""
STDERR = 2

log = logging.getLogger(__name__)


def restart_wait_s(deaths: int) -> float:
    """Seconds before a process is started again that died `deaths` (>= 1) times in succession.

    Example:
        >>> [restart_wait_s(deaths) for deaths in (1, 2, 3, 100)]
        [0.1, 0.2, 0.4, 30.0]
    """
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * float(2 ** min(deaths - 1, 16)))


class RaisedThere(RuntimeError):  # noqa: N818 - reads as what happened
    """What a runtime raised in a worker process."""


@dataclass
class _Life:
    """A process, from its start to its death.

    Attributes:
        process: It.
        lanes: What each of its lanes is asked through.
        began_s: Since when it computes, on the monotonic clock.
        mourned: Set once the plan's owner was told that it is dead.
        end: How it died.
        asked_s: When each lane was asked that has not answered yet, on the same clock.
    """

    process: subprocess.Popen[bytes]
    lanes: Sequence[Channel]
    began_s: float = field(default_factory=time.monotonic)
    mourned: threading.Event = field(default_factory=threading.Event)
    end: str = ""
    asked_s: dict[int, float] = field(default_factory=dict)

    @property
    def waited_s(self) -> float:
        """For how long it has owed an answer."""
        return max((time.monotonic() - at_s for at_s in self.asked_s.copy().values()), default=0.0)


class Crew:
    """Processes that compute a plan's batches; they share its lanes.

    Each opens the plan for itself, and requires the golden answers as any server does. One that dies is missed at
    once, by a thread that waits for nothing else, and started again: after 0.1 s, after twice as long each time that it
    dies again within a minute, at most 30 s. One that has not answered a batch for a minute is killed, as is one which
    has not opened the plan after ten. It computes only what the bundle was when it was first opened: where another one
    lies in its place by then, it stays away.

    Args:
        opening: What they open.
        lanes: Lanes of the plan.
        processes: How many of them, at most one a lane.

    Attributes:
        plan: As it runs here.
        facts: What they found when they opened it.

    Raises:
        BundleError: It cannot be served here.
        ModelError: An artifact cannot be opened.
    """

    def __init__(self, opening: Opening, lanes: int, processes: int) -> None:
        self.plan: Plan = opening.plan
        mine = [range(first, lanes, processes) for first in range(min(lanes, processes))]
        self._workers = [
            _Worker(replace(opening, plan=with_settings(opening.plan, replicas=len(each))), each) for each in mine
        ]
        with ThreadPoolExecutor(len(self._workers)) as threads:
            try:
                self.facts, *_ = threads.map(_Worker.begin, self._workers)
            except BaseException:
                self.close()
                raise

    @property
    def spec(self) -> ModelSpec:
        """What the plan takes and gives."""
        return self.facts.spec

    @property
    def pids(self) -> tuple[int, ...]:
        """Ids of the processes that live: their memory is the plan's."""
        return tuple(pid for worker in self._workers if (pid := worker.pid) is not None)

    def asks(self, lane: int) -> list[Ask]:
        """What computes each stage in a lane; `Unavailable` is raised where its process dies meanwhile."""
        worker = next(worker for worker in self._workers if lane in worker.lanes)
        return [partial(worker.ask, worker.lanes.index(lane), stage) for stage in range(len(self.plan.all_stages))]

    def watch(self, loop: asyncio.AbstractEventLoop, tell: Tell) -> None:
        """Be told, in an event loop, of the lanes whose process died and why, and with null when it is back.

        It is told of a death before any batch fails of it.
        """

        def told(lanes: Sequence[int], trouble: str | None) -> None:
            with suppress(RuntimeError):  # the loop is over, and so is all that was asked in it
                loop.call_soon_threadsafe(tell, lanes, trouble)

        for worker in self._workers:
            worker.watch(told)

    def close(self) -> None:
        """End the processes, without waiting until they have ended."""
        for worker in self._workers:
            worker.close()


class _Worker:
    """One place in a crew: a process at a time, and the thread that misses it."""

    def __init__(self, opening: Opening, lanes: Sequence[int]) -> None:
        self.lanes = lanes
        self._opening = opening
        self._process: subprocess.Popen[bytes] | None = None
        self._life: _Life | None = None
        self._trouble: str | None = None
        self._tell: Tell | None = None
        self._lock = threading.Lock()  # for starting, closing and telling; no request takes it
        self._closed = threading.Event()

    @property
    def pid(self) -> int | None:
        """Id of the process; null while it is dead."""
        life = self._life
        return None if life is None or life.mourned.is_set() else life.process.pid

    def begin(self) -> Facts:
        """Have a process from now on, until it is closed: whenever it dies it is missed, and another is started."""
        facts = self.start()
        threading.Thread(target=self._keep, name="equipoise-worker", daemon=True).start()
        threading.Thread(target=self._look_for_hung, name="equipoise-hung", daemon=True).start()
        return facts

    def start(self) -> Facts:
        """Start a process and wait until it has opened the plan.

        Raises:
            EquipoiseError: It could not.
            OSError: The system has no room for another process.
        """
        (control, *ours), theirs = zip(*(channel() for _ in range(1 + len(self.lanes))), strict=True)
        process = self._spawn(theirs)
        late = threading.Timer(OPENS_WITHIN_S, process.kill)
        late.daemon = True
        late.start()
        try:
            control.send(self._opening)
            found = control.receive(keep=True)
        except (EOFError, OSError):
            process.kill()
            found = BundleError(
                str(self._opening.folder),
                f"the process that opens it died ({_how(process.wait())})",
                "see what it wrote before; a model that crashes its runtime cannot be served",
            )
        finally:
            late.cancel()
        control.close()
        if isinstance(found, EquipoiseError):
            process.kill()
            process.wait()
            _let_go(process)
            raise found
        assert isinstance(found, Facts)
        self._life = _Life(process, ours)
        return found

    def watch(self, tell: Tell) -> None:
        with self._lock:
            self._tell = tell
            if self._trouble is not None:
                tell(self.lanes, self._trouble)

    def ask(self, lane: int, stage: int, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], Array]:
        """Compute a batch of a stage in one of the process's lanes.

        Raises:
            Unavailable: The process died, or hung.
            MemoryError: The runtime had no room.
            RaisedThere: What else it raised.
        """
        life = self._life
        assert life is not None
        try:
            life.asked_s[lane] = time.monotonic()
            life.lanes[lane].send((stage, feeds))
            reply = life.lanes[lane].receive(keep=True)
            del life.asked_s[lane]
        except Exception:  # whatever it was, the next reply in this lane could be that of another batch
            life.process.kill()
            life.mourned.wait()
            raise Unavailable(f"the worker process that computed it died ({life.end})") from None
        if isinstance(reply, Raised):
            raise MemoryError(reply.said) if reply.lacks_room else RaisedThere(reply.said)
        outputs, confidence = reply
        return outputs, confidence

    def close(self) -> None:
        with self._lock:
            self._closed.set()
            if self._process is not None:
                self._process.kill()

    def _spawn(self, theirs: Sequence[Channel]) -> subprocess.Popen[bytes]:
        descriptors = [descriptor for end in theirs for descriptor in end.descriptors]
        with self._lock:
            if self._closed.is_set():
                raise Unavailable("it is no longer served")
            process = self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM, *map(str, descriptors)],
                stdin=subprocess.PIPE,
                stdout=STDERR,
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl-C reaches the server alone, which then decides
            )
        for end in theirs:
            end.close()
        return process

    def _keep(self) -> None:
        deaths = 0
        life: _Life | None = None
        while self._life is not life:
            life = self._life
            assert life is not None
            ended = _how(life.process.wait())
            life.end = life.end or ended
            deaths = 1 if time.monotonic() - life.began_s > HEALTHY_S else deaths + 1
            self._say(f"its worker process died ({life.end}) and is being started again")
            life.mourned.set()
            _let_go(life.process)
            while self._life is life and not self._closed.wait(restart_wait_s(deaths)):
                deaths += not self._started_again()

    def _look_for_hung(self) -> None:
        while not self._closed.wait(HUNG_S / LOOKS):
            life = self._life
            if life is not None and not life.mourned.is_set() and life.waited_s > HUNG_S:
                life.end = f"it had not answered for {HUNG_S:g} s, and was killed"
                life.process.kill()

    def _started_again(self) -> bool:
        try:
            self.start()
        except (EquipoiseError, OSError, RuntimeError) as error:  # the last where no more threads can be started
            self._say(f"its worker process died and cannot be started again ({error})")
            return False
        self._say(None)
        return True

    def _say(self, trouble: str | None) -> None:
        if self._closed.is_set():
            return
        level, event = (logging.ERROR, "worker_died") if trouble else (logging.INFO, "worker_back")
        log.log(level, "%s: %s", self._opening.folder, trouble or "it is back", extra={"event": event})
        with self._lock:
            self._trouble = trouble
            if self._tell is not None:
                self._tell(self.lanes, trouble)


def _how(code: int) -> str:
    return f"signal {Signals(-code).name}" if code < 0 else f"exit status {code}"


def _let_go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()
