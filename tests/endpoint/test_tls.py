"""TLS: what cannot work is told before anything is loaded; what works is HTTPS for real clients, and nothing else."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from equipoise.cli.main import main
from equipoise.endpoint import tls as tls_module
from equipoise.endpoint.grpc import SERVICE
from equipoise.endpoint.tls import Renewal, Tls
from equipoise.errors import InputError


@pytest.fixture
def files(tmp_path: Path, signed: Any) -> tuple[Path, Path]:
    return signed(tmp_path / "tls", "server")


def test_what_cannot_work_is_one_clear_line(tmp_path: Path, files: tuple[Path, Path], signed: Any) -> None:
    certificate, key = files
    other = signed(tmp_path / "tls", "other")
    secret = signed(tmp_path / "tls", "secret", b"password")
    text = tmp_path / "text"
    text.write_text("hello")
    assert Tls(certificate, key, other[0]).context().verify_mode is ssl.CERT_REQUIRED
    for tls, said in (
        (Tls(tmp_path / "x", key), "--tls-cert: "),
        (Tls(certificate, tmp_path / "x"), "--tls-key: "),
        (Tls(certificate, tmp_path), "Is a directory"),
        (Tls(certificate, key, tmp_path / "x"), "--tls-client-ca: "),
        (Tls(certificate, key, text), "holds no certificate"),
        (Tls(text, key), "both in PEM"),
        (Tls(certificate, text), "both in PEM"),
        (Tls(key, certificate), "both in PEM"),
        (Tls(certificate, other[1]), "is not the key of"),
        (Tls(*secret), "is encrypted"),
    ):
        with pytest.raises(InputError) as refused:
            tls.context()
        assert said in str(refused.value)


def test_it_is_told_before_a_model_is_loaded(
    tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = map(str, files)
    for options, said in (
        (["--tls-cert", str(tmp_path / "x"), "--tls-key", key], "--tls-cert: "),
        (["--tls-cert", certificate], "--tls-key"),
        (["--tls-key", key], "--tls-cert"),
        (["--tls-client-ca", certificate], "--tls-cert"),
    ):
        monkeypatch.setattr(sys, "argv", ["equipoise", "serve", "no-bundle", "--http", "0", *options])
        with pytest.raises(SystemExit) as ended:
            main()
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert ended.value.code == 2
        assert said in line


def asked(port: int, context: ssl.SSLContext) -> tuple[int, Any]:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
    try:
        connection.request("GET", "/v2/models/m")
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_https_is_answered_and_nothing_else(
    cascade: Callable[..., Any], serving: Any, files: tuple[Path, Path]
) -> None:
    certificate, key = files
    trusting = ssl.create_default_context(cafile=str(certificate))
    with serving(f"m={cascade().folder}", "--tls-cert", str(certificate), "--tls-key", str(key)) as server:
        assert server.said[-1] == f"ready at https://127.0.0.1:{server.port}"
        status, said = asked(server.port, trusting)
        assert (status, said["name"]) == (200, "m")
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as plain:
            plain.sendall(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n")
            try:
                received = plain.recv(100)
            except ConnectionResetError:
                received = b""
            assert not received.startswith(b"HTTP")
        old = ssl.create_default_context(cafile=str(certificate))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            asked(server.port, old)
        assert asked(server.port, trusting)[0] == 200


def test_clients_show_who_they_are_where_they_must(
    cascade: Callable[..., Any], serving: Any, tmp_path: Path, files: tuple[Path, Path], signed: Any
) -> None:
    certificate, key = files
    known, stranger = signed(tmp_path / "tls", "known"), signed(tmp_path / "tls", "stranger")
    options = ("--tls-cert", str(certificate), "--tls-key", str(key), "--tls-client-ca", str(known[0]))
    with serving(f"m={cascade().folder}", *options) as server:
        for shown in (None, stranger):
            context = ssl.create_default_context(cafile=str(certificate))
            if shown is not None:
                context.load_cert_chain(*shown)
            with pytest.raises((ssl.SSLError, ConnectionError)):
                asked(server.port, context)
        context = ssl.create_default_context(cafile=str(certificate))
        context.load_cert_chain(*known)
        assert asked(server.port, context)[0] == 200


def test_grpc_speaks_tls_with_the_same_files(
    cascade: Callable[..., Any], serving: Any, tmp_path: Path, files: tuple[Path, Path], signed: Any
) -> None:
    certificate, key = files
    known = signed(tmp_path / "tls", "known")
    options = ("--tls-cert", str(certificate), "--tls-key", str(key), "--tls-client-ca", str(known[0]))
    root = certificate.read_bytes()
    mine = grpc.ssl_channel_credentials(root, known[1].read_bytes(), known[0].read_bytes())
    with serving(f"m={cascade().folder}", "--grpc", "0", *options) as server:
        (place,) = [line.removeprefix("ready at grpcs://") for line in server.said if "grpcs://" in line]
        for channel, code in (
            (grpc.secure_channel(place, mine), grpc.StatusCode.OK),
            (grpc.secure_channel(place, grpc.ssl_channel_credentials(root)), grpc.StatusCode.UNAVAILABLE),
            (grpc.insecure_channel(place), grpc.StatusCode.UNAVAILABLE),
        ):
            with channel:
                call = channel.unary_unary(f"/{SERVICE}/ServerLive").future(b"", timeout=60)
                assert call.code() is code


def test_only_files_that_can_be_used_count_as_renewed(
    tmp_path: Path,
    files: tuple[Path, Path],
    signed: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tls_module, "LOOK_AGAIN_S", 0.0)
    certificate, key = files
    other = signed(tmp_path / "tls", "other")
    renewal = Renewal(Tls(certificate, key))
    assert renewal.pair() is None
    certificate.write_bytes(other[0].read_bytes())  # its key is on its way
    assert renewal.pair() is None
    assert "is not the key of" in caplog.text
    assert renewal.pair() is None
    assert caplog.text.count("is still shown") == 1
    key.unlink()
    assert renewal.pair() is None
    key.write_bytes(other[1].read_bytes())
    assert renewal.pair() == (other[0].read_bytes(), other[1].read_bytes())
    assert renewal.pair() is None
    monkeypatch.setattr(tls_module, "LOOK_AGAIN_S", 60.0)
    key.touch()
    assert renewal.pair() is None


def test_a_renewed_certificate_is_shown_without_a_restart(
    cascade: Callable[..., Any], serving: Any, tmp_path: Path, files: tuple[Path, Path], signed: Any
) -> None:
    certificate, key = files
    other = signed(tmp_path / "tls", "other")
    before = ssl.create_default_context(cafile=str(certificate))
    after = ssl.create_default_context(cafile=str(other[0]))
    options = ("--grpc", "0", "--tls-cert", str(certificate), "--tls-key", str(key))
    with serving(f"m={cascade().folder}", *options) as server:
        (place,) = [line.removeprefix("ready at grpcs://") for line in server.said if "grpcs://" in line]
        assert asked(server.port, before)[0] == 200
        assert is_live(place, certificate.read_bytes())
        certificate.write_bytes(other[0].read_bytes())
        key.write_bytes(other[1].read_bytes())
        end_s = time.monotonic() + 60
        while not (is_trusted(server.port, after) and is_live(place, other[0].read_bytes())):
            assert time.monotonic() < end_s
            time.sleep(0.2)
        with pytest.raises(ssl.SSLError):
            asked(server.port, before)


def is_trusted(port: int, context: ssl.SSLContext) -> bool:
    """Whether a server shows a certificate that these signed."""
    try:
        return asked(port, context)[0] == 200
    except ssl.SSLError:
        return False


def is_live(place: str, root: bytes) -> bool:
    """Whether a gRPC server that shows a certificate which these signed says that it is live."""
    with grpc.secure_channel(place, grpc.ssl_channel_credentials(root)) as channel:
        call = channel.unary_unary(f"/{SERVICE}/ServerLive").future(b"", timeout=60)
        return call.code() is grpc.StatusCode.OK
