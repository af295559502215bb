"""Ray Serve with dynamic request batching, as its documentation shows it."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

import numpy as np
import onnxruntime
import ray
from ray import serve
from starlette.requests import Request

BATCH = 32


@serve.deployment(max_ongoing_requests=4 * BATCH, num_replicas=1)
class Perceptron:
    """The model on ONNX Runtime."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.005)
    async def answer(self, rows: list[Any]) -> list[Any]:
        """Answer a batch."""
        return list(self.session.run(None, {"x": np.stack(rows)})[0])

    async def __call__(self, request: Request) -> dict[str, Any]:
        """One request."""
        if request.method == "GET":
            return {"ready": True}
        logits = await self.answer(np.array((await request.json())["x"], dtype=np.float32))
        return {"logits": logits.tolist()}


def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's signature
    """End at the first signal."""
    raise SystemExit


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Perceptron.bind(), name="mlp", route_prefix="/mlp", blocking=True)
