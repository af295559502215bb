"""JSON Schemas (2020-12) of the TOML brief, for editors, and of `result.json` and `anatomy.json`, for their readers.

`python -m equipoise.ingest.schema docs/schema` writes them; a test holds them in step.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from equipoise.core.anatomy import Anatomy
from equipoise.core.result import Result
from equipoise.ingest.brief_keys import FILE_KEYS, SECTIONS, BriefKey

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def brief_schema() -> dict[str, Any]:
    """The schema of a TOML brief, as editors with taplo or `#:schema` read it."""
    properties: dict[str, Any] = {}
    for section, about in SECTIONS.items():
        keys = [key for key in FILE_KEYS if key.section == section]
        if section:
            properties[section] = {"description": about} | _table(keys)
        else:
            properties |= _table(keys)["properties"]
    return {
        "$schema": DIALECT,
        "title": "Equipoise brief",
        "description": "What a study needs to know: model, data, limits, traffic and prices.",
        "type": "object",
        "properties": properties,
        "required": ["model", "data"],
        "additionalProperties": False,
    }


def result_schema() -> dict[str, Any]:
    """The schema of `result.json`."""
    return {"$schema": DIALECT} | Result.model_json_schema(mode="serialization") | {"title": "Equipoise result"}


def anatomy_schema() -> dict[str, Any]:
    """The schema of `anatomy.json`, which `equipoise profile` writes."""
    return {"$schema": DIALECT} | Anatomy.model_json_schema(mode="serialization") | {"title": "Equipoise anatomy"}


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "brief": brief_schema,
    "result": result_schema,
    "anatomy": anatomy_schema,
}


def write_schemas(folder: Path) -> None:
    """Write every schema into a folder."""
    for name, schema in SCHEMAS.items():
        (folder / f"{name}.schema.json").write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")


def _table(keys: list[BriefKey]) -> dict[str, Any]:
    table: dict[str, Any] = {
        "type": "object",
        "properties": {key.toml.rpartition(".")[2]: {"description": key.about} | dict(key.schema) for key in keys},
        "additionalProperties": False,
    }
    required = [key.toml.rpartition(".")[2] for key in keys if key.required]
    return table | ({"required": required} if required else {})


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
