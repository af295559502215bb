"""The list of a bundle's files with their digests, and what differs from it."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, ValidationError

from equipoise.core.noun import Noun
from equipoise.store.artifacts import file_digest

MANIFEST = "manifest.json"


class FileRecord(Noun):
    """One file as it was written."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(Noun):
    """Every file of a bundle but this one.

    Attributes:
        schema_version: Of the bundle's layout.
        created_with: The version of Equipoise that wrote it.
        files: Path inside the bundle, with `/` between its parts, to what the file was.
    """

    schema_version: Literal[1] = 1
    created_with: str
    files: dict[str, FileRecord]

    def render(self) -> str:
        """The exact text of `manifest.json`, which ends with a digest of all before it."""
        body = json.loads(self.model_dump_json())
        return json.dumps({**body, "sha256": self.content_digest}, indent=1) + "\n"


def write_manifest(folder: Path, created_with: str) -> Manifest:
    """Record every file in `folder` and write the record beside them."""
    files = {
        name: FileRecord(sha256=file_digest(path), bytes=path.stat().st_size)
        for name, path in sorted(_entries(folder).items())
        if name != MANIFEST
    }
    manifest = Manifest(created_with=created_with, files=files)
    (folder / MANIFEST).write_text(manifest.render(), encoding="utf-8")
    return manifest


def changed_files(folder: Path) -> tuple[Manifest | None, tuple[str, ...]]:
    """Compare a bundle's files with its manifest, byte for byte.

    The manifest is part of what is compared: its text must be exactly what it would be written as.

    Args:
        folder: The bundle; `manifest.json` is in it.

    Returns:
        The manifest (null where it cannot be read), and one line for each file that is missing, added, changed, or
        not a plain file inside the bundle; none where the bundle is intact.
    """
    raw = (folder / MANIFEST).read_bytes()
    try:
        body = json.loads(raw)
        digest = body.pop("sha256")
        manifest = Manifest.model_validate(body)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError, ValidationError):
        return None, (f"{MANIFEST}: damaged, it cannot be read",)
    changes = []
    if digest != manifest.content_digest or raw != manifest.render().encode():
        changes.append(f"{MANIFEST}: changed")
    outside = [name for name in manifest.files if not _stays_inside(name)]
    changes += [f"{MANIFEST}: names {name!r}, which is not inside the bundle" for name in outside]
    found = _entries(folder)
    changes += [_difference(name, record, found) for name, record in sorted(manifest.files.items())]
    changes += [f"{name}: added" for name in sorted(set(found) - set(manifest.files) - {MANIFEST})]
    return manifest, tuple(line for line in changes if line)


def _difference(name: str, record: FileRecord, found: dict[str, Path]) -> str:
    path = found.get(name)
    if path is None:
        return f"{name}: missing"
    if path.is_symlink() or not path.is_file():
        return f"{name}: not a plain file"
    size = path.stat().st_size
    if size != record.bytes:
        return f"{name}: changed ({size} bytes instead of {record.bytes})"
    return "" if file_digest(path) == record.sha256 else f"{name}: changed"


def _stays_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\\" not in name and ":" not in parts[0]


def _entries(folder: Path) -> dict[str, Path]:
    # A link is an entry of its own, whatever it points to, so that nothing outside the bundle is ever read.
    found: dict[str, Path] = {}
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            found |= {f"{path.name}/{name}": inner for name, inner in _entries(path).items()}
        else:
            found[path.name] = path
    return found
