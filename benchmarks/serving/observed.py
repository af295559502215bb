"""A server like `equipoise serve`, that also writes down what each batch and request took, and saves it at its end.

`python observed.py NAME=BUNDLE PORT FILE.npz`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
import uvloop

from equipoise.endpoint.process import bound_socket, leave_alone_what_stays
from equipoise.endpoint.protocol import HttpProtocol
from equipoise.endpoint.rest import Rest
from equipoise.serve import Engine, load_plan
from equipoise.serve.events import BatchEnd, RequestEnd
from equipoise.serve.lull import LULL_S

PROGRAM = str(Path(__file__).resolve())


class Notes:
    """Observes an engine."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, int, float]] = []
        self.requests: list[tuple[int, float]] = []

    def request_ended(self, end: RequestEnd) -> None:
        """How deep it went (-1 for a remembered answer, -2 for none), and seconds within the engine."""
        deepest = -2 if end.answer is None else max(end.stages, default=-1)
        self.requests.append((deepest, end.total_s))

    def batch_ended(self, end: BatchEnd) -> None:
        """Its stage, rows and seconds."""
        self.batches.append((end.stage, end.rows, end.seconds))

    def save(self, path: Path) -> None:
        """Write everything down."""
        columns: dict[str, Any] = {}
        for name, rows in (("batch", self.batches), ("request", self.requests)):
            columns[name] = np.array(rows, dtype=np.float64).reshape(len(rows), 3 if name == "batch" else 2)
        np.savez(path, **columns)


async def serve(name: str, folder: Path, port: int, notes: Notes) -> None:
    """Answer until SIGTERM."""
    with bound_socket("127.0.0.1", port) as listening:
        async with Engine([load_plan(folder, name)], [notes], lull_s=LULL_S) as engine:
            config = uvicorn.Config(
                Rest(engine), http=HttpProtocol, ws="none", lifespan="off", log_level="warning", access_log=False
            )
            server = uvicorn.Server(config)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, setattr, server, "should_exit", True)
            leave_alone_what_stays()
            await server._serve([listening])  # `serve` would take the signals over


def main() -> None:
    """Serve, and save what was seen."""
    (name, _, folder), port, file = sys.argv[1].partition("="), int(sys.argv[2]), Path(sys.argv[3])
    notes = Notes()
    uvloop.run(serve(name, Path(folder), port, notes))
    notes.save(file)


if __name__ == "__main__":
    main()
