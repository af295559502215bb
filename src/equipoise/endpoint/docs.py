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

from equipoise.endpoint.described import Described, Field
from equipoise.endpoint.oip import SERVER_VERSION
from equipoise.endpoint.openapi import example_rows

MOST_INPUTS = 60
"""More of them than that are quicker written as JSON."""


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
def door() -> str:
    """What a browser shows that has no key yet: where to type it in. The page itself then comes with that key."""
    return Template(_text("door.html")).substitute(script=_text("door.js"))


@cache
def policy() -> str:
    """What a browser may do with the page, or its door: run their own scripts, and ask this server."""
    scripts = " ".join(f"'sha256-{_digest(_text(name))}'" for name in ("docs.js", "door.js"))
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )


def _model(model: Described, number: int) -> str:
    address = f"v1/predict/{quote(model.name, safe='')}"
    versions = f"Version {', '.join(model.versions)}." if len(model.versions) == 1 else (
        f"Versions {', '.join(model.versions)}; the last one answers where none is asked for."
    )  # fmt: skip
    typed = _file(number) if model.raw == "image" else _inputs(model, number)
    tried = (
        "<p>A row of it is too large to be typed here: send it from a program, as a list of rows, to "
        f"<code>POST /{escape(address)}</code>.</p>"
        if typed is None
        else f'<form action="{escape(address)}" method="post">{typed}<p><button>Ask</button></p>'
        "<output></output></form>"
    )
    return (
        f'<section aria-labelledby="model-{number}"><h2 id="model-{number}">{escape(model.name)}</h2>'
        f'<p class="soft">{escape(versions)}</p>'
        f"<h3>What it needs, for each row</h3>{_table(model.takes)}"
        f"<h3>What it answers, for each row</h3>{_table(model.gives)}"
        f"<h3>Try it</h3>{tried}</section>"
    )


def _inputs(model: Described, number: int) -> str | None:
    """Where rows are typed in: a field for each number or text, or all as JSON; null where they are too long."""
    rows = example_rows(model)
    if rows is None:
        return None
    if all(not isinstance(field.example, list) for field in model.takes) and len(model.takes) <= MOST_INPUTS:
        return (
            f"<div>{''.join(_input(field, f'row-{number}-{place}') for place, field in enumerate(model.takes))}</div>"
        )
    example = "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n]"
    return (
        f'<p><label for="rows-{number}">Rows, made up: put your own in their place</label></p>'
        f'<textarea id="rows-{number}" spellcheck="false">{escape(example)}</textarea>'
    )


def _file(number: int) -> str:
    return (
        f'<p><label for="image-{number}">An image, JPEG or PNG</label><br>'
        f'<input id="image-{number}" type="file" accept="image/jpeg,image/png" required></p>'
    )


def _input(field: Field, place: str) -> str:
    kind = 'type="text"'
    if isinstance(field.example, bool):
        kind = 'type="checkbox"'
    elif not isinstance(field.example, str):
        kind = f'type="number" step="{1 if isinstance(field.example, int) else "any"}" value="{field.example}"'
    name = escape(field.name)
    return f'<p><label for="{place}">{name}</label><br><input id="{place}" name="{name}" {kind}></p>'


def _table(fields: Sequence[Field]) -> str:
    rows = "".join(
        f'<tr><th scope="row"><code>{escape(field.name)}</code></th><td>{escape(field.words)}</td></tr>'
        for field in fields
    )
    return f"<table>{rows}</table>"


def _digest(script: str) -> str:
    """Of a script as it stands in a page, between line ends."""
    return base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode()


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
    return files("equipoise.endpoint").joinpath(name).read_text(encoding="utf-8")
