"""SIGTERM under load, again and again: no request that the server took in may fail.

Clients over connections that stay open and clients with a new connection for each request ask without a pause. After a
second the server is told to stop. A request counts as taken in once it was written to a connection that was made; it
must get its right answer. Clients stop when no connection can be made any more.

    python benchmarks/serving/shutdown.py [--quick]           # about a minute
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop
from bundles import CIFAR, StageOf, cifar_images, make_bundle, real
from claims import at_most, options_of, report
from load import LOST, OK, Connection, Records, Seen, Target, collected, connect, pin
from questions import target
from server import GENERATOR_CORE, Server, equipoise, free_port, started

CLIENTS, FRESH = 24, 4
BEFORE_S, MOST_S = 1.0, 30.0
DRAIN_S = 1.0


@dataclass(frozen=True)
class Stop:
    """What one stop showed.

    Attributes:
        seen: Requests that were written to a connection.
        exit_code: Of the server.
        took_s: From the signal to its end.
        lost: Of requests whose connection ended before their answer: seconds from the signal to when they were written,
            and whether they were the first of their connection.
    """

    seen: Seen
    exit_code: int
    took_s: float
    lost: list[tuple[float, bool]]

    @property
    def line(self) -> str:
        """What it showed, in a line."""
        told = f"{self.seen.counts()}, exit {self.exit_code} after {self.took_s:.2f} s"
        lost = ", ".join(f"{'first' if first else 'later'} at {at_s:+.3f} s" for at_s, first in self.lost)
        return f"{told}; lost: {lost or 'none'}"


def main() -> None:
    """Stop a server under load some times, and count what failed."""
    parser = options_of(__doc__)
    parser.add_argument("--stops", type=int, default=10, help="(default: %(default)s)")
    options = parser.parse_args()
    rows = cifar_images(200)
    with tempfile.TemporaryDirectory(prefix="equipoise-shutdown-") as place:
        stage = StageOf(real(CIFAR / "resnet20.onnx"), 4)
        made = make_bundle(Path(place) / "bundle", "m", [stage], {"image": rows}, limit_s=None)
        pin(GENERATOR_CORE)
        stops = []
        for _ in range(2 if options.quick else options.stops):
            port = free_port()
            with started(equipoise([f"m={made.folder}"], port, "--drain-s", str(DRAIN_S)), port) as server:
                asked = target(port, "m", made.direct, rows, "binary")
                with collected():
                    stops.append(uvloop.run(stopped(server, asked)))
            print(stops[-1].line, flush=True)
    requests = sum(len(stop.seen) for stop in stops)
    failed = sum(int((stop.seen.status != OK).sum()) for stop in stops)
    claims = [
        at_most(f"requests that failed of {requests} taken in, {len(stops)} stops", failed, 0),
        at_most("wrong answers", sum(stop.seen.wrong for stop in stops), 0),
        at_most("stops that did not exit with 0", sum(stop.exit_code != 0 for stop in stops), 0),
        at_most("longest stop, seconds beyond the drain", max(stop.took_s for stop in stops) - DRAIN_S, 5.0),
    ]
    figures = {
        "stops": [
            {
                "statuses": {str(status): count for status, count in stop.seen.counts().items()},
                "exit": stop.exit_code,
                "took_s": stop.took_s,
                "lost": stop.lost,
            }
            for stop in stops
        ]
    }
    report("SIGTERM under load", claims, figures, options)


async def stopped(server: Server, asked: Target) -> Stop:
    """Ask without a pause, send the signal, and wait until nobody can ask any more."""
    records = Records(asked)
    lost: list[tuple[float, bool]] = []
    clients = [
        asyncio.ensure_future(client(asked, records, lost, number, fresh=number < FRESH)) for number in range(CLIENTS)
    ]
    await asyncio.sleep(BEFORE_S)
    server.signal(signal.SIGTERM)
    start_s = time.perf_counter()
    while server.process.poll() is None and time.perf_counter() - start_s < MOST_S:
        await asyncio.sleep(0.005)
    took_s = time.perf_counter() - start_s
    await asyncio.wait(clients, timeout=5)
    code = server.process.poll()
    since = [(at_s - start_s, first) for at_s, first in lost]
    return Stop(records.seen(), -1 if code is None else code, took_s, since)


async def client(
    asked: Target, records: Records, lost: list[tuple[float, bool]], question: int, *, fresh: bool
) -> None:
    """Ask again and again, over one connection as long as it stays open, or over a fresh one each time."""
    answered: asyncio.Future[tuple[int, bytes, bool]]

    def ended(_: Connection, status: int, body: bytes, goes_on: bool) -> None:
        answered.set_result((status, body, goes_on))

    while True:
        try:
            connection = await connect(asked.port, ended)
        except (OSError, TimeoutError):
            return
        goes_on, first = not connection.closed, True
        while goes_on:
            question = (question + CLIENTS) % len(asked.requests)
            answered = asyncio.get_running_loop().create_future()
            connection.send(question, asked.requests[question], time.perf_counter())
            status, body, goes_on = await answered
            records.note(connection.start_s, question, status, body)
            if status == LOST:
                lost.append((connection.start_s, first))
            first = False
            if fresh:
                connection.close()
            goes_on = goes_on and not connection.closed


if __name__ == "__main__":
    main()
