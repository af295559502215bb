"""Artifacts are folders of files, named by what they hold."""

from __future__ import annotations

import hashlib
from pathlib import Path

CHUNK_BYTES = 1 << 20


def artifact_digest(folder: Path) -> str:
    """SHA-256 over the sorted (relative name, SHA-256 of content) of all files, as 64 hexadecimal digits.

    Two folders that hold the same files under the same names have the same digest, wherever they lie and whenever they
    were written.

    Args:
        folder: The artifact; its subfolders count, empty ones do not.

    Returns:
        The digest, which is also the name of the artifact's folder in a store or a bundle.
    """
    whole = hashlib.sha256()
    for name, path in _files(folder):
        whole.update(f"{name}\0{file_digest(path)}\n".encode())
    return whole.hexdigest()


def artifact_bytes(folder: Path) -> int:
    """Size of all files of an artifact, in bytes."""
    return sum(path.stat().st_size for _, path in _files(folder))


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, read a piece at a time, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _files(folder: Path) -> list[tuple[str, Path]]:
    return sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
