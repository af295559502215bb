"""A study's folder: its journal, its artifacts by digest, and its arrays.

The journal is one JSON object a line, appended and flushed to the disk as each action finishes. A study that was killed
loses at most the action in hand: a line that was cut off is ignored when the journal is read again.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import BriefError

JOURNAL = "journal.jsonl"
ARTIFACTS = "artifacts"
ARRAYS = "arrays"
LOGS = "logs"
TRAINING = "training"
LOCK = ".lock"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Entry:
    """One finished action.

    Attributes:
        key: Digest of the action.
        value: What came of it, as JSON.
        elapsed_s: Wall time of the study when it had finished, earlier sittings included.
    """

    key: str
    value: Any
    elapsed_s: float


class StudyFolder:
    """The folder in which a study keeps what it has finished.

    Args:
        folder: Created if it is not there.
        identity: What the study is about, name to digest. A folder that holds another study is refused.

    Attributes:
        study_id: Made when the study begins, and kept by later sittings.

    Raises:
        BriefError: The folder holds a study of something else.
    """

    def __init__(self, folder: Path, identity: dict[str, str]) -> None:
        self.folder = folder
        for name in (ARTIFACTS, ARRAYS, LOGS):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._entries: dict[str, Entry] = {}
        self._journal = folder / JOURNAL
        self.study_id = uuid.uuid4().hex
        if not self._journal.exists() or not self._read(identity):
            self._append({"format_version": FORMAT_VERSION, "study_id": self.study_id, "identity": identity})

    @property
    def elapsed_s(self) -> float:
        """Wall time that the study had taken when its last finished action ended."""
        return max((entry.elapsed_s for entry in self._entries.values()), default=0.0)

    def recall(self, key: str) -> Entry | None:
        """What came of an action in an earlier sitting, if it finished."""
        return self._entries.get(key)

    def record(self, key: str, value: Any, elapsed_s: float) -> None:
        """Keep what came of an action; it is on the disk when this returns."""
        self._entries[key] = Entry(key, value, elapsed_s)
        self._append({"key": key, "elapsed_s": elapsed_s, "value": value})  # a later sitting must see just this

    def log(self, name: str) -> Path:
        """The file for what a child of that name prints."""
        return self.folder / LOGS / f"{name}.log"

    def new_folder(self) -> Path:
        """An empty folder for an artifact that is being made."""
        return Path(tempfile.mkdtemp(prefix=".making-", dir=self.folder / ARTIFACTS))

    def keep_artifact(self, made: Path, digest: str) -> None:
        """Move a finished artifact to its place; one that is already there is the same."""
        place = self.artifact(digest)
        if place.exists():
            shutil.rmtree(made)
        else:
            made.rename(place)
            place.chmod(0o755)

    def checkpoints(self, name: str) -> Path:
        """The folder in which a training keeps what it goes on from; made if it is not there."""
        folder = self.folder / TRAINING / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def artifact(self, digest: str) -> Path:
        """The folder of an artifact."""
        return self.folder / ARTIFACTS / digest

    def save_arrays(self, name: str, arrays: dict[str, NDArray[Any]]) -> None:
        """Keep arrays under a name; text is kept as fixed-width unicode."""
        place = self.folder / ARRAYS / f"{name}.npz"
        partial = place.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, **{key: _storable(array) for key, array in arrays.items()})  # type: ignore[arg-type]
        partial.rename(place)

    def has_arrays(self, name: str) -> bool:
        """Whether arrays were kept under a name."""
        return (self.folder / ARRAYS / f"{name}.npz").is_file()

    def load_arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays that were kept under a name.

        Raises:
            BriefError: They are not there any more.
        """
        place = self.folder / ARRAYS / f"{name}.npz"
        try:
            with np.load(place, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except (OSError, ValueError, zipfile.BadZipFile):
            raise BriefError(
                str(place), "it is missing or damaged", "start the study again in another folder"
            ) from None

    def kept_arrays(self, name: str, make: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """The arrays of a name, numbers only: those of an earlier sitting, or else made and kept."""
        if self.has_arrays(name):
            return self.load_arrays(name)
        arrays = make()
        self.save_arrays(name, arrays)
        return arrays

    def _read(self, identity: dict[str, str]) -> bool:
        """Whether the journal has its first line, and so belongs to a study."""
        text = self._journal.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if len(whole) < len(text):  # cut off in the middle of a line: the next append must start on a line of its own
            os.truncate(self._journal, len(whole.encode()))
        lines = [self._line(number, line) for number, line in enumerate(whole.splitlines(), 1)]
        if not lines:
            return False
        head, *entries = lines
        if head.get("format_version") != FORMAT_VERSION:
            raise BriefError(
                str(self.folder),
                f"a study of format version {head.get('format_version')}",
                f"this version reads {FORMAT_VERSION}; give another folder with --out",
            )
        for what, found in head["identity"].items():
            if identity.get(what) != found:
                raise BriefError(
                    str(self.folder),
                    f"a study of another {what} ({found[:12]})",
                    f"this one is {identity.get(what, '')[:12]}; give another folder with --out",
                )
        self.study_id = head["study_id"]
        for line in entries:
            self._entries[line["key"]] = Entry(line["key"], line["value"], line["elapsed_s"])
        return True

    def _line(self, number: int, text: str) -> dict[str, Any]:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            line = None
        if not isinstance(line, dict) or not ("format_version" in line or {"key", "value", "elapsed_s"} <= line.keys()):
            raise BriefError(str(self._journal), f"line {number} is damaged", "start the study again in another folder")
        return line

    def _append(self, line: dict[str, Any]) -> None:
        with self._journal.open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(line, allow_nan=False) + "\n")
            journal.flush()
            os.fsync(journal.fileno())


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(str) if array.dtype == object else array


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes out of a study's folder; the lock ends with the process, however that ends.

    Raises:
        BriefError: Another process works in it.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BriefError(
                str(folder), "another process works in this folder", "wait for it to end, or give another --out"
            ) from None
        yield
    finally:
        os.close(descriptor)
