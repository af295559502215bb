"""Sentences through real sockets: every way to send one, the same answer, and everything that can be wrong with one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from equipoise.endpoint.http import Limits
from equipoise.execute.predict_file import predict_file
from equipoise.serve import load_plan
from equipoise.store.bundle import read_bundle
from sentencing import sentence_bundle, sentences_file

pytest.importorskip("tokenizers", reason="needs the extra text")
PATH = "/v1/predict/reviews"
SENTENCE = "the plot is warm and funny , and a bit slow ."
PLAIN = {"content-type": "text/plain"}


@pytest.fixture
def bundle(tmp_path: Path, bundled: Any) -> Path:
    return sentence_bundle(tmp_path / "reviews", bundled)


@pytest.fixture
def server(bundle: Path, onnx_bundle: Path, served: Any) -> Iterator[Any]:
    with served(
        [load_plan(bundle, "reviews"), load_plan(onnx_bundle, "plain")], Limits(elements=400, rows=6)
    ) as running:
        yield running


def predicted(bundle: Path, texts: list[str], folder: Path) -> list[dict[str, Any]]:
    pd.DataFrame({"text": texts, "stars": 3}).to_csv(folder / "in.csv", index=False)
    predict_file(read_bundle(bundle), folder / "in.csv", folder / "out.csv")
    records: list[dict[str, Any]] = pd.read_csv(folder / "out.csv").to_dict("records")
    return records


def test_every_way_gives_the_answer_of_predict(tmp_path: Path, bundle: Path, server: Any) -> None:
    (expected,) = predicted(bundle, [SENTENCE], tmp_path)
    assert expected["label"] == "fine"
    for body, headers in (
        (SENTENCE.encode(), PLAIN),
        (json.dumps(SENTENCE).encode(), None),
        ([SENTENCE], None),
        ([{"text": SENTENCE, "stars": 3}], None),
        ({"rows": [SENTENCE], "id": "mine", "priority": "high"}, None),
        ({"text": SENTENCE, "id": "mine"}, None),
        ({"text": [SENTENCE]}, None),
    ):
        status, said, _ = server.ask("POST", PATH, body, headers)
        assert status == 200, said
        assert said["predictions"] == [pytest.approx(expected)]
        assert said.get("id") == ("mine" if isinstance(body, dict) and "id" in body else None)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_sends_a_sentence(tmp_path: Path, bundle: Path, server: Any) -> None:
    (expected,) = predicted(bundle, [SENTENCE], tmp_path)
    address = f"http://127.0.0.1:{server.port}{PATH}"
    for how in (["-H", "content-type: text/plain", "-d", SENTENCE], ["-d", json.dumps({"text": SENTENCE})]):
        done = subprocess.run(["curl", "-sS", *how, address], capture_output=True, check=True)
        assert json.loads(done.stdout)["predictions"] == [pytest.approx(expected)]


def test_requests_of_different_lengths_are_answered_together(tmp_path: Path, bundle: Path, server: Any) -> None:
    lines = sentences_file(tmp_path / "d.txt", 60).read_text().splitlines()
    texts = [line.split(" ", 1)[1] for line in lines]
    expected = predicted(bundle, texts, tmp_path)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda text: server.ask("POST", PATH, {"text": text})[1]["predictions"][0], texts))
    assert answers == [pytest.approx(each) for each in expected]


def test_token_ids_are_taken_as_before(server: Any) -> None:
    status, said, _ = server.ask("POST", PATH, [{"input_ids": [2, 8, 3], "attention_mask": [1, 1, 1]}])
    assert (status, said["predictions"][0]["label"]) == (200, "dull")


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        ([3], None, r"row 1 holds no text; every row needs a text \(text\)"),
        (["fine", 3], None, "row 2 holds no text"),
        ([], None, "found no rows"),
        ({"text": "fine", "rows": ["fine"]}, None, "found text"),
        ({"text": "fine", "mood": 3}, None, "found mood"),
        (b"", PLAIN, "found an empty body"),
        (b"\xff\xfe", PLAIN, "not UTF-8 text"),
        (["fine"] * 7, None, "7"),
        (["fine " * 300], None, r"1 texts become 6\d\d numbers; at most 400"),
        (b"\x89PNG\r\n\x1a\n", None, "this model takes none"),
    ],
)
def test_what_cannot_be_used_is_said(server: Any, body: Any, headers: dict[str, str] | None, said: str) -> None:
    status, answer, _ = server.ask("POST", PATH, body, headers)
    assert status == 400
    assert re.search(said, answer["error"]), answer


def test_a_model_without_text_takes_none(server: Any) -> None:
    status, answer, _ = server.ask("POST", "/v1/predict/plain", {"text": "fine"})
    assert status == 400
    assert "found text" in answer["error"]


def test_the_document_says_so(server: Any) -> None:
    _, document, _ = server.ask("GET", "/openapi.json")
    asked = document["paths"][PATH]["post"]
    assert "text/plain" in asked["requestBody"]["content"]
    assert "- `text`: text" in asked["description"]
    example = asked["requestBody"]["content"]["application/json"]["example"]
    status, _, _ = server.ask("POST", PATH, example)
    assert status == 200


def test_pairs_have_two_names(tmp_path: Path, bundled: Any, served: Any) -> None:
    pairs = sentence_bundle(tmp_path / "pairs", bundled, columns=("question", "answer"))
    with served([load_plan(pairs, "pairs")]) as server:
        for row in ({"question": "the plot ?", "answer": "warm"}, ["the plot ?", "warm"]):
            status, said, _ = server.ask("POST", "/v1/predict/pairs", [row])
            assert (status, said["predictions"][0]["label"]) == (200, "fine")
        status, said, _ = server.ask("POST", "/v1/predict/pairs", ["the plot ?"])
        assert status == 400
        assert "two texts (question, answer)" in said["error"]
