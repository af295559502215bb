"""The log of observations: what is in it, that no request waits for it, and that a killed server leaves it behind."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import re
import resource
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb

from equipoise.core.observation import COLUMNS
from equipoise.endpoint.http import Limits
from equipoise.endpoint.keys import add_key
from equipoise.endpoint.observability import ObservabilitySettings
from equipoise.errors import BadRequest, Overloaded
from equipoise.execute.plan import open_plan
from equipoise.observe import observing as module
from equipoise.observe.observing import ObservationLog, ObservationSettings
from equipoise.serve import Engine, load_plan
from equipoise.serve.events import RequestEnd
from equipoise.store.bundle import read_bundle
from equipoise.store.observations import read_observations

Array = NDArray[Any]
Run = Callable[[Coroutine[Any, Any, None]], None]
LABELS = np.array(["cat", "dog", "eel"])


def rows_of(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_observations(folder).to_pylist()
    return found


def test_each_request_is_a_row_with_what_became_of_it(
    run: Run, cascade: Callable[..., Any], images: Array, folder: Path
) -> None:
    made = cascade(limit_s=1.0)

    async def main() -> None:
        with ObservationLog(ObservationSettings(folder)) as log:
            async with Engine([made.loaded], observers=[log]) as engine:
                await engine.infer("m", {"image": images}, request_id="all")
                for row in range(len(images)):
                    await engine.infer("m", {"image": images[row : row + 1]}, request_id=str(row))
        assert log.written == 1 + len(images)
        assert not any(log.dropped.values())

    run(main())
    first, *rest = rows_of(folder)
    expected = made.expected(images)
    stages = (expected["equipoise_stage"] + 1).tolist()
    labels = LABELS[expected["logits"].argmax(axis=1)].tolist()
    assert (first["client_id"], first["outcome"], first["rows"], first["stages"]) == (
        "all", "answered", len(images), [1, 2],
    )  # fmt: skip
    assert (first["model"], first["version"], first["plan"]) == ("m", "1", made.loaded.bundle.plan.content_digest)
    assert first["answered_by"] == stages
    assert first["labels"] == labels
    decided = expected["equipoise_confidence"][np.arange(len(images)), expected["equipoise_stage"]]
    sure = expected["equipoise_stage"] == 0  # the last stage has no rule: what the model itself says counts there
    np.testing.assert_allclose(np.array(first["confidences"])[sure], decided[sure], rtol=1e-5)
    assert first["confidence_min"] == pytest.approx(min(first["confidences"]))
    assert first["confidence_mean"] == pytest.approx(np.mean(first["confidences"]))
    assert [row["labels"] for row in rest] == [[label] for label in labels]
    assert [row["answered_by"] for row in rest] == [[stage] for stage in stages]
    assert [row["client_id"] for row in rest] == [str(row) for row in range(len(images))]
    for row in (first, *rest):
        assert row["total_s"] >= row["computing_s"] > 0
        assert row["queued_s"] >= 0
        assert (row["untrusted_rows"], row["values"], row["inputs"], row["key"], row["request_id"]) == (0, *[None] * 4)
        assert (row["cached"], row["joined"], row["degraded"], row["share"]) == (False, False, False, 1.0)
    assert [path.suffix for path in folder.iterdir()] == [".parquet"]


def test_what_got_no_answer_is_a_row_too(
    run: Run, cascade: Callable[..., Any], gate: Any, images: Array, folder: Path
) -> None:
    made = cascade(limit_s=150, service_s=(100, 0.001))
    gate.raises_on = lambda batch: bool((batch == 255).all())

    async def main() -> None:
        with ObservationLog(ObservationSettings(folder)) as log:
            async with Engine([made.gated(0, gate)], observers=[log]) as engine:
                first = engine.submit("m", {"image": images[:1]})
                await gate.reached(1)
                with pytest.raises(Overloaded):
                    await engine.infer("m", {"image": images[:1]})
                gate.open.set()
                await first
                with pytest.raises(BadRequest):
                    await engine.infer("m", {"image": np.full((1, 2, 2), 255, np.uint8)})

    run(main())
    rows = {row["outcome"]: row for row in rows_of(folder)}
    assert set(rows) == {"answered", "shed", "failed"}
    for outcome in ("shed", "failed"):
        row = rows[outcome]
        assert (row["labels"], row["answered_by"], row["confidences"], row["untrusted_rows"]) == (None,) * 4
    assert rows["shed"]["stages"] == []


def test_what_was_remembered_referred_and_degraded_is_marked(
    run: Run, cascade: Callable[..., Any], cache_rule: Any, images: Array, folder: Path
) -> None:
    made = cascade(cache=cache_rule, distrust="refer")
    trusted = made.expected(images)["equipoise_trusted"]
    assert set(trusted) == {True, False}

    async def main() -> None:
        with ObservationLog(ObservationSettings(folder)) as log:
            async with Engine([made.loaded], observers=[log]) as engine:
                await asyncio.gather(*(engine.infer("m", {"image": images}) for _ in range(2)))
                await engine.infer("m", {"image": images})

    run(main())
    rows = rows_of(folder)
    assert [(row["cached"], row["joined"]) for row in rows] == [(False, False), (False, True), (True, False)]
    for row in rows:
        assert row["untrusted_rows"] == (~trusted).sum()
        assert [label is not None for label in row["labels"]] == trusted.tolist()
        assert row["stages"] == ([] if row["cached"] else [1, 2])


def test_numbers_are_values_and_columns_of_text_can_be_read_back(
    run: Run, array_bundle: Path, sklearn_bundle: Path, folder: Path
) -> None:
    asked = {"x": np.array([[1.0, 2.0], [3.0, 4.5]])}
    expected = open_plan(read_bundle(array_bundle)).answer(asked)["value"]
    people = {
        "age": np.array([[30], [40]]),
        "income": np.array([[1.5], [2.5]]),
        "town": np.array([["Ulm"], ["Köln"]], dtype=object),
    }
    plans = [load_plan(array_bundle, "a"), load_plan(sklearn_bundle, "t")]

    async def main() -> None:
        with ObservationLog(ObservationSettings(folder, inputs=True)) as log:
            async with Engine(plans, observers=[log]) as engine:
                await engine.infer("a", asked)
                await engine.infer("t", people)
                await engine.infer("t", people, outputs=["probabilities"])

    run(main())
    numbers, table, others = rows_of(folder)
    np.testing.assert_allclose(numbers["values"], expected.ravel())
    assert (numbers["labels"], numbers["confidences"], table["values"]) == (None, None, None)
    (x,) = numbers["inputs"]
    assert (x["name"], x["datatype"], x["shape"]) == ("x", "FP64", [2, 2])
    np.testing.assert_array_equal(np.frombuffer(x["data"]).reshape(x["shape"]), asked["x"])
    assert [each["datatype"] for each in table["inputs"]] == ["INT64", "FP64", "BYTES"]
    assert "Köln".encode() in table["inputs"][2]["data"]
    expected_labels = open_plan(read_bundle(sklearn_bundle)).answer(people)["label"]
    assert table["labels"] == [str(label) for label in expected_labels]
    assert all(0.5 <= share <= 1 for share in table["confidences"])
    assert others["labels"] is None
    assert others["answered_by"] == [1, 1]


def test_scores_that_are_no_numbers_take_nothing_from_the_others(
    run: Run, cascade: Callable[..., Any], images: Array, folder: Path
) -> None:
    made = cascade()
    ends: list[RequestEnd] = []

    class Catch:
        def request_ended(self, end: RequestEnd) -> None:
            ends.append(end)

        def batch_ended(self, end: Any) -> None:
            pass

    async def main() -> None:
        async with Engine([made.loaded], observers=[Catch()]) as engine:
            for row in range(3):
                await engine.infer("m", {"image": images[row : row + 1]})

    run(main())
    broken = ends[1].answer
    assert broken is not None
    broken.outputs["logits"] = np.full((1, 3), np.nan, np.float32)
    with ObservationLog(ObservationSettings(folder)) as log:
        for end in ends:
            log.request_ended(end)
    labels = LABELS[made.expected(images[:3])["logits"].argmax(axis=1)].tolist()
    assert [row["labels"] for row in rows_of(folder)] == [[labels[0]], None, [labels[2]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a log goes: what bundles lie beside is another folder."""
    return tmp_path / "log"


@pytest.fixture
def end(run: Run, cascade: Callable[..., Any], images: Array) -> RequestEnd:
    """How a request of one row ended."""
    ends: list[RequestEnd] = []

    class Catch:
        def request_ended(self, end: RequestEnd) -> None:
            ends.append(end)

        def batch_ended(self, end: Any) -> None:
            pass

    async def main() -> None:
        async with Engine([cascade().loaded], observers=[Catch()]) as engine:
            await engine.infer("m", {"image": images[:1]})

    run(main())
    return ends[0]


def test_a_share_of_the_requests_is_kept_and_says_so(end: RequestEnd, folder: Path) -> None:
    chance = random.Random(3)
    with ObservationLog(ObservationSettings(folder, share=0.3), chance.random) as log:
        for _ in range(1000):
            log.request_ended(end)
    again = random.Random(3)
    kept = sum(again.random() < 0.3 for _ in range(1000))
    assert 200 < kept < 400
    table = read_observations(folder)
    assert len(table) == log.written == kept
    assert set(table["share"].to_pylist()) == {0.3}


def test_segments_end_by_size_and_by_age_and_files_go(end: RequestEnd, folder: Path) -> None:
    settings = ObservationSettings(folder, segment_bytes=1, keep_bytes=1)
    with ObservationLog(settings) as log:
        for number in range(1, 4):
            log.request_ended(end)
            while log.written < number:
                time.sleep(0.01)
    assert rows_of(folder) == []
    with ObservationLog(ObservationSettings(folder, segment_s=0.0)) as log:
        for number in range(1, 4):
            log.request_ended(end)
            while log.written < number:
                time.sleep(0.01)
    assert len(list(folder.iterdir())) == 3
    assert len(rows_of(folder)) == 3


def test_files_have_their_time_even_where_nobody_asks_anything(
    end: RequestEnd, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ObservationLog(ObservationSettings(folder)) as log:
        log.request_ended(end)
    (path,) = folder.iterdir()
    monkeypatch.setattr(module, "TIDY_S", 0.0)
    with ObservationLog(ObservationSettings(folder, keep_s=3600.0)):
        os.utime(path, (0, 0))
        while path.exists():
            time.sleep(0.01)


def test_what_a_full_queue_cannot_take_is_dropped_and_counted(
    end: RequestEnd, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ObservationLog(ObservationSettings(folder))
    monkeypatch.setattr(module, "MOST_WAITING", 5)
    for _ in range(8):
        log.request_ended(end)
    assert log.dropped == {"queue_full": 3, "not_written": 0}
    monkeypatch.setattr(module, "MOST_WAITING", 100)
    monkeypatch.setattr(module, "MOST_WAITING_BYTES", 5 * 12 + 13)  # three float32 each, five of which wait
    for _ in range(3):
        log.request_ended(end)
    assert log.dropped == {"queue_full": 5, "not_written": 0}
    with log:
        pass
    assert log.written == len(rows_of(folder)) == 6


def test_a_folder_that_takes_nothing_is_logged_once_and_counted(
    end: RequestEnd, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file")
    with ObservationLog(ObservationSettings(folder)) as log:
        for number in range(1, 4):
            log.request_ended(end)
            while log.dropped["not_written"] < number:
                time.sleep(0.01)
        assert log.written == 0
    assert len(caplog.records) == 1
    assert "cannot be" in caplog.text


def test_a_disk_that_is_full_and_then_is_not(end: RequestEnd, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    bound, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ObservationLog(ObservationSettings(folder)) as log:
        log.request_ended(end)
        while log.written < 1:
            time.sleep(0.01)
        (segment,) = folder.iterdir()
        resource.setrlimit(resource.RLIMIT_FSIZE, (segment.stat().st_size + 1, most))
        try:
            for number in (1, 2):
                log.request_ended(end)
                while log.dropped["not_written"] < number:
                    time.sleep(0.01)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (bound, most))
        log.request_ended(end)
    assert log.written == len(rows_of(folder)) == 2
    assert len(caplog.records) == 1


def test_requests_over_http_have_their_names_in_it(
    cascade: Callable[..., Any], images: Array, served: Any, folder: Path
) -> None:
    settings = ObservabilitySettings(observations=ObservationSettings(folder))
    with served([cascade().loaded], Limits(), settings) as server:
        body = {"rows": images[:2].tolist(), "id": "mine"}
        _, _, headers = server.ask("POST", "/v1/predict/m", body, {"x-request-id": "theirs-1"})
        assert headers["x-request-id"] == "theirs-1"
        _, _, headers = server.ask("POST", "/v1/predict/m", body)
    first, second = rows_of(folder)
    assert (first["request_id"], first["client_id"]) == ("theirs-1", "mine")
    assert second["request_id"] == headers["x-request-id"]


def test_a_server_that_ends_has_logged_all_of_both_transports_and_who_asked(
    cascade: Callable[..., Any], images: Array, serving: Any, folder: Path, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys.json", "sam", "infer", None)
    options = ("--keys", str(tmp_path / "keys.json"), "--observations", str(folder), "--observe-inputs")
    tensor = {"name": "image", "datatype": "UINT8", "shape": images.shape}
    message = pb.ModelInferRequest(model_name="m", id="mine", inputs=[tensor], raw_input_contents=[images.tobytes()])
    with serving(f"m={cascade().folder}", "--grpc", "0", "--log", "none", *options) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        headers = {"authorization": f"Bearer {key}", "x-request-id": "first"}
        connection.request("POST", "/v1/predict/m", json.dumps(images[:1].tolist()), headers)
        assert connection.getresponse().status == 200
        connection.close()
        (place,) = [line.rsplit("/", 1)[1] for line in server.said if "grpc://" in line]
        with grpc.insecure_channel(place) as channel:
            metadata = (("authorization", f"Bearer {key}"), ("x-request-id", "second"))
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            call(message.SerializeToString(), metadata=metadata, timeout=60)
        server.process.terminate()
        assert server.process.wait(60) == 0
    assert [path.suffix for path in folder.iterdir()] == [".parquet"]
    rows = rows_of(folder)
    assert [(row["request_id"], row["client_id"], row["key"]) for row in rows] == [
        ("first", None, "sam"), ("second", "mine", "sam"),
    ]  # fmt: skip
    assert [row["inputs"][0]["data"] for row in rows] == [images[:1].tobytes(), images.tobytes()]
    assert key.encode() not in b"".join(path.read_bytes() for path in folder.iterdir())


def ask_until_it_is_gone(port: int, number: int, images: Array, got: list[tuple[float, str]]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    count = 0
    try:
        while True:
            count += 1
            name = f"{number}-{count}"
            connection.request(
                "POST", "/v1/predict/m", json.dumps({"rows": images[:1].tolist()}), {"x-request-id": name}
            )
            response = connection.getresponse()
            response.read()
            assert response.status == 200
            got.append((time.monotonic(), name))
    except (OSError, http.client.HTTPException):
        pass
    finally:
        connection.close()


def test_a_killed_server_loses_no_more_than_its_last_second(
    cascade: Callable[..., Any], images: Array, serving: Any, folder: Path
) -> None:
    arguments = (f"m={cascade().folder}", "--observations", str(folder), "--log", "none")
    got: list[list[tuple[float, str]]] = [[] for _ in range(3)]
    with serving(*arguments) as server:
        clients = [
            threading.Thread(target=ask_until_it_is_gone, args=(server.port, number, images, mine))
            for number, mine in enumerate(got)
        ]
        for client in clients:
            client.start()
        start_s = time.monotonic()
        while min(map(len, got)) < 50 or time.monotonic() - start_s < 3:
            time.sleep(0.01)
        killed_s = time.monotonic()
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        for client in clients:
            client.join()
    (segment,) = folder.iterdir()
    assert segment.suffix == ".arrows"
    left = set(read_observations(folder)["request_id"].to_pylist())
    early = {name for mine in got for at_s, name in mine if at_s < killed_s - 1.5}
    assert len(early) > 100
    assert early <= left
    with serving(*arguments) as server:
        while any(path.suffix == ".arrows" for path in folder.iterdir()):
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
    assert set(read_observations(folder)["request_id"].to_pylist()) == left
    assert [path.suffix for path in folder.iterdir()] == [".parquet"]


def test_the_page_tells_of_every_column_and_of_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "serving" / "observations.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \| (.*) \|$", page, re.MULTILINE)
    assert rows == [(column.name, _called(column.type), column.meaning) for column in COLUMNS]


def _called(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_called(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "tensor"
    return "time" if pa.types.is_timestamp(kind) else str(kind)
