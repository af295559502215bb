"""Hugging Face models as folders: what one says about itself, read without a library and without running any of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from equipoise.core.preprocessing import PlacedPreprocessing, TextPreprocessing
from equipoise.errors import ModelError
from equipoise.ingest.preprocess_settings import IMAGE_FILE, TOKENIZER_FILES, preprocessing
from equipoise.store.artifacts import file_digest

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
HUB = "hf:"
"""Before the name of a model of the hub: `hf:owner/name`."""
FETCHED = ("config.json", "model*.safetensors", "model.safetensors.index.json", "preprocessor_config.json",
           "tokenizer.json", "tokenizer_config.json", "vocab.txt")  # fmt: skip
TASKS: dict[str, Literal["text", "image"]] = {
    "ForSequenceClassification": "text",
    "ForImageClassification": "image",
}
LONGEST_PLAUSIBLE = 1_000_000
"""Tokens: `model_max_length` is 1e30 where nobody said it."""
OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "roberta-prelayernorm", "mpnet"})
"""Models whose positions are counted from the token of filling on, so that as many fewer tokens have one."""


def is_huggingface(path: str) -> bool:
    """Whether a model is named by a folder with a `config.json`, or as `hf:owner/name`."""
    return path.startswith(HUB) or (Path(path) / CONFIG).is_file()


def local_folder(path: str) -> Path:
    """The folder of a model; one of the hub is fetched into the hub's own cache, without any code of its.

    Raises:
        ModelError: It cannot be fetched, or there is no such folder.
    """
    if not path.startswith(HUB):
        return Path(path)
    name = path.removeprefix(HUB)
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ModelError(path, "huggingface_hub is not installed", 'pip install "equipoise[huggingface]"') from None
    try:
        return Path(snapshot_download(name, allow_patterns=list(FETCHED)))
    except Exception as error:  # its HTTP library's own exceptions, and the hub's, change from release to release
        raise ModelError(
            path,
            f"it cannot be fetched ({type(error).__name__}: {str(error).splitlines()[0][:200]})",
            "needed a network and a public model; or give the folder that save_pretrained wrote",
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """The model's `config.json`.

    Raises:
        ModelError: It is not there, or no object.
    """
    config = _read_json(folder / CONFIG)
    if config is None:
        raise ModelError(str(folder), f"it has no {CONFIG}", "needed the folder that save_pretrained wrote")
    return config


def task_of(folder: Path, config: Mapping[str, Any]) -> tuple[Literal["text", "image"], str]:
    """What a model classifies, and the name of its class.

    Raises:
        ModelError: It does something else.
    """
    architectures = [str(name) for name in config.get("architectures") or ()]
    for name in architectures:
        for ending, task in TASKS.items():
            if name.endswith(ending):
                return task, name
    found = ", ".join(architectures) or "no architecture"
    raise ModelError(
        str(folder / CONFIG), f"it names {found}", f"needed a model that ends in {' or '.join(TASKS)}: those are served"
    )


def own_preprocessing(path: str) -> PlacedPreprocessing:
    """How texts or images become a model's inputs, by its own files.

    Raises:
        ModelError: They are not there, or not of a kind that is read here.
    """
    folder = local_folder(path)
    config = read_config(folder)
    task, _ = task_of(folder, config)
    if task == "image":
        if not (folder / IMAGE_FILE).is_file():
            needed = "needed it: image_processor.save_pretrained(folder); or give --preprocess"
            raise ModelError(str(folder), f"it has no {IMAGE_FILE}", needed)
        return preprocessing(str(folder / IMAGE_FILE), str(folder / IMAGE_FILE))
    tokenizer = next((folder / name for name in TOKENIZER_FILES if (folder / name).is_file()), None)
    if tokenizer is None:
        needed = "needed one of them: AutoTokenizer.from_pretrained(folder).save_pretrained(folder); or --preprocess"
        raise ModelError(str(folder), f"it has neither {' nor '.join(TOKENIZER_FILES)}", needed)
    settings = TextPreprocessing(
        tokenizer=tokenizer.name,
        tokenizer_sha256=file_digest(tokenizer),
        max_length=longest_row(folder, config),
        pad_token_id=_whole(config.get("pad_token_id")),
    )
    return PlacedPreprocessing(settings=settings, folder=str(folder))


def longest_row(folder: Path, config: Mapping[str, Any]) -> int | None:
    """Most tokens of a row: what the tokenizer says, and what the model has positions for; null where neither does."""
    tokenizer = _read_json(folder / TOKENIZER_CONFIG) or {}
    said = tokenizer.get("model_max_length")
    positions = _whole(config.get("max_position_embeddings"))
    if positions is not None and config.get("model_type") in OFFSET_POSITIONS:
        positions -= (_whole(config.get("pad_token_id")) or 0) + 1
    limits = [limit for limit in (said, positions) if isinstance(limit, int | float) and 0 < limit < LONGEST_PLAUSIBLE]
    return min(map(int, limits), default=None)


def class_names(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of the classes in the order of the model's scores; null where nobody named them (`LABEL_0`)."""
    named = config.get("id2label")
    if not isinstance(named, Mapping) or not all(str(key).isdigit() for key in named):
        return None
    by_number = {int(key): str(name) for key, name in named.items()}
    if sorted(by_number) != list(range(len(by_number))) or len(set(by_number.values())) != len(by_number):
        return None
    names = tuple(by_number[number] for number in range(len(by_number)))
    return None if names == tuple(f"LABEL_{number}" for number in range(len(names))) else names


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _read_json(path: Path) -> dict[str, Any] | None:
    """An object; null where there is no such file."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(str(path), f"it cannot be read as JSON ({error})", "save the model again") from None
    if not isinstance(content, dict):
        raise ModelError(str(path), "it holds no settings", "save the model again")
    return content
