"""The child's side of a sandbox: answers calls until its parent is gone."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pickle
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from equipoise.errors import EquipoiseError
from equipoise.telemetry import silence

PR_SET_PDEATHSIG = 1


def main(descriptor: int, parent: int) -> None:
    """Answer calls `(function, arguments)` from the pipe with `(ok, value or error)`."""
    faulthandler.enable()
    _die_with(parent)
    silence()
    pipe: Connection[Any, Any] = Connection(descriptor)
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        except Exception as error:  # the border of the process: an argument or function that cannot be loaded here
            pipe.send((False, _describe(error)))
            continue
        try:
            answer = (True, function(*arguments))
        except EquipoiseError as error:
            answer = (False, error)
        except Exception as error:  # the border of the process: the parent decides what it means
            answer = (False, _describe(error))
        try:
            pipe.send(answer)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            pipe.send((False, f"the answer cannot be sent: {error}"))


def _describe(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= 600 else f"{text[:300]} ... {text[-300:]}"


def _die_with(parent: int) -> None:
    if sys.platform == "linux":  # elsewhere the closed pipe ends the child, unless it is paused
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            sys.exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
