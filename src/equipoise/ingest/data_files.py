"""Data files as tables of what a model takes: raw images and texts through preprocessing, all others as they are."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.preprocessing import ImagePreprocessing, PlacedPreprocessing, TextPreprocessing
from equipoise.core.tensor import ModelSpec
from equipoise.errors import DataError
from equipoise.host.environment import cores, memory_bytes
from equipoise.ingest.table import Table, read_table
from equipoise.ingest.texts import text_columns, with_tokens
from equipoise.preprocess.fitting import derived, fitted
from equipoise.preprocess.image_files import ImageFiles, image_files, is_images, readable
from equipoise.preprocess.image_rows import image_rows
from equipoise.preprocess.images import decoded, require_pillow
from equipoise.preprocess.lengths import sequence_inputs
from equipoise.preprocess.raw import Preprocessor, open_preprocessor
from equipoise.preprocess.text import TextPreprocessor

Array = NDArray[Any]
Arrays = dict[str, Array]
Keep = Callable[[str, Callable[[], Arrays]], Arrays]
"""Gives the arrays of a name: made now, or kept from before."""
LABEL = "label"
CPU_S = "seconds of a core for one image"


def needs_preprocessing(path: Path, placed: PlacedPreprocessing | None) -> bool:
    """Whether a data file holds raw images or texts, which become what a model takes only once that is known."""
    return is_images(path) or (placed is not None and isinstance(placed.settings, TextPreprocessing))


def made_now(name: str, make: Callable[[], Arrays]) -> Arrays:  # noqa: ARG001 - nothing is kept under it
    """Keeps nothing."""
    return make()


class DataFiles:
    """Reads data files for a model.

    Args:
        spec: What the model takes; null where preprocessing that is given is complete, as a bundle's is.
        columns: Column names of CSV files that have no header.
        placed: Preprocessing; null for none. What it leaves open is told from the model.
        keep: Where what was decoded is kept.
        besides: Columns that are not the text: the target, slices, the group.

    Attributes:
        placed: Complete preprocessing; where none was given, what was found for the first images that were read. The
            columns of text are those of the first file that was read.
        classes: Classes of the first images that were read, in the order that folder readers number them; null where no
            images by class were.
        names: Of the images that were read last, in their order; empty where that were none.

    Raises:
        DataError: The preprocessing does not fit the model, or a library that it needs is not installed.
    """

    def __init__(
        self,
        spec: ModelSpec | None,
        columns: Sequence[str] | None = None,
        placed: PlacedPreprocessing | None = None,
        keep: Keep = made_now,
        besides: Sequence[str] = (),
    ) -> None:
        self.placed: PlacedPreprocessing | None = None
        self.classes: tuple[str, ...] | None = None
        self.names: tuple[str, ...] = ()
        self._spec = spec
        self._columns = columns
        self._keep = keep
        self._besides = besides
        self._notes: list[str] = []
        self._timed = False
        self._preprocessor: Preprocessor | None = None
        if placed is not None and spec is not None:
            placed = placed.model_copy(update={"settings": fitted(placed.settings, spec)})
        if placed is not None:
            self._open(placed)

    @property
    def filling(self) -> dict[str, int]:
        """Inputs whose rows may have different lengths, each with what shorter ones are filled up with."""
        if self._preprocessor is not None:
            return self._preprocessor.filling
        return {} if self._spec is None else dict.fromkeys(sequence_inputs(self._spec), 0)  # the mask hides it

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person should know of the files that were read."""
        return tuple(dict.fromkeys(self._notes))

    def read(self, path: Path, most: int | None = None) -> Table:
        """Read a data file, or a folder or an archive of images.

        Images by class get a column `label` with the names of their folders.

        Args:
            path: Where it is.
            most: Only so many rows, the first ones; null for all.

        Raises:
            DataError: It cannot be read, or images need settings that are not given.
        """
        self.names = ()
        if is_images(path):
            files = image_files(path)
            return self._images(files if most is None else files.head(most))
        table = read_table(path, self._columns)
        table = table if most is None else table.head(most)
        return self._texts(table, self._preprocessor) if isinstance(self._preprocessor, TextPreprocessor) else table

    def _images(self, files: ImageFiles) -> Table:
        preprocessor, settings = self._for_images(files)
        self.names = tuple(map(readable, files.names))
        named = f"{files.where} {len(files.names)} {settings.content_digest}"
        key = hashlib.sha256(named.encode()).hexdigest()
        arrays = dict(self._keep(f"images-{key[:16]}", lambda: _decoded(files, preprocessor)))
        cpu_s = float(arrays.pop(CPU_S))
        self._notes += files.notes if self._timed else [*files.notes, _time_note(cpu_s)]
        self._timed = True
        if files.classes is None:
            return Table(arrays, str(files.where))
        if self.classes is None and files.class_names is not None:
            self.classes = files.class_names
            self._notes += _order_note(self.classes)
        return Table(arrays | {LABEL: np.array(files.classes, dtype=object)}, str(files.where))

    def _for_images(self, files: ImageFiles) -> tuple[Preprocessor, ImagePreprocessing]:
        if self.placed is None:
            require_pillow()
            if self._spec is None:
                raise DataError(str(files.where), "images, and no preprocessing for them", "needed rows as tensors")
            first = decoded(next(files.contents()), files.called(0))
            settings, note = derived(self._spec, (first.height, first.width))
            self._notes.append(note)
            self._open(PlacedPreprocessing(settings=settings))
        assert self._preprocessor is not None, "opened above, or when this was made"
        assert self.placed is not None, "likewise"
        if not isinstance(self.placed.settings, ImagePreprocessing):
            raise DataError(str(files.where), "images, with preprocessing for texts", "needed texts, or other settings")
        return self._preprocessor, self.placed.settings

    def _texts(self, table: Table, preprocessor: TextPreprocessor) -> Table:
        assert self.placed is not None, "it was opened"
        settings = preprocessor.settings
        if settings.columns is None and settings.input_ids in table.columns:
            return table  # tokens already
        if settings.columns is None:
            settings = settings.model_copy(update={"columns": text_columns(table, self._besides)})
            self._open(self.placed.model_copy(update={"settings": settings}))
        found, cut = with_tokens(table, preprocessor, settings.columns or ())
        if cut:
            self._notes.append(
                f"{table.source}: {cut:,} of {table.n:,} texts fill all {preprocessor.most_tokens} tokens of a row, "
                "and may have been cut (max_length)"
            )
        return found

    def _open(self, placed: PlacedPreprocessing) -> None:
        self._preprocessor = open_preprocessor(placed)
        self.placed = placed


def _decoded(files: ImageFiles, preprocessor: Preprocessor) -> Arrays:
    """All images, [n, ...], and the seconds of a core that one took."""
    found: Arrays = {}
    done, begin_s = 0, time.process_time()
    for feeds in image_rows(files, preprocessor, cores()):
        for name, array in feeds.items():
            if name not in found:
                _require_room(files, len(files.names) * array[0].nbytes)
                found[name] = np.empty((len(files.names), *array.shape[1:]), dtype=array.dtype)
            found[name][done : done + len(array)] = array
        done += len(next(iter(feeds.values())))
    return found | {CPU_S: np.asarray((time.process_time() - begin_s) / max(1, done))}


def _require_room(files: ImageFiles, size: int) -> None:
    most = memory_bytes() // 4  # they are divided into splits, and read by children
    if size > most:
        raise DataError(
            str(files.where),
            f"{len(files.names):,} images that become {size / 1e9:,.1f} GB of numbers",
            f"a quarter of this machine's memory is {most / 1e9:,.1f} GB: give a part of them, drawn at random",
        )


def _time_note(cpu_s: float) -> str:
    return (
        f"an image takes {cpu_s * 1e3:.2f} ms of a core to decode and prepare; no cost and no latency here "
        "counts that: they are the model's alone"
    )


def _order_note(classes: Sequence[str]) -> list[str]:
    if not all(name.isdigit() for name in classes) or list(classes) == sorted(classes, key=int):
        return []
    return [
        f"the classes are numbered in the order of their names as text ({', '.join(classes[:4])}, ...), as folder "
        "readers do; if the model numbers them otherwise, say so with --labels"
    ]
