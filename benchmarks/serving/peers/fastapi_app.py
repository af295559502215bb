"""Plain FastAPI, as its tutorial shows it: a model of the request, a path operation, no batching.

The documentation says `def` for work that blocks, which is then done in a thread: that is what counts. `async def` is
here too; it blocks everybody while the model computes, and with a model this tiny it is the faster one.
"""

from __future__ import annotations

import os

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

OPTIONS = onnxruntime.SessionOptions()
OPTIONS.intra_op_num_threads = OPTIONS.inter_op_num_threads = 1
SESSION = onnxruntime.InferenceSession(os.environ["MODEL"], OPTIONS, providers=["CPUExecutionProvider"])
app = FastAPI()


class Question(BaseModel):
    """A row."""

    x: list[float]


class Answer(BaseModel):
    """Its scores."""

    logits: list[float]


def scores(question: Question) -> Answer:
    (logits,) = SESSION.run(None, {"x": np.array([question.x], dtype=np.float32)})
    return Answer(logits=logits[0].tolist())


@app.post("/def")
def predict(question: Question) -> Answer:
    return scores(question)


@app.post("/async")
async def predict_at_once(question: Question) -> Answer:
    return scores(question)


@app.get("/ready")
async def ready() -> dict[str, bool]:
    return {"ready": True}


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(os.environ["PORT"]), loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
