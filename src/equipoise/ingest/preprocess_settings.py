"""Reads preprocessing as people have it: Hugging Face's `preprocessor_config.json`, a tokenizer, or a table of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from equipoise.core.preprocessing import ImagePreprocessing, PlacedPreprocessing, TextPreprocessing
from equipoise.errors import BriefError
from equipoise.store.artifacts import file_digest

IMAGE_FILE, TOKENIZER_FILES = "preprocessor_config.json", ("tokenizer.json", "vocab.txt")
SQUASHED_FROM = 384
"""Pixels from which on `crop_pct` no longer applies, and images are squashed instead (ConvNeXt)."""
ODD = ("Levit", "Perceiver", "EfficientNet")
"""Processors of Hugging Face's that do more than their settings say."""
FORMS = f"needed a {IMAGE_FILE}, a tokenizer.json, a folder that has one of them, or a table"
# Settings of Hugging Face's that change nothing here, or say what is always so.
IGNORED = frozenset(
    {
        "image_processor_type", "feature_extractor_type", "processor_class", "image_processor_class", "data_format",
        "input_data_format", "return_tensors", "default_to_square", "do_convert_rgb", "device", "disable_grouping",
        "auto_map", "_valid_processor_keys", "crop_pct", "do_flip_channel_order", "rescale_offset", "use_fast",
    }
)  # fmt: skip


def preprocessing(value: Any, where: str) -> PlacedPreprocessing:
    """Read preprocessing.

    Args:
        value: A path (a JSON file of settings, a tokenizer's file, or a folder that has one of them), or settings
            themselves: keys of `core.preprocessing`, or of Hugging Face's `preprocessor_config.json`.
        where: Where it stands, for errors.

    Raises:
        BriefError: It cannot be read, or says something that is not done here.
    """
    if isinstance(value, Path) or (isinstance(value, str) and value.strip()):
        return _from_file(Path(value), where)
    if isinstance(value, Mapping):
        return _from_table(value, where, Path())
    raise BriefError(where, f"found {value!r}", FORMS)


def image_settings(config: Mapping[str, Any], where: str) -> ImagePreprocessing:
    """Settings of images from Hugging Face's keys, ours beside them; older spellings are understood.

    Where a `do_...` is not said, it is done if its figures are given.

    Raises:
        BriefError: A key is unknown, or means something that is not done here.
    """
    made_by = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    if made_by.startswith(ODD):
        raise BriefError(
            f"{where}: image_processor_type",
            f"found {made_by}, which does more than its settings say",
            "needed the settings that come to the same, in a table of their own, without this key",
        )
    found = {name: config[name] for name in config if name in ImagePreprocessing.model_fields}
    for name, value in config.items():
        if name not in found and name not in IGNORED and value not in (None, False):
            raise BriefError(
                f"{where}: {name}",
                f"found {value!r}, which is not done here",
                f"needed {', '.join(ImagePreprocessing.model_fields)}; remove it if the model does without",
            )
    if config.get("rescale_offset"):
        raise BriefError(f"{where}: rescale_offset", "found true", "needed none: say it with image_mean and image_std")
    crops = bool(found.get("do_center_crop", found.get("crop_size") is not None))
    if found.get("size") is not None:
        found["size"] = _size(found["size"], config.get("default_to_square", not crops))
    if found.get("crop_size") is not None:
        found["crop_size"] = _size(found["crop_size"], square=True)
    if "do_flip_channel_order" in config:  # MobileViT's, which has figures and does not use them
        found.setdefault("do_normalize", False)
        found["channel_order"] = "BGR" if config["do_flip_channel_order"] else "RGB"
    for flag, figures in (("do_resize", "size"), ("do_center_crop", "crop_size"), ("do_normalize", "image_mean")):
        found.setdefault(flag, found.get(figures) is not None)
    for name in ("image_mean", "image_std"):
        if isinstance(found.get(name), int | float):
            found[name] = [found[name]]
    if "channel_order" not in found and len(found.get("image_mean") or ()) == 1:
        found["channel_order"] = "grey"
    found |= _cropped_share(found, config, where)
    return _image(found, where)


def text_settings(config: Mapping[str, Any], where: str, folder: Path) -> PlacedPreprocessing:
    """Settings of texts; their tokenizer is a path, which counts from `folder`.

    Raises:
        BriefError: A key is unknown, or the tokenizer is not there.
    """
    named = config.get("tokenizer")
    if not isinstance(named, str) or not named:
        raise BriefError(f"{where}: tokenizer", "found nothing", f"needed a tokenizer's file: {TOKENIZER_FILES}")
    path = folder / named
    if not path.is_file():
        raise BriefError(f"{where}: tokenizer", f"found no file {path}", "needed the tokenizer's file; check the path")
    fields = {"kind": "text"} | dict(config) | {"tokenizer": path.name, "tokenizer_sha256": file_digest(path)}
    try:
        return PlacedPreprocessing(settings=TextPreprocessing.model_validate(fields), folder=str(path.parent))
    except ValidationError as error:
        raise _refused(error, where) from None


def _from_file(path: Path, where: str) -> PlacedPreprocessing:
    if path.is_dir():
        there = [name for name in (IMAGE_FILE, *TOKENIZER_FILES) if (path / name).is_file()]
        if not there:
            raise BriefError(where, f"found the folder {path}, which has neither", FORMS)
        path /= there[0]
    if not path.is_file():
        raise BriefError(where, f"found no file {path}", f"{FORMS}; check the path")
    if path.name in TOKENIZER_FILES:
        return text_settings({"tokenizer": path.name}, where, path.parent)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BriefError(where, f"{path} cannot be read as JSON ({error})", FORMS) from None
    if not isinstance(config, dict):
        raise BriefError(where, f"{path} holds no settings", FORMS)
    if "model" in config and "added_tokens" in config:  # a tokenizer under a name of its own
        return text_settings({"tokenizer": path.name}, where, path.parent)
    return _from_table(config, f"{where}: {path.name}", path.parent)


def _from_table(config: Mapping[str, Any], where: str, folder: Path) -> PlacedPreprocessing:
    if config.get("kind", "text" if "tokenizer" in config else "image") == "text":
        return text_settings(config, where, folder)
    return PlacedPreprocessing(settings=image_settings(config, where))


def _size(value: Any, square: bool) -> Any:
    """A size as a table; one number means both sides, or the shorter one."""
    if isinstance(value, list | tuple) and len(value) == 2:
        return {"height": value[0], "width": value[1]}
    if isinstance(value, (Mapping, bool)) or not isinstance(value, int):
        return value
    return {"height": value, "width": value} if square else {"shortest_edge": value}


def _cropped_share(found: Mapping[str, Any], config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """ConvNeXt's `crop_pct`: resized to a larger size first, of which the middle is that share."""
    share, size = config.get("crop_pct"), found.get("size")
    if share is None or not found["do_resize"] or not isinstance(size, Mapping):
        return {}
    edge = size.get("shortest_edge", size.get("height"))
    square = {"height": edge, "width": edge}
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise BriefError(f"{where}: crop_pct", f"found {share!r}", "needed a share above 0, at most 1")
    if not isinstance(edge, int) or edge >= SQUASHED_FROM:
        return {"size": square}
    return {"size": {"shortest_edge": int(edge / share)}, "do_center_crop": True, "crop_size": square}


def _image(found: Mapping[str, Any], where: str) -> ImagePreprocessing:
    try:
        return ImagePreprocessing.model_validate(found)
    except ValidationError as error:
        raise _refused(error, where) from None


def _refused(error: ValidationError, where: str) -> BriefError:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return BriefError(f"{where}: {place}" if place else where, f"found {problem.get('input')!r}"[:200], message)
