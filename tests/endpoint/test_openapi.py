"""The OpenAPI document and the page of what is served: true, in plain words, and safe whatever models are called."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from numpy.typing import NDArray

from equipoise.endpoint.described import described
from equipoise.endpoint.docs import page, policy
from equipoise.endpoint.extensions import REPOSITORY, STATISTICS
from equipoise.endpoint.gate import Gate, KeyFile
from equipoise.endpoint.keys import add_key
from equipoise.endpoint.openapi import openapi
from equipoise.serve import load_plan

Array = NDArray[Any]
NASTY = '</script><img src=x onerror="alert(1)">{a}/&amp;\'"'


def schema(document: Any, path: str, of: str) -> Any:
    operation = document["paths"][path]["post"]
    place = operation["requestBody"] if of == "request" else operation["responses"]["200"]
    return {**place["content"]["application/json"]["schema"], "components": document["components"]}


def fits(value: Any, wanted: Any) -> bool:
    return bool(Draft202012Validator(wanted).is_valid(value))


def example(document: Any, path: str) -> Any:
    return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]


@pytest.fixture
def models(cascade: Callable[..., Any], sklearn_bundle: Path, array_bundle: Path) -> list[Any]:
    return [cascade().loaded, load_plan(sklearn_bundle, "t"), load_plan(array_bundle, "a")]


def test_its_examples_are_answered_and_all_fits_its_schemas(models: list[Any], served: Any) -> None:
    with served(models) as server:
        status, document, _ = server.ask("GET", "/openapi.json")
        assert (status, document["openapi"]) == (200, "3.1.0")
        for name in ("m", "t", "a"):
            for path in (f"/v1/predict/{name}", f"/v2/models/{name}/infer"):
                rows = example(document, path)
                assert fits(rows, schema(document, path, "request"))
                status, said, _ = server.ask("POST", path, rows)
                assert status == 200, said
                assert fits(said, schema(document, path, "answer")), said


def test_every_operation_is_there_and_nothing_else(models: list[Any], served: Any) -> None:
    with served(models) as server:
        document = server.ask("GET", "/openapi.json")[1]
        names = [item[method]["operationId"] for item in document["paths"].values() for method in item if method in
                 ("get", "post")]  # fmt: skip
        assert len(set(names)) == len(names)
        for path, item in document["paths"].items():
            for method in {"get", "post"} & set(item):
                status, said, _ = server.ask(
                    method.upper(), path.replace("{version}", "1"), None if method == "get" else {}
                )
                assert status in (200, 400), (path, said)
                if status == 200:
                    wanted = item[method]["responses"]["200"]["content"]["application/json"]["schema"]
                    assert fits(said, wanted | {"components": document["components"]}), path
                else:
                    assert fits(said, document["components"]["schemas"]["Error"])


AGREED: list[tuple[str, Any, bool]] = [
    ("/v1/predict/m", [{"image": [[0, 255], [1, 2]]}], True),
    ("/v1/predict/m", {"rows": [[[0, 255], [1, 2]]], "timeout_ms": 60_000, "id": "7", "priority": "high"}, True),
    ("/v1/predict/m", [{"image": [[0, 256], [1, 2]]}], False),
    ("/v1/predict/m", [{"image": [[0, 1], [1]]}], False),
    ("/v1/predict/m", [], False),
    ("/v1/predict/m", {"rows": [[[0, 255], [1, 2]]], "more": 1}, False),
    ("/v1/predict/t", [{"age": 30, "income": 1.5, "town": None, "more": 1}], True),
    ("/v1/predict/t", [{"age": 30.5, "income": 1.5, "town": "Ulm"}], False),
    ("/v1/predict/t", [{"age": 30, "income": 1.5}], False),
    ("/v1/predict/t", [[30, 1.5, "Ulm"]], False),
    ("/v1/predict/a", [{"width": 1, "height": 2.5}], True),
    ("/v1/predict/a", [[1, 2.5]], True),
    ("/v1/predict/a", [{"width": 1}], False),
    ("/v1/predict/a", [[1, 2.5, 3]], False),
]  # fmt: skip


def test_the_schema_and_the_server_agree(models: list[Any], served: Any) -> None:
    with served(models) as server:
        document = server.ask("GET", "/openapi.json")[1]
        for path, rows, good in AGREED:
            assert fits(rows, schema(document, path, "request")) == good, (path, rows)
            assert (server.ask("POST", path, rows)[0] == 200) == good, (path, rows)


def test_no_value_of_anybodys_data_is_shown(cascade: Callable[..., Any], sklearn_bundle: Path) -> None:
    plan = load_plan(sklearn_bundle, "t")
    towns = set(plan.bundle.golden_inputs["town"].ravel())
    assert towns == {"Ulm", "42"}
    models = [described(plan, ["1"])]
    document = openapi(models, [])
    assert "Ulm" not in json.dumps(document) + page(models, document)
    golden = cascade().loaded
    shown = [json.dumps(image) for image in golden.bundle.golden_inputs["image"].tolist()]
    models = [described(golden, ["1"])]
    document = openapi(models, [])
    said = json.dumps(document) + page(models, document)
    assert not [image for image in shown if image in said]


def test_it_says_in_words_what_a_model_takes_and_gives(models: list[Any]) -> None:
    made = {plan.name: described(plan, ["1"]) for plan in models}
    said = {name: page([model], openapi([model], [])) for name, model in made.items()}
    assert "lists within lists, 2 x 2 values, each a whole number from 0 to 255" in said["m"]
    assert "what the model says it is: cat, dog, eel" in said["m"]
    assert "how sure the model itself is" in said["m"]
    assert "text (null where it is missing)" in said["t"]
    assert "the number that the model predicts" in said["a"]
    assert [field.name for field in made["a"].takes] == ["width", "height"]


class Tags(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_is_whole_by_itself_and_safe_whatever_a_model_is_called(
    cascade: Callable[..., Any], served: Any
) -> None:
    folder = cascade().folder
    with served([load_plan(folder, NASTY), load_plan(folder, "m")]) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/docs")
        response = connection.getresponse()
        text, allowed = response.read().decode(), response.getheader("content-security-policy", "")
        connection.close()
        assert (response.status, response.getheader("content-type")) == (200, "text/html; charset=utf-8")
        tags = Tags()
        tags.feed(text)
        names = [tag for tag, _ in tags.tags]
        assert names.count("script") == 1
        assert not {"img", "iframe", "link"} & set(names)
        assert not [tag for tag, found in tags.tags if any(name.startswith("on") for name in found)]
        outside = [value for _, found in tags.tags for value in (found.get("src"), found.get("href")) if value]
        assert outside == ["openapi.json"]
        script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
        assert script is not None
        digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in allowed
        assert allowed.startswith("default-src 'none'")
        actions = [found["action"] for tag, found in tags.tags if tag == "form"]
        assert actions == [f"v1/predict/{quote(NASTY, safe='')}", "v1/predict/m"]
        for action in actions:
            assert server.ask("POST", f"/{action}", [[[0, 1], [2, 3]]])[0] == 200
        document = server.ask("GET", "/openapi.json")[1]
        assert f"/v1/predict/{quote(NASTY, safe='')}" in document["paths"]


def test_a_model_with_large_rows_has_no_example(cascade: Callable[..., Any]) -> None:
    from dataclasses import replace

    plan = cascade().loaded
    large = {"image": np.zeros((1, 2, 2000), np.uint8)}
    model = described(replace(plan, bundle=replace(plan.bundle, golden_inputs=large)), ["1"])
    document = openapi([model], [])
    assert "example" not in document["paths"]["/v1/predict/m"]["post"]["requestBody"]["content"]["application/json"]
    assert "too large to be typed here" in page([model], document)


def test_nothing_served_is_a_page_too() -> None:
    assert "no model at this time" in page([], openapi([], []))


def test_numbers_and_texts_are_typed_into_fields_and_the_rest_as_json(
    cascade: Callable[..., Any], sklearn_bundle: Path
) -> None:
    models = [described(load_plan(sklearn_bundle, "t"), ["1"]), described(cascade().loaded, ["1"])]
    tags = Tags()
    tags.feed(page(models, openapi(models, [])))
    inputs = [found for tag, found in tags.tags if tag == "input" and "name" in found]
    assert [(found["name"], found["type"], found.get("step")) for found in inputs] == [
        ("age", "number", "1"), ("income", "number", "any"), ("town", "text", None),
    ]  # fmt: skip
    labels = {found["for"] for tag, found in tags.tags if tag == "label"}
    assert {found["id"] for tag, found in tags.tags if tag in ("input", "textarea")} == labels
    assert len([tag for tag, _ in tags.tags if tag == "textarea"]) == 1


def test_a_browser_without_a_key_is_asked_for_one(cascade: Callable[..., Any], served: Any, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "shop", "infer", None)
    with served([cascade().loaded], gate=Gate(KeyFile(tmp_path / "keys.json"))) as server:

        def ask(path: str, headers: dict[str, str]) -> tuple[int, str, str]:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.request("GET", path, None, headers)
            response = connection.getresponse()
            text = response.read().decode()
            connection.close()
            return response.status, response.getheader("content-type", ""), text

        status, kind, text = ask("/docs", {"accept": "text/html,*/*"})
        assert (status, kind) == (401, "text/html; charset=utf-8")
        assert ("A key is needed" in text, "image" in text) == (True, False)
        script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
        assert script is not None
        assert base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode() in policy()
        html = "text/html"
        for path, accepts in (("/docs", "*/*"), ("/openapi.json", html), ("/v2", html), ("/nowhere", html)):
            status, kind, text = ask(path, {"accept": accepts})
            assert (status, kind, list(json.loads(text))) == (401, "application/json", ["error"])
        authorized = {"accept": "text/html", "authorization": f"Bearer {key}"}
        status, kind, text = ask("/docs", authorized)
        assert (status, "image" in text) == (200, True)


def test_what_does_not_work_is_not_in_the_document(cascade: Callable[..., Any]) -> None:
    models = [described(cascade().loaded, ["1"])]
    every = set(openapi(models, [STATISTICS, REPOSITORY])["paths"])
    fewer = set(openapi(models, [])["paths"])
    assert every - fewer == {
        "/v2/models/stats", "/v2/models/m/stats", "/v2/models/m/versions/{version}/stats", "/v2/repository/index",
        "/v2/repository/models/{model}/load", "/v2/repository/models/{model}/unload",
    }  # fmt: skip
    assert fewer < every
