"""The part of a bundle that says how raw images or texts become inputs: `preprocess.json`, and files it names."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from equipoise.core.preprocessing import PlacedPreprocessing, Preprocessing
from equipoise.errors import BundleError
from equipoise.store.artifacts import file_digest

SETTINGS, FILES = "preprocess.json", "preprocess"
_settings: TypeAdapter[Preprocessing] = TypeAdapter(Preprocessing)


def write_preprocessing(bundle: Path, placed: PlacedPreprocessing | None) -> None:
    """Write settings and copy their files into a bundle that is being made; nothing where there are none.

    Raises:
        BundleError: A file is not there, or not what the settings say it is.
    """
    if placed is None:
        return
    text = placed.settings.model_dump_json(indent=1)
    (bundle / SETTINGS).write_text(text + "\n", encoding="utf-8")
    for name in placed.settings.files:
        (bundle / FILES).mkdir(exist_ok=True)
        source = Path(placed.folder or ".") / name
        if not source.is_file():
            raise BundleError(str(source), "it is not there", "needed the file that the preprocessing names")
        shutil.copyfile(source, bundle / FILES / name)
    _require_files(bundle, placed.settings)


def read_preprocessing(bundle: Path) -> PlacedPreprocessing | None:
    """Settings of an intact bundle, and where their files lie; null where it has none.

    Raises:
        BundleError: They cannot be read, or name a file that is not there or another one.
    """
    place = bundle / SETTINGS
    if not place.is_file():
        return None
    try:
        settings = _settings.validate_json(place.read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(str(place), f"it cannot be read ({error})", "make the bundle again") from error
    _require_files(bundle, settings)
    return PlacedPreprocessing(settings=settings, folder=str(bundle / FILES) if settings.files else None)


def _require_files(bundle: Path, settings: Preprocessing) -> None:
    for name, digest in settings.files.items():
        file = bundle / FILES / name
        if not file.is_file() or file_digest(file) != digest:
            raise BundleError(str(file), "it is not the file that the preprocessing names", "make the bundle again")
