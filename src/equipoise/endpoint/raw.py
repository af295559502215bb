"""Images and texts in a request to `/v1/predict`: as the body itself, in a form, or in JSON.

Images, and more than a few texts, are turned into tensors beside the event loop.
"""

from __future__ import annotations

import asyncio
import binascii
import math
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from numpy.typing import NDArray

from equipoise.core.preprocessing import ImagePreprocessing
from equipoise.endpoint.binary import require_rows
from equipoise.endpoint.http import Limits, Room
from equipoise.endpoint.multipart import parts_of
from equipoise.endpoint.oip import InferRequest
from equipoise.endpoint.rows import predict_request, rows_of_body, with_rows
from equipoise.endpoint.texts import PLAIN, as_rows, plain_text, texts_of, tokens
from equipoise.endpoint.values import as_bad_request, bound, parsed
from equipoise.errors import BadRequest, Overloaded
from equipoise.host.environment import cores
from equipoise.preprocess.images import image_sides
from equipoise.preprocess.raw import Preprocessor
from equipoise.preprocess.text import TextPreprocessor
from equipoise.serve.loading import LoadedPlan

Array = NDArray[Any]
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Read = Callable[[Any, LoadedPlan, Limits], InferRequest]
MULTIPART, IMAGE = b"multipart/form-data", b"image/"
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""What JPEG and PNG files begin with, and JSON never does: clients forget to say what they send."""
DATA_URL = "data:image/"
FEW_BYTES = 4096
MANY_BYTES = 1 << 20
"""Rows of a body from here on become arrays beside the event loop, which that would keep for tenths of a second."""
MOST_WAITING = 32
"""Requests a core that wait to be decoded, or are: some tenths of a second."""
RETRY_AFTER_S = 1.0
TOGETHER = 4
"""All images of a request may have so many times the pixels that one may have."""


class RawRows:
    """Reads requests of plain rows, whatever they are made of.

    Args:
        limits: What is taken.
        room: Where bodies stay until they are whole, and those of images until they are decoded.
    """

    def __init__(self, limits: Limits, room: Room) -> None:
        self._limits = limits
        self._room = room
        self._waiting = 0
        # No more threads than cores: what is decoded at the same time is in memory at the same time.
        self._threads = ThreadPoolExecutor(cores(), thread_name_prefix="equipoise-images")

    async def read(self, headers: Mapping[bytes, bytes], body: bytes, plan: LoadedPlan) -> InferRequest:
        """Read a request.

        Args:
            headers: Lower-case name to value.
            body: A JPEG or PNG file, a form of several, or a text; or rows as JSON, which may be images in base64 or
                texts too.
            plan: What answers.

        Raises:
            BadRequest: It cannot be read, or is not for this model.
            Overloaded: As much is being decoded as can be soon.
            HttpError: There is no room for it.
        """
        content_type = headers.get(b"content-type", b"").strip().lower()
        if content_type.startswith(MULTIPART):
            _require_images(plan)
            parts = parts_of(body, headers[b"content-type"].decode("latin-1"), self._limits.rows)
            loose = [part.name for part in parts if part.filename is None]
            if loose or not parts:
                raise BadRequest(f"found {f'the field {loose[0]!r}' if loose else 'no part'}; needed image files alone")
            names = [f"image {number} ({part.filename!r})" for number, part in enumerate(parts, start=1)]
            return InferRequest(await self._decoded([part.content for part in parts], names, plan))
        if content_type.startswith(IMAGE) or body.startswith(MAGIC):
            return InferRequest(await self._decoded([body], ["the image"], plan))
        if isinstance(plan.preprocessor, TextPreprocessor):
            return await self._texts(content_type, body, plan, plan.preprocessor)
        value = parsed(body)
        encoded = None if plan.preprocessor is None else _encoded(rows_of_body(value))
        if encoded is None:
            return await self._read(predict_request, value, plan, body)
        require_rows("rows", [len(encoded)], self._limits)
        names = [f"row {number}" for number in range(1, len(encoded) + 1)]
        contents = await self._beside(len(body), lambda: list(map(_from_base64, encoded, names)))
        return with_rows(value, await self._decoded(contents, names, plan))

    async def _texts(
        self, content_type: bytes, body: bytes, plan: LoadedPlan, preprocessor: TextPreprocessor
    ) -> InferRequest:
        value = {"rows": [plain_text(body)]} if content_type.startswith(PLAIN) else as_rows(parsed(body))
        texts = texts_of(rows_of_body(value), preprocessor.settings.columns)
        if texts is None:
            return await self._read(predict_request, value, plan, body)
        require_rows("rows", [len(texts)], self._limits)
        if len(body) <= FEW_BYTES:  # it takes less time than another thread would to hear of it
            return with_rows(value, tokens(texts, plan, self._limits))
        return with_rows(value, await self._beside(len(body), tokens, texts, plan, self._limits))

    async def _read(self, read: Read, value: Any, plan: LoadedPlan, body: bytes) -> InferRequest:
        """Read rows here, or beside the loop where they are many."""
        if len(body) <= MANY_BYTES:
            return read(value, plan, self._limits)
        return await self._beside(len(body), read, value, plan, self._limits)

    async def _beside(
        self,
        body_bytes: int,
        function: Callable[Arguments, Result],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """Call a function in a thread, which may have to wait for others; who waits too long is refused at once."""
        if self._waiting >= MOST_WAITING * cores():
            raise Overloaded(f"{self._waiting} requests wait to be decoded; come again later", RETRY_AFTER_S)
        self._room.take(body_bytes)
        self._waiting += 1
        try:
            call = partial(function, *arguments, **named)
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        finally:
            self._waiting -= 1
            self._room.give_back(body_bytes)

    async def _decoded(self, contents: Sequence[bytes], names: Sequence[str], plan: LoadedPlan) -> dict[str, Array]:
        preprocessor = _require_images(plan)
        golden = next(iter(plan.bundle.golden_inputs.values()))
        elements = len(contents) * math.prod(golden.shape[1:])
        if elements > self._limits.elements:
            found = f"{len(contents):,} images become {elements:,} numbers"
            raise BadRequest(f"{found}; at most {self._limits.elements:,} are taken at once: send fewer")
        size = sum(map(len, contents))
        feeds = await self._beside(size, _tensors, preprocessor, contents, names, self._limits.pixels)
        return bound(feeds, plan.spec, {name: (name,) for name in feeds})


def _require_images(plan: LoadedPlan) -> Preprocessor:
    preprocessor = plan.preprocessor
    if preprocessor is None or not isinstance(preprocessor.settings, ImagePreprocessing):
        raise BadRequest("found an image; this model takes none: /openapi.json and /docs say what it takes")
    return preprocessor


def _tensors(preprocessor: Preprocessor, contents: Sequence[bytes], names: Sequence[str], pixels: int) -> Any:
    return as_bad_request(lambda: _within(preprocessor, contents, names, pixels))


def _within(
    preprocessor: Preprocessor, contents: Sequence[bytes], names: Sequence[str], most_pixels: int
) -> dict[str, Array]:
    """Tensors of images, of which their first bytes say beforehand that they are not too large."""
    together = 0
    for content, name in zip(contents, names, strict=True):
        height, width = image_sides(content, name)
        together += height * width
        if height * width > most_pixels or together > TOGETHER * most_pixels:
            raise BadRequest(
                f"{name}: an image of {width:,} x {height:,} pixels; at most {most_pixels:,} are taken in one image, "
                f"and {TOGETHER * most_pixels:,} in all of a request: make it smaller"
            )
    return preprocessor(contents, names)


def _encoded(rows: Any) -> list[str] | None:
    """Images in base64: a text a row, or an object of one; null where rows are something else."""
    if not isinstance(rows, list) or not rows:
        return None
    found = [next(iter(row.values())) if isinstance(row, dict) and len(row) == 1 else row for row in rows]
    return found if all(isinstance(text, str) for text in found) else None


def _from_base64(text: str, name: str) -> bytes:
    if text.startswith(DATA_URL):
        text = text.partition(",")[2]
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{name}: found {text[:20]!r}; needed a JPEG or PNG file in base64") from None
