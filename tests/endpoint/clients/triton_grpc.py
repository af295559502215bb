"""What the official gRPC client finds out about a server, in a process of its own: JSON on standard output.

Called with the port, `sync` or `aio`, and JSON of what to ask: `image`, lists of the numbers of images of 2 x 2, and
`people`, columns of `age`, `income` and `town`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.utils import InferenceServerException

KINDS = {"age": (np.int64, "INT64"), "income": (np.float64, "FP64"), "town": (np.object_, "BYTES")}


def image_input(asked: Any) -> list[Any]:
    images = np.array(asked["image"], np.uint8)
    tensor = tritonclient.grpc.InferInput("image", images.shape, "UINT8")
    tensor.set_data_from_numpy(images)
    return [tensor]


def people_inputs(asked: Any) -> list[Any]:
    tensors = []
    for name, (kind, datatype) in KINDS.items():
        column = np.array(asked["people"][name], kind)[:, None]
        tensors.append(tritonclient.grpc.InferInput(name, column.shape, datatype))
        tensors[-1].set_data_from_numpy(column)
    return tensors


async def answered(client: Any, method: str, *arguments: Any, **options: Any) -> Any:
    """What a method returns, or the status and message of its error."""
    try:
        found = getattr(client, method)(*arguments, **options)
        return await found if inspect.isawaitable(found) else found
    except InferenceServerException as error:
        return {"status": error.status(), "error": error.message()}


async def described(client: Any) -> dict[str, Any]:
    """All that is not inference."""
    found = {name: await answered(client, name) for name in ("is_server_live", "is_server_ready")}
    for name in ("is_model_ready", "get_model_metadata", "get_model_config", "get_inference_statistics"):
        options = {} if name.startswith("is") else {"as_json": True}
        found[name] = await answered(client, name, "m", **options)
        found[f"{name} of none"] = await answered(client, name, "none", **options)
    for name in ("get_server_metadata", "get_model_repository_index", "get_inference_statistics"):
        found[f"{name} of all"] = await answered(client, name, as_json=True)
    found["unload"] = await answered(client, "unload_model", "other")
    found["ready once unloaded"] = await answered(client, "is_model_ready", "other")
    found["index once unloaded"] = await answered(client, "get_model_repository_index", as_json=True)
    found["load"] = await answered(client, "load_model", "other")
    found["ready once loaded"] = await answered(client, "is_model_ready", "other")
    found["load of none"] = await answered(client, "load_model", "none")
    found["load with a config"] = await answered(client, "load_model", "other", config="{}")
    return found


async def inferred(client: Any, asked: Any) -> dict[str, Any]:
    """Answers to images and people, by all that the client can vary."""
    found: dict[str, Any] = {}
    for name, options in {
        "plain": {},
        "version": {"model_version": "1", "request_id": "mine"},
        "outputs": {"outputs": [tritonclient.grpc.InferRequestedOutput("logits")]},
        "gzip": {"compression_algorithm": "gzip"},
        "deflate": {"compression_algorithm": "deflate"},
        "high": {"priority": 1},
        "in time": {"timeout": 60_000_000, "client_timeout": 60},
        "late": {"timeout": 1},
        "version of none": {"model_version": "9"},
        "output of none": {"outputs": [tritonclient.grpc.InferRequestedOutput("none")]},
        "classes": {"outputs": [tritonclient.grpc.InferRequestedOutput("logits", class_count=2)]},
    }.items():
        result = await answered(client, "infer", "m", image_input(asked), **options)
        if isinstance(result, dict):
            found[name] = result
            continue
        said = result.get_response()
        found[name] = {
            "id": said.id, "version": said.model_version, "logits": result.as_numpy("logits").tolist(),
        }  # fmt: skip
    result = await answered(client, "infer", "people", people_inputs(asked))
    found["people"] = {
        "label": [label.decode() for label in result.as_numpy("label")],
        "probabilities": result.as_numpy("probabilities").tolist(),
    }
    return found


async def main(port: str, form: str, asked: Any) -> None:
    """Ask, and say what was found."""
    module = tritonclient.grpc if form == "sync" else tritonclient.grpc.aio
    client = module.InferenceServerClient(f"127.0.0.1:{port}")
    found = await inferred(client, asked) | await described(client)
    closed = client.close()
    if inspect.isawaitable(closed):
        await closed
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
