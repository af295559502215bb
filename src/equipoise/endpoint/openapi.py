"""An OpenAPI 3.1 document of what is served, model by model: with the shapes and types that each of them takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from equipoise.core.tensor import TensorSpec
from equipoise.endpoint.described import MOST_EXAMPLE_ELEMENTS, Described, Field, array_schema
from equipoise.endpoint.extensions import REPOSITORY, STATISTICS
from equipoise.endpoint.oip import SERVER_VERSION
from equipoise.serve.wire import DATATYPES

Json = dict[str, Any]
SERVER, ROWS, TENSORS, REPOSITORY_TAG = "server", "rows", "tensors", "repository"
ERROR: Json = {"$ref": "#/components/schemas/Error"}
ANY: Json = {"type": "object"}
NAME: Json = {"type": ["string", "null"]}
WHOLE: Json = {"type": "integer", "minimum": 0}
IMAGE_TYPES = ("image/jpeg", "image/png")
IN_BASE64: Json = {"type": "string", "contentEncoding": "base64", "description": "A JPEG or PNG file, in base64."}
RESPONSES: dict[str, str] = {
    "400": "The request cannot be used; the error says what was found and what is needed.",
    "401": "A key is needed.",
    "403": "The key does not allow this.",
    "404": "No such model or version.",
    "405": "Another method is needed.",
    "408": "The body did not come in time.",
    "413": "The body is too large.",
    "415": "The body is encoded in a way that is not known here.",
    "429": "More than can be answered in time, or than the key allows; `Retry-After` says when to come again.",
    "431": "The headers are too large.",
    "500": "A model failed on these rows, or the server itself.",
    "503": "Nothing serves it now.",
    "504": "The request's own deadline passed.",
}


def openapi(models: Sequence[Described], extensions: Iterable[str]) -> Json:
    """The document.

    Args:
        models: What is served.
        extensions: Extensions of the protocol that work.
    """
    paths: Json = _server_paths(set(extensions))
    for number, model in enumerate(models, start=1):
        paths |= _model_paths(model, number, STATISTICS in extensions)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Equipoise",
            "version": SERVER_VERSION,
            "description": "Answers of the models that this server serves. `/v1/predict` takes plain rows and gives "
            "labels or numbers; `/v2` is the Open Inference Protocol, version 2, for programs that think in tensors. "
            "Whatever goes wrong, the answer is an object with one key, `error`.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": _object({"error": {"type": "string"}})},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "Where keys are needed."}},
        },
        "security": [{}, {"key": []}],
    }


def example_rows(model: Described) -> list[Any] | None:
    """Two made-up rows; null where they would be too long."""
    if any(field.example is None for field in model.takes):
        return None
    return [{field.name: field.example for field in model.takes}] * 2


def _server_paths(extensions: set[str]) -> Json:
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    metadata = _object({"name": text, "version": text, "extensions": texts})
    paths: Json = {
        "/v2": {"get": _operation("server", SERVER, "What this server is", metadata)},
        "/v2/health/live": {
            "get": _operation("live", SERVER, "Whether it runs", _object({"live": {"type": "boolean"}}))
        },
        "/v2/health/ready": {
            "get": _operation("ready", SERVER, "Whether it takes requests", _object({"ready": {"type": "boolean"}}))
        },
    }
    if STATISTICS in extensions:
        paths["/v2/models/stats"] = {"get": _operation("stats", SERVER, "What all models have done", _stats())}
    return paths | (_repository_paths() if REPOSITORY in extensions else {})


def _repository_paths() -> Json:
    text = {"type": "string"}
    asked = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    known = {"type": "array", "items": _object({"name": text, "version": text, "state": text, "reason": text})}
    index = _operation("index", REPOSITORY_TAG, "Models that can be served", known, asked, needed=False)
    load = _operation("load", REPOSITORY_TAG, "Serve a model, as its bundle is by now", ANY)
    unload = _operation("unload", REPOSITORY_TAG, "Serve a model no longer", ANY)
    named = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {
        "/v2/repository/index": {"post": index},
        "/v2/repository/models/{model}/load": {"post": load, "parameters": [named]},
        "/v2/repository/models/{model}/unload": {"post": unload, "parameters": [named]},
    }


def _model_paths(model: Described, number: int, counts: bool) -> Json:
    quoted = quote(model.name, safe="")
    predict = _operation(
        f"predict_{number}", ROWS, f"Ask {model.name} about rows", _predict_answer(model), _predict_request(model),
        example=example_rows(model), words=_in_words(model),
    )  # fmt: skip
    predict["requestBody"]["content"] |= _files(model)
    paths: Json = {f"/v1/predict/{quoted}": {"post": predict}}
    versioned = {
        "name": "version", "in": "path", "required": True, "schema": {"type": "string", "enum": list(model.versions)},
    }  # fmt: skip
    for suffix, prefix in (("", f"/v2/models/{quoted}"), ("_v", f"/v2/models/{quoted}/versions/{{version}}")):
        tag = f"{number}{suffix}"
        infer = _operation(
            f"infer_{tag}", TENSORS, f"Ask {model.name} about tensors", _infer_answer(model), _infer_request(model),
            example=_infer_example(model),
        )  # fmt: skip
        found: dict[str, Json] = {
            prefix: {"get": _operation(f"model_{tag}", TENSORS, f"What {model.name} takes and gives", ANY)},
            f"{prefix}/infer": {"post": infer},
            f"{prefix}/ready": {
                "get": _operation(f"model_ready_{tag}", TENSORS, f"Whether {model.name} takes requests", ANY)
            },
            f"{prefix}/config": {
                "get": _operation(f"config_{tag}", TENSORS, f"How {model.name} is served", ANY),
            },
        }
        if counts:
            found[f"{prefix}/stats"] = {
                "get": _operation(f"stats_{tag}", TENSORS, f"What {model.name} has done", _stats())
            }
        for path, item in found.items():
            paths[path] = item | ({"parameters": [versioned]} if suffix else {})
    return paths


def _operation(
    name: str,
    tag: str,
    summary: str,
    answer: Mapping[str, Any],
    request: Mapping[str, Any] | None = None,
    *,
    example: Any = None,
    words: str | None = None,
    needed: bool = True,
) -> Json:
    media: Json = {"schema": request}
    if example is not None:
        media["example"] = example
    errors = {
        status: {"description": words, "content": {"application/json": {"schema": ERROR}}}
        for status, words in RESPONSES.items()
    }
    answered = {"description": "The answer.", "content": {"application/json": {"schema": answer}}}
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        **({} if words is None else {"description": words}),
        **({} if request is None else {"requestBody": {"required": needed, "content": {"application/json": media}}}),
        "responses": {"200": answered} | errors,
    }


def _in_words(model: Described) -> str:
    """What a model takes and gives, for people."""
    instead = {
        "image": "A row may be an image instead: a JPEG or PNG file as the body, or several in a form.",
        "text": "A row is a text: a single one may be the body itself, as text/plain, or stand under `text`.",
    }
    return "\n".join(
        [
            *([] if model.raw is None else [instead[model.raw], ""]),
            "Each row needs:",
            *(f"- `{field.name}`: {field.words}" for field in model.takes),
            "",
            "Each answer has:",
            *(f"- `{field.name}`: {field.words}" for field in model.gives),
        ]
    )


def _predict_request(model: Described) -> Json:
    kinds: list[Mapping[str, Any]] = [_row(model.takes) | {"additionalProperties": True}]
    if model.bare is not None:
        kinds.append(model.bare.schema)
    if model.raw == "image":
        kinds += [IN_BASE64, {"type": "object", "additionalProperties": IN_BASE64, "maxProperties": 1}]
    rows = {"anyOf": [{"type": "array", "minItems": 1, "items": kind} for kind in kinds]}
    settings: Json = {
        "priority": {"anyOf": [{"enum": ["normal", "high", None]}, WHOLE]},
        "timeout_ms": {"type": ["number", "null"], "minimum": 0},
        "id": NAME,
    }
    whole = {
        "type": "object",
        "properties": {"rows": rows} | settings,
        "required": ["rows"],
        "additionalProperties": False,
    }
    if model.raw != "text" or model.bare is None:
        return {"anyOf": [rows, whole]}
    text = model.bare.schema
    texts = {"anyOf": [text, {"type": "array", "minItems": 1, "items": text}]}
    alone = {
        "type": "object",
        "properties": {"text": texts} | settings,
        "required": ["text"],
        "additionalProperties": False,
    }
    return {"anyOf": [rows, whole, alone, text]}


def _files(model: Described) -> Json:
    """What a request may be besides JSON."""
    if model.raw == "text" and model.bare is not None:
        return {"text/plain": {"schema": {"type": "string", "minLength": 1}}}
    if model.raw != "image":
        return {}
    form = {"type": "object", "additionalProperties": {"type": "string", "contentMediaType": IMAGE_TYPES[0]}}
    alone: Json = {name: {"schema": {"type": "string", "contentMediaType": name}} for name in IMAGE_TYPES}
    return alone | {"multipart/form-data": {"schema": form}}


def _predict_answer(model: Described) -> Json:
    found = _object(
        {
            "model": {"type": "string"},
            "version": {"type": "string"},
            "degraded": {"type": "boolean"},
            "predictions": {"type": "array", "items": _row(model.gives)},
        }
    )
    return found | {"properties": found["properties"] | {"id": {"type": "string"}}}


def _row(fields: Sequence[Field]) -> Json:
    return {
        "type": "object",
        "properties": {field.name: field.schema for field in fields},
        "required": [field.name for field in fields],
    }


def _infer_request(model: Described) -> Json:
    outputs = {
        "type": ["array", "null"],
        "items": {
            "type": "object",
            "properties": {"name": {"enum": [output.name for output in model.outputs]}},
            "required": ["name"],
        },
    }
    parameters = {
        "type": "object",
        "properties": {
            "priority": {"anyOf": [{"enum": ["normal", "high", None]}, WHOLE]},
            "timeout": {"type": ["number", "null"], "minimum": 0},
        },
    }
    count = len(model.inputs)
    inputs = {
        "type": "array",
        "minItems": count,
        "maxItems": count,
        "items": {"anyOf": [_tensor(tensor, given=True) for tensor in model.inputs]},
    }
    return {
        "type": "object",
        "properties": {"id": NAME, "inputs": inputs, "outputs": outputs, "parameters": parameters},
        "required": ["inputs"],
    }


def _infer_answer(model: Described) -> Json:
    tensors = [_tensor(tensor, given=False) for tensor in model.outputs]
    found = _object(
        {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "outputs": {"type": "array", "items": {"anyOf": tensors} if tensors else ANY},
        }
    )
    return found | {"properties": found["properties"] | {"id": {"type": "string"}, "parameters": ANY}}


def _tensor(tensor: TensorSpec, *, given: bool) -> Json:
    flat = array_schema(tensor.dtype, (None,))
    if not given and tensor.dtype != "string":
        flat = {"type": "array", "items": {"type": ["number", "boolean", "null"]}}
    axes = len(tensor.shape)
    return _object(
        {
            "name": {"const": tensor.name},
            "datatype": {"const": DATATYPES[tensor.dtype]},
            "shape": {"type": "array", "minItems": axes, "maxItems": axes, "items": {"type": "integer", "minimum": 1}},
            "data": {"anyOf": [flat, array_schema(tensor.dtype, (None, *tensor.shape[1:]))]} if given else flat,
        }
    )


def _infer_example(model: Described) -> Json | None:
    if sum(math.prod(shape) for shape in model.shapes.values()) > MOST_EXAMPLE_ELEMENTS:
        return None
    return {
        "inputs": [
            {
                "name": tensor.name,
                "datatype": DATATYPES[tensor.dtype],
                "shape": [1, *model.shapes[tensor.name]],
                "data": [_one(tensor)] * math.prod(model.shapes[tensor.name]),
            }
            for tensor in model.inputs
        ]
    }


def _one(tensor: TensorSpec) -> Any:
    return "text" if tensor.dtype == "string" else False if tensor.dtype == "bool" else 0


def _stats() -> Json:
    count = {"type": "integer", "minimum": 0}
    model = _object(
        {
            "name": {"type": "string"},
            "version": {"type": "string"},
            "last_inference": count,
            "inference_count": count,
            "execution_count": count,
            "inference_stats": ANY,
            "batch_stats": {"type": "array", "items": ANY},
        }
    )
    return _object({"model_stats": {"type": "array", "items": model}})


def _object(properties: Mapping[str, Any]) -> Json:
    """An object that has all of these."""
    return {"type": "object", "properties": dict(properties), "required": list(properties)}
