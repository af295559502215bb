from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from equipoise.ingest.brief_keys import FILE_KEYS
from equipoise.ingest.schema import SCHEMAS, brief_schema, result_schema, write_schemas
from equipoise.ingest.template import brief_template

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "schema"


def _uncommented() -> dict[str, Any]:
    return tomllib.loads(
        "\n".join(
            line[1:] if line.startswith("#") and not line.startswith("# ") else line
            for line in brief_template().splitlines()
        )
    )


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas(name: str) -> None:
    schema = SCHEMAS[name]()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_published_schemas_are_in_step(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    for name in (f"{schema}.schema.json" for schema in SCHEMAS):
        again = "run `python -m equipoise.ingest.schema docs/schema`"
        assert (PUBLISHED / name).read_text() == (tmp_path / name).read_text(), again


def test_a_full_brief_is_valid() -> None:
    brief = _uncommented()
    top = {key.toml for key in FILE_KEYS if not key.section}
    assert {f"{section}.{key}" for section in brief.keys() - top for key in brief[section]} == {
        key.toml for key in FILE_KEYS if key.section
    }
    Draft202012Validator(brief_schema()).validate(brief)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("quality", "max_dorp", 0.1),
        ("model", "trust", True),
        ("quality", "max_drop", -0.1),
        ("quality", "confidence", 1),
        ("quality", "metric", "acuracy"),
        ("data", "ood", {"winter": {"path": "a.npz"}}),
        ("limits", "budget", "5 weeks"),
        ("hardware", "owned", {"capex_usd": 0, "months": 1, "watts": 1, "usd_per_kwh": 1}),
    ],
)
def test_a_wrong_brief_is_not(section: str, key: str, value: object) -> None:
    brief = _uncommented()
    brief[section][key] = value
    assert not Draft202012Validator(brief_schema()).is_valid(brief)


def test_result_schema_is_json() -> None:
    assert json.loads(json.dumps(result_schema()))["properties"]["decision"]["enum"] == [
        "replace",
        "keep",
        "infeasible",
    ]
