"""What the official HTTP client finds out about a server, in a process of its own: JSON on standard output.

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
import tritonclient.http
import tritonclient.http.aio
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

KINDS = {"age": (np.int64, "INT64"), "income": (np.float64, "FP64"), "town": (np.object_, "BYTES")}
MANY = 300


def image_input(images: Any, binary: bool = True) -> list[Any]:
    tensor = InferInput("image", images.shape, "UINT8")
    tensor.set_data_from_numpy(images, binary_data=binary)
    return [tensor]


def people_inputs(asked: Any, binary: bool) -> list[Any]:
    tensors = []
    for name, (kind, datatype) in KINDS.items():
        column = np.array(asked["people"][name], kind)[:, None]
        tensors.append(InferInput(name, column.shape, datatype))
        tensors[-1].set_data_from_numpy(column, binary_data=binary)
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
        found[name] = await answered(client, name, "m")
        found[f"{name} of 1"] = await answered(client, name, "m", "1")
        found[f"{name} of none"] = await answered(client, name, "none")
    for name in ("get_server_metadata", "get_model_repository_index", "get_inference_statistics"):
        found[f"{name} of all"] = await answered(client, name)
    for name in (
        "get_trace_settings", "get_log_settings", "get_system_shared_memory_status", "get_cuda_shared_memory_status",
    ):  # fmt: skip
        found[name] = await answered(client, name)
    found["register"] = await answered(client, "register_system_shared_memory", "region", "/key", 64)
    found["unload"] = await answered(client, "unload_model", "other")
    found["ready once unloaded"] = await answered(client, "is_model_ready", "other")
    found["load"] = await answered(client, "load_model", "other")
    found["ready once loaded"] = await answered(client, "is_model_ready", "other")
    found["load of none"] = await answered(client, "load_model", "none")
    found["load with a config"] = await answered(client, "load_model", "other", config="{}")
    return found


async def inferred(client: Any, asked: Any) -> dict[str, Any]:
    """Answers to images and people, by all that the client can vary."""
    images = np.array(asked["image"], np.uint8)
    many = np.concatenate([images] * MANY)
    as_json = [InferRequestedOutput("logits", binary_data=False)]
    found: dict[str, Any] = {}
    for name, (inputs, options) in {
        "plain": (image_input(images), {}),
        "version": (image_input(images), {"model_version": "1", "request_id": "mine"}),
        "json": (image_input(images, binary=False), {"outputs": as_json}),
        "json in": (image_input(images, binary=False), {}),
        "json out": (image_input(images), {"outputs": as_json}),
        "gzip": (image_input(many), {"request_compression_algorithm": "gzip"}),
        "deflate": (image_input(many, binary=False), {"request_compression_algorithm": "deflate"}),
        "gzip out": (image_input(many), {"response_compression_algorithm": "gzip"}),
        "deflate out": (image_input(many), {"response_compression_algorithm": "deflate", "outputs": as_json}),
        "small gzip out": (image_input(images), {"response_compression_algorithm": "gzip"}),
        "high": (image_input(images), {"priority": 1}),
        "in time": (image_input(images), {"timeout": 60_000_000}),
        "late": (image_input(images), {"timeout": 1}),
        "version of none": (image_input(images), {"model_version": "9"}),
        "output of none": (image_input(images), {"outputs": [InferRequestedOutput("none")]}),
        "classes": (image_input(images), {"outputs": [InferRequestedOutput("logits", class_count=2)]}),
        "too few": (image_input(images[:, :1]), {}),
    }.items():
        result = await answered(client, "infer", "m", inputs, **options)
        found[name] = result if isinstance(result, dict) else of_images(result)
    for binary in (True, False):
        outputs = [InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "label")]
        result = await answered(client, "infer", "people", people_inputs(asked, binary), outputs=outputs)
        found[f"people {'binary' if binary else 'json'}"] = of_people(result)
    return found


def of_images(result: Any) -> dict[str, Any]:
    response = result.get_response()
    return {
        "id": response.get("id", ""),
        "version": response["model_version"],
        "logits": result.as_numpy("logits").tolist(),
    }


def of_people(result: Any) -> dict[str, Any]:
    return {
        "outputs": [output["name"] for output in result.get_response()["outputs"]],
        "label": [text.decode() if isinstance(text, bytes) else text for text in result.as_numpy("label").tolist()],
        "probabilities": result.as_numpy("probabilities").tolist(),
    }


async def main(port: str, form: str, asked: Any) -> None:
    library = tritonclient.http if form == "sync" else tritonclient.http.aio
    client = library.InferenceServerClient(f"127.0.0.1:{port}")
    images = np.array(asked["image"], np.uint8)
    try:
        found = await inferred(client, asked) | await described(client)
        if form == "sync":
            waiting = [client.async_infer("m", image_input(images[place:])) for place in range(len(images))]
            results = [each.get_result() for each in waiting]
        else:
            results = await asyncio.gather(
                *(client.infer("m", image_input(images[place:])) for place in range(len(images)))
            )
        found["at once"] = [result.as_numpy("logits").tolist() for result in results]
    finally:
        closed = client.close()
        if inspect.isawaitable(closed):
            await closed
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
