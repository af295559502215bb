"""What the kserve client finds out about a server, in a process and an environment of its own: JSON on standard output.

Called with the port, and JSON of what to ask: `image`, lists of the numbers of images of 2 x 2, and `people`, columns
of `age`, `income` and `town`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np

KINDS = {"age": (np.int64, "INT64"), "income": (np.float64, "FP64"), "town": (np.object_, "BYTES")}


async def main(port: str, asked: Any) -> None:
    # Imported here, since nothing else that collects this file has it.
    import httpx
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
    from kserve.protocol.infer_type import RequestedOutput

    client, url = InferenceRESTClient(RESTConfig(protocol="v2")), f"http://127.0.0.1:{port}"
    images = np.array(asked["image"], np.uint8)
    found: dict[str, Any] = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model ready": await client.is_model_ready(url, "m"),
    }

    def image(array: Any, *, binary: bool) -> Any:
        tensor = InferInput("image", list(array.shape), "UINT8")
        tensor.set_data_from_numpy(array, binary_data=binary)
        return tensor

    async def infer(model: str, inputs: list[Any], **options: Any) -> Any:
        try:
            return await client.infer(url, InferRequest(model, inputs, **options), model_name=model)
        except httpx.HTTPStatusError as error:
            return {"status": error.response.status_code, "error": str(error)}

    for name, binary_in, binary_out in (("json", False, False), ("binary in", True, False), ("binary", True, True)):
        outputs = [RequestedOutput("logits", {"binary_data": binary_out})]
        answer = await infer("m", [image(images, binary=binary_in)], request_id=name, request_outputs=outputs)
        found[name] = {"id": answer.id, "logits": answer.outputs[0].as_numpy().tolist()}
    people = []
    for name, (kind, datatype) in KINDS.items():
        column = np.array(asked["people"][name], kind)[:, None]
        people.append(InferInput(name, list(column.shape), datatype))
        people[-1].set_data_from_numpy(column, binary_data=False)
    answer = await infer("people", people)
    found["people"] = {output.name: output.as_numpy().tolist() for output in answer.outputs}
    found["none"] = await infer("none", [image(images, binary=True)])
    found["too few"] = await infer("m", [image(images[:, :1], binary=True)])
    await client.close()
    print(json.dumps(found, default=lambda text: text.decode()))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
