"""The worker process: opens a plan, then computes batches for the server until that one is gone.

It has a pipe for each of its lanes, and a thread that answers there. Its standard input is the leash: nothing is ever
written to it, and it ends when the server does, however that was. Signals are the server's business: it ignores those
that a terminal or a supervisor sends to all processes at once, so that a server that drains still has its workers.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from numpy.typing import NDArray

from equipoise.errors import BundleError, EquipoiseError
from equipoise.execute.stages import OpenStage
from equipoise.serve.blame import lacks_room
from equipoise.serve.opening import Opening, all_stages, answered, open_again
from equipoise.serve.pipe import Channel
from equipoise.telemetry import silence

Array = NDArray[Any]
PROGRAM = "from equipoise.serve.worker import main; main()"
"""What a fresh interpreter is told to run, with the descriptors of its pipes as arguments: the first is for opening."""


class Raised(NamedTuple):
    """What a runtime raised.

    Attributes:
        said: Its type and words.
        lacks_room: Whether it was for want of memory.
    """

    said: str
    lacks_room: bool


def main() -> None:
    """Open what the first message names, and compute."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    threading.Thread(target=_end_with_server, daemon=True).start()
    silence()
    descriptors = [int(each) for each in sys.argv[1:]]
    control, *lanes = (Channel.inherited(descriptors[place : place + 3]) for place in range(0, len(descriptors), 3))
    stages = _opened(control)
    control.close()
    if stages is None:
        return
    for lane in lanes[1:]:
        threading.Thread(target=compute, args=(lane, stages), daemon=True).start()
    compute(lanes[0], stages)


def compute(lane: Channel, stages: Sequence[OpenStage]) -> NoReturn:
    """Answer messages `(place of a stage, inputs)` with what it answers, or with what its runtime raised.

    Where that cannot go on the process ends, so that nobody waits for an answer that will not come.
    """
    try:
        while True:
            place, feeds = lane.receive(keep=False)
            lane.send(_reply(stages[place], feeds))
            del feeds
    except (EOFError, OSError):
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _reply(stage: OpenStage, feeds: Mapping[str, Array]) -> object:
    try:
        return answered(stage, feeds)
    except Exception as error:  # a runtime's own exceptions, whose types the server may not know
        return Raised(f"{type(error).__name__}: {error}", lacks_room(error))


def _opened(control: Channel) -> tuple[OpenStage, ...] | None:
    opening: Opening = control.receive(keep=True)
    try:
        opened, facts = open_again(opening)
    except EquipoiseError as error:
        control.send(error)
        return None
    except Exception as error:  # the border of the process
        control.send(BundleError(str(opening.folder), f"{type(error).__name__}: {error}", "it cannot be served here"))
        return None
    control.send(facts)
    return all_stages(opened)


def _end_with_server() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(0)
