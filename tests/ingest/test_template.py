from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from equipoise.core.brief import Brief, OodSet, OwnedMachine
from equipoise.core.certificate import Margin
from equipoise.ingest.brief import brief_from_toml
from equipoise.ingest.brief_keys import FILE_KEYS, KEYS
from equipoise.ingest.template import brief_template

WHOLE = (Margin, OodSet, OwnedMachine)


def _fields(noun: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in noun.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and inner not in WHOLE:
            found += _fields(inner, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


def test_every_field_of_a_brief_has_a_key() -> None:
    assert sorted(key.field for key in KEYS) == sorted(_fields(Brief))


def test_every_key_is_explained_in_the_template() -> None:
    section, explained, above = "", set(), ""
    for line in brief_template().splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = f"{match[1]}."
        elif (match := re.fullmatch(r"#?(\w+) = .+", line)) and above.startswith("# "):
            explained.add(f"{section}{match[1]}")
        above = line
    assert explained == {key.toml for key in FILE_KEYS} == {key.toml for key in KEYS} - {"model.trust"}


def test_the_template_parses_back(files: Path) -> None:
    (files / "test.npz").write_bytes((files / "data.npz").read_bytes())
    (files / "brief.toml").write_text(brief_template())
    brief = brief_from_toml(files / "brief.toml")
    assert brief == Brief.model_validate(
        {"model": {"path": str(files / "model.onnx")}, "data": {"path": str(files / "test.npz")}}
    )


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.toml)
def test_every_example_in_the_template_is_accepted(key: object) -> None:
    value = tomllib.loads(f"value = {key.example}")["value"]  # type: ignore[attr-defined]
    key.parse(value, key.toml)  # type: ignore[attr-defined]
