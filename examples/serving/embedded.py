"""The engine in a program of one's own: no server, and nothing of the process is taken over.

Run it with a bundle that `equipoise optimize` wrote:

    python examples/serving/embedded.py equipoise-model/bundle
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from equipoise.serve import Engine, load_plan


async def main(folder: Path) -> None:
    """Ask a bundle its own golden inputs, and swap it."""
    plan = await asyncio.to_thread(load_plan, folder, "model")  # verifies it, which takes a while
    inputs = plan.bundle.golden_inputs
    rows = len(next(iter(inputs.values())))
    requests = [{name: array[row : row + 1] for name, array in inputs.items()} for row in range(rows)]
    async with Engine([plan]) as engine:
        answers = await asyncio.gather(*(engine.infer("model", each, deadline_s=10.0) for each in requests))
        for row, answer in enumerate(answers):
            print(f"row {row}: stage {answer.stage[0] + 1}, {', '.join(answer.outputs)}")
        newer = await asyncio.to_thread(load_plan, folder, "model")
        await engine.load(newer)  # requests go to the newer plan at once; none fails
        print(f"swapped; ready: {engine.ready}")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
