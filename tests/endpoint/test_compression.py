"""Bodies that are compressed: both ways, both encodings, and never more of them in memory than is taken."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from equipoise.endpoint.compression import AT_ONCE_BYTES, MIN_BYTES, Damaged, TooLarge, accepted, deflated, inflated
from equipoise.endpoint.http import Limits

Array = NDArray[Any]
INFER = "/v2/models/m/infer"
LENGTH = "inference-header-content-length"
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}
MOST = 1 << 20
SIZES = (0, 1, 100, AT_ONCE_BYTES - 1, AT_ONCE_BYTES, AT_ONCE_BYTES + 1, MOST)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("random", [True, False])
def test_what_is_inflated_is_what_was_packed(size: int, random: bool) -> None:
    data = os.urandom(size) if random else b"a" * size
    assert asyncio.run(inflated(gzip.compress(data), "gzip", MOST)) == data
    assert asyncio.run(inflated(zlib.compress(data), "deflate", MOST)) == data
    assert asyncio.run(inflated(raw_deflate(data), "deflate", MOST)) == data
    assert gzip.decompress(asyncio.run(deflated(data, "gzip"))) == data
    assert zlib.decompress(asyncio.run(deflated(data, "deflate"))) == data


@pytest.mark.parametrize("size", [1, AT_ONCE_BYTES + 1, MOST])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_bytes_that_end_too_soon_or_too_late_or_are_others_are_damaged(size: int, encoding: Any) -> None:
    whole = PACK[encoding](os.urandom(size))
    for damaged in (whole[:-1], whole[: len(whole) // 2], whole + b"x", whole + whole, b"\xff" + whole, b"", b"{}"):
        with pytest.raises(Damaged):
            asyncio.run(inflated(damaged, encoding, MOST + 1))


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_given_up_as_soon_as_it_is_too_large(encoding: Any) -> None:
    bomb = PACK[encoding](bytes(256 << 20))
    tracemalloc.start()
    with pytest.raises(TooLarge):
        asyncio.run(inflated(bomb, encoding, MOST))
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 3 * MOST
    exact = PACK[encoding](bytes(MOST))
    assert len(asyncio.run(inflated(exact, encoding, MOST))) == MOST
    with pytest.raises(TooLarge):
        asyncio.run(inflated(exact, encoding, MOST - 1))


def test_large_bodies_are_not_packed_or_unpacked_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    make, unmake = zlib.compressobj, zlib.decompressobj

    class Seen:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            if name in ("compress", "decompress"):
                threads.append(threading.current_thread().name)
            return getattr(self.inner, name)

    monkeypatch.setattr(zlib, "compressobj", lambda *args: Seen(make(*args)))
    monkeypatch.setattr(zlib, "decompressobj", lambda *args: Seen(unmake(*args)))
    packed = asyncio.run(deflated(bytes(MOST), "gzip"))
    assert len(asyncio.run(inflated(packed, "gzip", MOST))) == MOST
    main = threading.main_thread().name
    assert threads.count(main) == 1  # the first step of inflating, of a size that is bounded
    assert len(threads) > 2


@given(data=st.binary(max_size=300), encoding=st.sampled_from(["gzip", "deflate"]))
def test_no_bytes_break_it(data: bytes, encoding: Any) -> None:
    try:
        found = asyncio.run(inflated(data, encoding, 1000))
    except (Damaged, TooLarge):
        return
    assert len(found) <= 1000


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None), (b"", None), (b"identity", None), (b"br", None), (b"gzip", "gzip"), (b"deflate", "deflate"),
        (b"gzip, deflate", "gzip"), (b"deflate, gzip", "gzip"), (b"gzip;q=0.1, deflate;q=0.9", "deflate"),
        (b"GZIP ; q=1", "gzip"), (b"*", "gzip"), (b"gzip;q=0, *", "deflate"), (b"gzip;q=0", None), (b"*;q=0", None),
        (b"gzip;q=x", None), (b"gzip;q=nan", None), (b"\xff;;=,,", None),
    ],
)  # fmt: skip
def test_clients_get_what_they_take(header: bytes | None, expected: str | None) -> None:
    assert accepted(header) == expected


@pytest.fixture
def made(cascade: Callable[..., Any]) -> Any:
    return cascade()


@pytest.fixture
def server(made: Any, served: Any) -> Iterator[Any]:
    with served([made.loaded], Limits(body_bytes=50_000, inflated_bytes=100_000)) as running:
        yield running


def ask(server: Any, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", INFER, body, headers)
        response = connection.getresponse()
        return response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZip"])
@pytest.mark.parametrize("binary", [True, False])
def test_requests_by_their_content_encoding(server: Any, made: Any, images: Array, encoding: str, binary: bool) -> None:
    said: dict[str, Any] = {"name": "image", "datatype": "UINT8", "shape": list(images.shape)}
    more = {"parameters": {"binary_data_size": images.size}} if binary else {"data": images.tolist()}
    head = json.dumps({"inputs": [said | more]}).encode()
    body = PACK[encoding.lower()](head + images.tobytes() if binary else head)
    headers = {"content-encoding": encoding} | ({LENGTH: str(len(head))} if binary else {})
    status, answer, _ = ask(server, body, headers)
    assert status == 200, answer
    expected = made.expected(images)["logits"].ravel()
    np.testing.assert_allclose(json.loads(answer)["outputs"][0]["data"], expected, rtol=1e-5, atol=1e-6)


def test_the_length_of_the_json_is_that_before_it_was_compressed(server: Any, images: Array) -> None:
    said = {"name": "image", "datatype": "UINT8", "shape": list(images.shape)}
    tensor = said | {"parameters": {"binary_data_size": images.size}}
    head = json.dumps({"id": "x" * 500, "inputs": [tensor]}).encode()
    body = gzip.compress(head + images.tobytes())
    assert len(body) < len(head)  # so that a length in compressed bytes would be refused
    headers = {"content-encoding": "gzip"}
    assert ask(server, body, headers | {LENGTH: str(len(head))})[0] == 200
    assert ask(server, body, headers | {LENGTH: str(len(body))})[0] == 400
    assert ask(server, gzip.compress(images.tobytes()), headers | {LENGTH: "0"})[0] == 200


@pytest.mark.parametrize(("asked", "unpack"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
@pytest.mark.parametrize("binary", [True, False])
def test_large_answers_by_their_accept_encoding(
    server: Any, made: Any, images: Array, asked: str, unpack: Callable[[bytes], bytes], binary: bool
) -> None:
    many = np.concatenate([images[:1]] * 400)
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(many.shape), "data": many.tolist()}
    body = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": binary}}).encode()
    plain = ask(server, body, {})
    assert "content-encoding" not in plain[2]
    status, packed, headers = ask(server, body, {"accept-encoding": asked})
    assert (status, headers["content-encoding"], int(headers["content-length"])) == (200, asked, len(packed))
    assert unpack(packed) == plain[1]
    assert headers.get(LENGTH) == plain[2].get(LENGTH)
    assert len(packed) < len(plain[1])
    if binary:
        logits = np.frombuffer(plain[1][int(plain[2][LENGTH]) :], np.float32).reshape(-1, 3)
        np.testing.assert_allclose(logits, made.expected(many)["logits"], rtol=1e-5, atol=1e-6)


def test_what_compressing_would_not_help_is_sent_as_it_is(server: Any, images: Array) -> None:
    one = {"name": "image", "datatype": "UINT8", "shape": [1, 2, 2], "data": images[0].tolist()}
    _, answer, headers = ask(server, json.dumps({"inputs": [one]}).encode(), {"accept-encoding": "gzip"})
    assert len(answer) < MIN_BYTES
    assert "content-encoding" not in headers


def test_only_answers_are_compressed(server: Any) -> None:
    """Errors and metadata are not: tritonclient asks for it and then reads them as they are."""
    status, body, headers = ask(server, b"[" + b"1," * 3000, {"accept-encoding": "gzip, deflate"})
    assert (status, list(json.loads(body))) == (400, ["error"])
    assert "content-encoding" not in headers
    status, said, headers = server.ask("GET", "/openapi.json", None, {"accept-encoding": "gzip, deflate"})
    assert (status, said["openapi"]) == (200, "3.1.0")
    assert "content-encoding" not in headers


def test_a_bomb_is_an_error_and_the_connection_goes_on(server: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    bomb = gzip.compress(bytes(20 << 20))
    for _ in range(3):
        connection.request("POST", INFER, bomb, {"content-encoding": "gzip"})
        response = connection.getresponse()
        assert (response.status, list(json.loads(response.read()))) == (413, ["error"])
        assert response.getheader("connection") is None
    connection.request("POST", INFER, b"{}" + bomb, {"content-encoding": "gzip"})
    response = connection.getresponse()
    assert (response.status, list(json.loads(response.read()))) == (400, ["error"])
    connection.close()
