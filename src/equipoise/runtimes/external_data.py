"""ONNX weights that lie in files beside the model, and files that only pretend to."""

from __future__ import annotations

import mmap
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from equipoise.errors import ModelError
from equipoise.onnx_tensors import external_place, external_tensors


def external_data_files(model: Path) -> tuple[Path, ...]:
    """Files beside an ONNX model that hold its weights, each checked to lie inside the model's own folder.

    An ONNX file may name any path as the place of its weights; a hostile one names `../../etc/passwd`
    (onnx/onnx#3991). Nothing of the weights is read.

    Args:
        model: The `.onnx` file.

    Returns:
        The files, each once, in the order in which the model names them; none where the model holds its own weights.

    Raises:
        ModelError: The file is no ONNX model, or names a place that is outside its folder, missing, or too short.
    """
    if not _mentions_location(model):
        return ()
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(model, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise ModelError(str(model), f"not readable as ONNX ({error})", "give a complete .onnx file") from error
    return tuple(dict.fromkeys(_confined(model, tensor) for tensor in external_tensors(proto)))


def _mentions_location(model: Path) -> bool:
    """Whether the bytes hold the key that every external tensor has: far cheaper than parsing."""
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b"location") >= 0
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise ModelError(str(model), f"cannot be read ({error})", "give a readable, non-empty .onnx file") from error


def _confined(model: Path, tensor: Any) -> Path:
    try:
        location, offset_bytes, length_bytes = external_place(tensor)
    except ValueError as error:
        raise ModelError(str(model), f"weights of {tensor.name!r} have {error}", "export the model again") from None
    inside = "keep a model and its weight files in one folder, and export it again if this one moved"
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    if not location or posix.is_absolute() or windows.is_absolute() or windows.drive or ".." in windows.parts:
        raise ModelError(str(model), f"weights of {tensor.name!r} are said to be in {location!r}", inside)
    folder = model.resolve().parent
    path: Path = (folder / location).resolve()
    if not path.is_relative_to(folder):
        raise ModelError(str(model), f"weights of {tensor.name!r} lead out of the folder, to {path}", inside)
    if not path.is_file():
        raise ModelError(str(model), f"weight file {location!r} is missing", f"put it beside the model, in {folder}")
    end = offset_bytes + (length_bytes or 0)
    if end > path.stat().st_size:
        found = f"weight file {location!r} has {path.stat().st_size:,} bytes, tensor {tensor.name!r} ends at {end:,}"
        raise ModelError(str(model), found, "copy the whole weight file again")
    return path
