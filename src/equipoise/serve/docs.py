"""The page at `/docs`: what each model takes and gives, for people, and forms to ask it. It loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any
from urllib.parse import quote

from equipoise.serve.described import Described, Field
from equipoise.serve.oip import SERVER_VERSION
from equipoise.serve.openapi import example_rows


def page(models: Sequence[Described], document: Mapping[str, Any]) -> str:
    """The page.

    Args:
        models: What is served.
        document: The OpenAPI document of the same.
    """
    names = ", ".join(f"<code>{escape(model.name)}</code>" for model in models) or "no model at this time"
    return Template(_text("docs.html")).substitute(
        title=escape(f"Ask {', '.join(model.name for model in models)}") if models else "Equipoise",
        count=names,
        version=escape(SERVER_VERSION),
        models="\n".join(_model(model, number) for number, model in enumerate(models, start=1)),
        operations="\n".join(_operation(path, method, one) for path, method, one in _operations(document)),
        script=_text("docs.js"),
    )


@cache
def policy() -> str:
    """What a browser may do with the page: run its own script, and ask this server."""
    digest = base64.b64encode(hashlib.sha256(f"\n{_text('docs.js')}\n".encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )


def _model(model: Described, number: int) -> str:
    address = f"v1/predict/{quote(model.name, safe='')}"
    versions = f"Version {', '.join(model.versions)}." if len(model.versions) == 1 else (
        f"Versions {', '.join(model.versions)}; the last one answers where none is asked for."
    )  # fmt: skip
    rows = example_rows(model)
    example = None if rows is None else "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n]"
    if example is None:
        tried = (
            "<p>A row of it is too large to be typed here: send it from a program, as a list of rows, to "
            f"<code>POST /{escape(address)}</code>.</p>"
        )
    else:
        tried = (
            f'<form action="{escape(address)}" method="post"><p><label for="rows-{number}">Rows, made up: put your own '
            f'in their place</label></p><textarea id="rows-{number}" spellcheck="false">{escape(example)}</textarea>'
            "<p><button>Ask</button></p><pre><output></output></pre></form>"
        )
    return (
        f'<section aria-labelledby="model-{number}"><h2 id="model-{number}">{escape(model.name)}</h2>'
        f'<p class="soft">{escape(versions)}</p>'
        f"<h3>What it needs, for each row</h3>{_table(model.takes)}"
        f"<h3>What it answers, for each row</h3>{_table(model.gives)}"
        f"<h3>Try it</h3>{tried}</section>"
    )


def _table(fields: Sequence[Field]) -> str:
    rows = "".join(
        f'<tr><th scope="row"><code>{escape(field.name)}</code></th><td>{escape(field.words)}</td></tr>'
        for field in fields
    )
    return f"<table>{rows}</table>"


def _operations(document: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    return [
        (path, method, item[method])
        for path, item in document["paths"].items()
        for method in ("get", "post")
        if method in item
    ]


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    schemas = []
    if "requestBody" in operation:
        schemas.append(("It takes", operation["requestBody"]["content"]["application/json"]["schema"]))
    schemas.append(("It gives", operation["responses"]["200"]["content"]["application/json"]["schema"]))
    shown = "".join(
        f"<p>{what}</p><pre>{escape(json.dumps(schema, indent=1, ensure_ascii=False))}</pre>"
        for what, schema in schemas
    )
    return (
        f'<details><summary><span class="method">{method.upper()}</span> <code>{escape(path)}</code> '
        f"{escape(operation['summary'])}</summary>{shown}</details>"
    )


@cache
def _text(name: str) -> str:
    return files("equipoise.serve").joinpath(name).read_text(encoding="utf-8")
