"""LitServe with dynamic batching, as its documentation shows it."""

import os
from typing import Any

import litserve as ls
import numpy as np
import onnxruntime


class Perceptron(ls.LitAPI):
    """The model on ONNX Runtime."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Open it, in the worker process."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe reads the type as what to validate
        """One row."""
        return np.array(request["x"], dtype=np.float32)

    def predict(self, x: Any) -> Any:
        """Answer a batch."""
        return self.session.run(None, {"x": np.stack(x) if isinstance(x, list) else x})[0]

    def encode_response(self, output: Any) -> dict[str, Any]:
        """One row's scores."""
        return {"logits": output.tolist()}


if __name__ == "__main__":
    api = Perceptron(max_batch_size=32, batch_timeout=0.005)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
