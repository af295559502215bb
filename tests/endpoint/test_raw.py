"""Images through real sockets: every way to send one, the same answer, and everything that can be wrong with one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.core.preprocessing import ImagePreprocessing
from equipoise.endpoint import raw
from equipoise.endpoint.http import Limits
from equipoise.endpoint.multipart import parts_of
from equipoise.errors import BadRequest
from equipoise.execute.predict_file import predict_file
from equipoise.serve import load_plan
from equipoise.store.bundle import read_bundle
from picturing import COLOURS, coloured, encoded, picture_bundle

RESIZED = ImagePreprocessing.model_validate(
    {
        "do_resize": True, "size": {"height": 8, "width": 8}, "resample": 3, "do_rescale": False, "layout": "NHWC",
        "dtype": "uint8", "input": "image",
    }
)  # fmt: skip
PATH = "/v1/predict/colours"
JPEG = encoded(coloured("red", 1, 30), "JPEG")
PNG = encoded(coloured("blue", 2, 20))
LIMITS = Limits(pixels=10_000, elements=8 * 8 * 3 * 4, rows=6)


@pytest.fixture
def bundle(tmp_path: Path, bundled: Any) -> Path:
    return picture_bundle(tmp_path / "colours", bundled, RESIZED)


@pytest.fixture
def server(bundle: Path, onnx_bundle: Path, served: Any) -> Iterator[Any]:
    with served([load_plan(bundle, "colours"), load_plan(onnx_bundle, "plain")], LIMITS) as running:
        yield running


def form(*contents: bytes, boundary: str = "frontier", **changes: str) -> tuple[bytes, dict[str, str]]:
    head = 'Content-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg'
    head = changes.get("head", head)
    body = b"".join(
        f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n" for content in contents
    ) + f"--{boundary}--\r\n".encode()  # fmt: skip
    return body, {"content-type": f"multipart/form-data; boundary={boundary}"}


def test_every_way_gives_the_answer_of_predict(tmp_path: Path, bundle: Path, server: Any) -> None:
    (tmp_path / "one.jpg").write_bytes(JPEG)
    predict_file(read_bundle(bundle), tmp_path / "one.jpg", tmp_path / "out.csv")
    (expected,) = pd.read_csv(tmp_path / "out.csv")[["label", "confidence"]].to_dict("records")
    text = b64encode(JPEG).decode()
    for body, headers in (
        (JPEG, {"content-type": "image/jpeg"}),
        (JPEG, {}),
        form(JPEG),
        ([text], None),
        ({"rows": [{"image": text}], "id": "mine", "priority": "high"}, None),
        ([f"data:image/jpeg;base64,{text}"], None),
    ):
        status, said, _ = server.ask("POST", PATH, body, headers)
        assert status == 200, said
        assert said["predictions"] == [pytest.approx(expected)]
        assert said.get("id") == ("mine" if isinstance(body, dict) else None)


def test_several_images_keep_their_order(server: Any) -> None:
    status, said, _ = server.ask("POST", PATH, *form(PNG, JPEG, encoded(coloured("green", 3))))
    assert status == 200, said
    assert [row["label"] for row in said["predictions"]] == ["blue", "red", "green"]


def test_tensors_are_taken_as_before(server: Any) -> None:
    pixels = coloured("green", 4).tolist()
    for body in ([pixels], [{"image": pixels}]):
        status, said, _ = server.ask("POST", PATH, body)
        assert (status, said["predictions"][0]["label"]) == (200, "green")


def wrong() -> dict[str, tuple[Any, dict[str, str] | None, str]]:
    text = b64encode(JPEG).decode()
    octets = {"content-type": "image/png"}
    field = 'Content-Disposition: form-data; name="id"'
    return {
        "a cut JPEG": (JPEG[:400], octets, "the image: a damaged image"),
        "another kind": (b"GIF89a", octets, "the image: neither a JPEG nor a PNG"),
        "an empty body": (b"", octets, "the image: an empty file"),
        "too many pixels": (encoded(coloured("red", 1, 101)), octets, "at most 10,000 are taken in one image"),
        "too many together": (
            form(*[encoded(coloured("red", 1, 100))] * 4, encoded(coloured("red", 1, 10)))[0],
            form()[1],
            "5 images become 960 numbers",
        ),
        "the second of a form": (*form(JPEG, b"nothing"), "image 2 ('a.jpg'): neither a JPEG"),
        "a field beside": (*form(b"3", head=field), "found the field 'id'; needed image files alone"),
        "no parts": (b"--frontier--\r\n", form()[1], "found no part"),
        "too many parts": (*form(*[JPEG] * 8), "more than 6 parts"),
        "no end": (form(JPEG)[0][:-10], form()[1], "does not end with its boundary"),
        "no boundary": (JPEG, {"content-type": "multipart/form-data"}, "no usable boundary"),
        "no base64": (["not base64!"], None, "row 1: found 'not base64!'"),
        "mixed rows": ([text, [1, 2]], None, "row"),
        "too many rows": ([text] * 7, None, "at most 6"),
        "another key": ({"rows": [text], "extra": 1}, None, "found extra"),
        "a priority": ({"rows": [text], "priority": "top"}, None, "priority"),
    }


@pytest.mark.parametrize("what", wrong())
def test_what_is_wrong_is_a_400_that_says_so(server: Any, what: str) -> None:
    body, headers, message = wrong()[what]
    status, said, _ = server.ask("POST", PATH, body, headers)
    assert status == 400, said
    assert message in said["error"]


def test_a_model_without_preprocessing_says_so(server: Any) -> None:
    for body, headers in ((JPEG, {"content-type": "image/jpeg"}), form(JPEG)):
        status, said, _ = server.ask("POST", "/v1/predict/plain", body, headers)
        assert status == 400
        assert "this model takes none" in said["error"]


def test_the_loop_goes_on_while_an_image_is_decoded(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from equipoise.preprocess.images import ImagePreprocessor

    waits = asyncio.Event()
    decode = ImagePreprocessor.__call__

    def held(self: Any, raw: Any, names: Any) -> Any:
        status, said, _ = server.ask("GET", "/v2/health/live")  # answered by the loop, which waits for this very thread
        assert (status, said) == (200, {"live": True})
        waits.set()
        return decode(self, raw, names)

    monkeypatch.setattr(ImagePreprocessor, "__call__", held)
    assert server.ask("POST", PATH, JPEG)[0] == 200
    assert waits.is_set()


def test_a_deadline_counts_from_when_a_request_came(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = raw._within

    def slow(*arguments: Any) -> Any:
        time.sleep(0.2)
        return decode(*arguments)

    monkeypatch.setattr(raw, "_within", slow)
    assert server.ask("POST", PATH, JPEG, {"x-request-timeout-ms": "10000"})[0] == 200
    status, said, _ = server.ask("POST", PATH, JPEG, {"x-request-timeout-ms": "100"})
    assert (status, "deadline" in said["error"]) == (504, True)


def test_no_more_is_taken_than_can_be_decoded_soon(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "MOST_WAITING", 0)
    status, said, headers = server.ask("POST", PATH, JPEG)
    assert (status, "wait to be decoded" in said["error"], headers["retry-after"]) == (429, True, "1")
    assert server.rest.room.free_bytes == server.rest.room.most_bytes


def test_many_rows_are_read_beside_the_loop(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    read = raw.predict_request

    def noted(*arguments: Any) -> Any:
        threads.append(threading.current_thread().name)
        return read(*arguments)

    monkeypatch.setattr(raw, "predict_request", noted)
    for many_bytes, beside in ((1 << 20, False), (1, True)):
        monkeypatch.setattr(raw, "MANY_BYTES", many_bytes)
        assert server.ask("POST", "/v1/predict/plain", {"rows": [[[1, 2], [3, 4]]]})[0] == 200
        assert threads.pop().startswith("equipoise-images") is beside


def test_curl_sends_a_file(server: Any, tmp_path: Path) -> None:
    (tmp_path / "one.jpg").write_bytes(JPEG)
    for how in (["--data-binary", f"@{tmp_path / 'one.jpg'}"], ["-F", f"image=@{tmp_path / 'one.jpg'}"]):
        address = f"http://127.0.0.1:{server.port}{PATH}"
        try:
            done = subprocess.run(["curl", "-sS", *how, address], capture_output=True, check=True)
        except FileNotFoundError:
            pytest.skip("curl is not installed")
        assert json.loads(done.stdout)["predictions"][0]["label"] == "red"


def test_the_document_and_the_page_say_so(server: Any) -> None:
    document = server.ask("GET", "/openapi.json")[1]
    taken = document["paths"][PATH]["post"]["requestBody"]["content"]
    assert set(taken) == {"application/json", "image/jpeg", "image/png", "multipart/form-data"}
    assert set(document["paths"]["/v1/predict/plain"]["post"]["requestBody"]["content"]) == {"application/json"}
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/docs", headers={"accept": "text/html"})
    page = connection.getresponse().read().decode()
    connection.close()
    assert page.count('type="file" accept="image/jpeg,image/png"') == 1
    assert ", ".join(COLOURS) in page


def test_parts_keep_every_byte() -> None:
    contents = [bytes(range(256)) * 3, b"", b"\r\n--frontie\r\n\r\n", b"\n\r"]
    body, headers = form(*contents)
    parts = parts_of(b"a preamble\r\n" + body + b"an epilogue", headers["content-type"], 10)
    assert [part.content for part in parts] == contents
    assert (parts[0].name, parts[0].filename) == ("image", "a.jpg")
    quoted = 'multipart/form-data; boundary="a b"'
    assert parts_of(form(b"x", boundary="a b")[0], quoted, 1)[0].content == b"x"


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4), st.binary(max_size=20), st.integers(0, 400))
def test_parts_come_back_or_are_refused(contents: list[bytes], strange: bytes, place: int) -> None:
    body, headers = form(*contents, boundary="0f-8#frontier")
    kind = headers["content-type"]
    assert [part.content for part in parts_of(body, kind, len(contents))] == contents
    changed = body[: place % len(body)] + strange + body[place % len(body) + 1 :]
    with contextlib.suppress(BadRequest):
        assert len(parts_of(changed, kind, 3)) <= 3


@pytest.mark.parametrize("head", ["", "Content-Type: image/png", "x: " + "y" * 9000])
def test_parts_without_a_usable_head_are_refused(head: str) -> None:
    body, headers = form(b"x", head=head)
    with pytest.raises(BadRequest, match="a part of the body has no"):
        parts_of(body, headers["content-type"], 10)
