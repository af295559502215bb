"""What a person may say about a profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equipoise.core.preprocessing import PlacedPreprocessing
from equipoise.errors import BriefError, InputError
from equipoise.ingest import spellings
from equipoise.ingest.preprocess_settings import preprocessing
from equipoise.ingest.raw_brief import model_preprocessing

USUAL_SECONDS = 10.0
KNOWN = (
    "data", "preprocess", "text_column", "state_dict", "runtime", "precision", "batch", "threads", "length", "shape",
    "columns", "seconds", "seed", "trust", "remeasure",
)  # fmt: skip


@dataclass(frozen=True)
class ProfileOptions:
    """What a person asked for; null for what they left out.

    Attributes:
        model: The model's file.
        data: Rows to feed; random ones where it is null.
        preprocess: How raw images or texts become inputs; null where rows are tensors or columns already, or where the
            model's own files say it.
        state_dict: Weights of a PyTorch module, where `model` is `module:function`.
        runtime: Registered name of the runtime; the native one of the model's format where it is null.
        precision: Arithmetic; the model's own where it is null.
        batch: Rows at once.
        threads: Threads that compute; where it is null all cores, and 1 for scikit-learn.
        length: Size of every axis that the model leaves free, besides the batch.
        shapes: Input name to the shape of its rows.
        columns: Column names of a CSV file that has no header.
        seconds: How long to measure, about.
        seed: For random rows.
        trust: Whether files that can execute code may be opened.
        remeasure: Measure the roofline again.
    """

    model: Path
    data: Path | None = None
    preprocess: PlacedPreprocessing | None = None
    state_dict: Path | None = None
    runtime: str | None = None
    precision: str | None = None
    batch: int | None = None
    threads: int | None = None
    length: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    columns: tuple[str, ...] | None = None
    seconds: float = USUAL_SECONDS
    seed: int = 0
    trust: bool = False
    remeasure: bool = False


def profile_options(model: Path, given: Mapping[str, Any], spelled: Callable[[str], str] = str) -> ProfileOptions:
    """Read options as people spell them.

    Args:
        model: The model's file.
        given: Those of `KNOWN`; null, or nothing, for what is left out.
        spelled: Name to what a person wrote, for messages.

    Raises:
        BriefError: One cannot be used.
    """
    spellings.refuse_unknown(dict(given), KNOWN, "profile")
    parsers: dict[str, Callable[[Any, str], Any]] = {
        "runtime": spellings.text,
        "precision": spellings.text,
        "batch": _count,
        "threads": _count,
        "length": _count,
        "shape": _shapes,
        "columns": spellings.names,
        "preprocess": preprocessing,
        "text_column": spellings.names,
        "seconds": spellings.positive("seconds"),
        "seed": spellings.whole_number,
        "trust": spellings.flag,
        "remeasure": spellings.flag,
    }
    found = {
        name: parse(given[name], spelled(name)) for name, parse in parsers.items() if given.get(name) not in (None, ())
    }
    data = given.get("data")
    if data is not None:
        for name in ("length", "shape"):
            if name in found:
                raise BriefError(spelled(name), f"found with {spelled('data')}", "give one of them: rows have shapes")
    else:
        for name in ("preprocess", "text_column"):
            if name in found:
                raise BriefError(spelled(name), "found without rows", f"give them with {spelled('data')}")
    state, text = given.get("state_dict"), found.pop("text_column", None)
    return ProfileOptions(
        model=model,
        data=None if data is None else Path(data),
        preprocess=None if data is None else _preprocessing(str(model), found.pop("preprocess", None), text),
        state_dict=None if state is None else Path(state),
        shapes=found.pop("shape", {}),
        **found,
    )


def _preprocessing(
    model: str, placed: PlacedPreprocessing | None, text_columns: tuple[str, ...] | None
) -> PlacedPreprocessing | None:
    if placed is not None or text_columns is not None:
        return model_preprocessing(model, placed, text_columns)
    with suppress(InputError):  # rows may be tensors or token ids already; where they are not, reading them says so
        return model_preprocessing(model, None, None)
    return None


def _count(value: Any, where: str) -> int:
    found = spellings.whole_number(value, where)
    if found == 0:
        spellings.fail(where, value, "needed a whole number above 0")
    return found


def _shapes(value: Any, where: str) -> dict[str, tuple[int, ...]]:
    """Input name to the shape of its rows: a table in Python, `NAME=128,64` for each `--shape`."""
    needed = "needed NAME=SIZES without the batch, such as image=3,224,224"
    if isinstance(value, Mapping):
        return {name: tuple(_count(size, f"{where} {name}") for size in sizes) for name, sizes in value.items()}
    spelt: Sequence[str] = [value] if isinstance(value, str) else value
    found: dict[str, tuple[int, ...]] = {}
    for spelling in spelt:
        name, equals, sizes = spelling.partition("=")
        if not equals or not name:
            spellings.fail(where, spelling, needed)
        if name in found:
            raise BriefError(where, f"found the input {name!r} twice", "needed each input once")
        found[name] = tuple(_count(size, f"{where} {name}") for size in sizes.split(",")) if sizes.strip() else ()
    return found
