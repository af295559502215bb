"""Folders and archives of images by class: what is in them, and their bytes; nothing is ever unpacked to the disk."""

from __future__ import annotations

import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from equipoise.errors import DataError
from equipoise.preprocess.columns import listed, refuse_repeated

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
MOST_FILES = 5_000_000
MOST_FILE_BYTES = 64 << 20
"""Of one image, encoded."""
MOST_GROWTH, FREE_BYTES = 200, 1 << 30
"""An archive may hold this many times its own size, and so many bytes besides; images hardly shrink in one."""
DAMAGED_ARCHIVE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError,
    NotImplementedError, OverflowError,
)  # fmt: skip
NEEDED = f"needed {', '.join(IMAGE_SUFFIXES)} files in a folder for each class, or an archive of such folders"
SYSTEM_FOLDERS = frozenset({"__MACOSX"})


@dataclass(frozen=True)
class ImageFiles:
    """Images in the order in which they are read.

    Attributes:
        where: The folder, archive or single image.
        names: Path of each inside it, with `/`.
        classes: Class of each, the name of its folder; null where images do not lie in folders.
        skipped: Files that are no images, by name; hidden ones are not even mentioned.
    """

    where: Path
    names: tuple[str, ...]
    classes: tuple[str, ...] | None
    skipped: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes, sorted as text: the order that torchvision's and Keras's folder readers number them in."""
        return None if self.classes is None else tuple(sorted(set(self.classes)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person should know."""
        if not self.skipped:
            return ()
        files = f"{len(self.skipped):,} files in {self.where} are no images and were left out"
        return (f"{files}: {listed(self.skipped, 3)}",)

    def head(self, n: int) -> ImageFiles:
        """The first `n` of them."""
        classes = None if self.classes is None else self.classes[:n]
        return replace(self, names=self.names[:n], classes=classes)

    def called(self, place: int) -> str:
        """An image's name for a message."""
        return str(self.where) if self.where.is_file() and not _is_archive(self.where) else self._inside(place)

    def _inside(self, place: int) -> str:
        name = readable(self.names[place])
        return str(self.where / name) if self.where.is_dir() else f"{self.where}: {name}"

    def contents(self) -> Iterator[bytes]:
        """Each image's bytes, in order.

        Raises:
            DataError: One cannot be read, or the archive is damaged.
        """
        read = _tar_contents if _is_tar(self.where) else _zip_contents if _is_zip(self.where) else _file_contents
        try:
            yield from read(self)
        except DAMAGED_ARCHIVE as error:
            raise _unreadable(self.where, error) from error


def is_images(path: Path) -> bool:
    """Whether a path is one of images, as far as its name says: a folder, an archive, or a single image."""
    return path.is_dir() or _is_archive(path) or path.suffix.lower() in IMAGE_SUFFIXES


def readable(name: str) -> str:
    """A file's name as text that can be written anywhere: what is no UTF-8 becomes question marks."""
    return name.encode("utf-8", "replace").decode()


def has_images(folder: Path) -> bool:
    """Whether there is an image in a folder, however deep; hidden ones do not count."""
    return folder.is_dir() and any(
        name.lower().endswith(IMAGE_SUFFIXES) and not _is_hidden(name) for name in _walked(folder)
    )


def image_files(path: Path) -> ImageFiles:
    """Find the images of a folder, of a `.tar.gz`, `.tar` or `.zip` archive of one, or a single one.

    The class of an image is the name of the folder it lies in, directly under `path`, however deep below that; in an
    archive a single folder around all others is looked through. Hidden files are left out. Of an archive nothing is
    written to the disk, and what could be meant to escape from it is refused: links, devices, absolute names and `..`.

    Raises:
        DataError: There are no images, some lie in folders and some do not, or the archive is damaged, hostile or too
            large.
    """
    try:
        if path.is_dir():
            found = sorted(_walked(path))
        elif _is_tar(path):
            found = _tar_names(path)
        elif _is_zip(path):
            found = _zip_names(path)
        elif path.is_file():
            return ImageFiles(path, (path.name,), None)
        else:
            raise DataError(str(path), "nothing is there", NEEDED)
    except DAMAGED_ARCHIVE as error:
        raise _unreadable(path, error) from error
    shown = [name for name in found if not _is_hidden(name)]
    names = tuple(name for name in shown if name.lower().endswith(IMAGE_SUFFIXES))
    if not names:
        raise DataError(str(path), f"no images among {len(shown):,} files", NEEDED)
    refuse_repeated(names, str(path), "files named ")
    if any("/" in name and readable(name.rpartition("/")[0]) != name.rpartition("/")[0] for name in names):
        raise DataError(str(path), "a folder whose name is no text in UTF-8", "give the classes other names")
    kept = set(names)
    skipped = tuple(readable(name) for name in shown if name not in kept)
    return ImageFiles(path, names, _classes(path, names), skipped)


def _classes(path: Path, names: Sequence[str]) -> tuple[str, ...] | None:
    parts = [PurePosixPath(name).parts for name in names]
    if not path.is_dir() and len({part[0] for part in parts}) == 1 and all(len(part) > 1 for part in parts):
        parts = [part[1:] for part in parts]
    loose = [len(part) == 1 for part in parts]
    if all(loose):
        return None
    if any(loose):
        first = names[loose.index(True)]
        found = f"{sum(loose):,} images lie in no class's folder, {first} for example"
        raise DataError(str(path), found, "put each into the folder of its class, or all beside each other")
    return tuple(part[0] for part in parts)


def _walked(root: Path) -> Iterator[str]:
    for place, folders, files in os.walk(root):
        here = Path(place)
        for name in folders:
            if (here / name).is_symlink() and not name.startswith("."):
                raise DataError(str(here / name), "a link to a folder", "put the folder itself in its place")
        folders[:] = [name for name in folders if not _is_hidden(name)]
        for name in files:
            yield (here / name).relative_to(root).as_posix()


def _tar_names(path: Path) -> list[str]:
    most_bytes = _most_bytes(path)
    names: list[str] = []
    with tarfile.open(path) as archive:
        for member in archive:
            if member.offset_data + member.size > most_bytes or len(names) >= MOST_FILES:
                raise _too_large(path, most_bytes)
            if member.isdir():
                continue
            if not member.isreg():
                raise DataError(f"{path}: {member.name}", "a link or a device", "needed an archive of plain files")
            _require_inside(path, member.name)
            names.append(_plain(member.name))
    return names


def _zip_names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
    most_bytes = _most_bytes(path)
    if sum(member.file_size for member in members) > most_bytes or len(members) > MOST_FILES:
        raise _too_large(path, most_bytes)
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise DataError(f"{path}: {member.filename}", "a link or a device", "needed an archive of plain files")
        _require_inside(path, member.filename)
    return [_plain(member.filename) for member in members]


def _tar_contents(images: ImageFiles) -> Iterator[bytes]:
    wanted = iter(enumerate(images.names))
    place, name = next(wanted)
    with tarfile.open(images.where) as archive:
        for member in archive:
            if _plain(member.name) != name or not member.isreg():
                continue
            _require_small(images, place, member.size)
            file = archive.extractfile(member)
            assert file is not None, "a plain file has a content"
            yield file.read()
            following = next(wanted, None)
            if following is None:
                return
            place, name = following
    raise DataError(str(images.where), "it changed while it was read", "read it again")


def _zip_contents(images: ImageFiles) -> Iterator[bytes]:
    with zipfile.ZipFile(images.where) as archive:
        members = {_plain(member.filename): member for member in archive.infolist() if not member.is_dir()}
        for place, name in enumerate(images.names):
            _require_small(images, place, members[name].file_size)
            yield archive.read(members[name])


def _file_contents(images: ImageFiles) -> Iterator[bytes]:
    for place, name in enumerate(images.names):
        path = images.where / name if images.where.is_dir() else images.where
        try:
            _require_small(images, place, path.stat().st_size)
            yield path.read_bytes()
        except OSError as error:
            raise DataError(
                str(path), f"cannot be read: {error.strerror or error}", "needed a readable image"
            ) from None


def _require_inside(path: Path, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise DataError(
            f"{path}: {name!r}", "a name that leads out of the archive", "needed an archive of plain folders"
        )


def _require_small(images: ImageFiles, place: int, size: int) -> None:
    if size > MOST_FILE_BYTES:
        found = f"a file of {size:,} bytes"
        raise DataError(images.called(place), found, f"at most {MOST_FILE_BYTES:,} are taken for one image")


def _most_bytes(path: Path) -> int:
    return path.stat().st_size * MOST_GROWTH + FREE_BYTES


def _too_large(path: Path, most_bytes: int) -> DataError:
    found = f"it unpacks to more than {most_bytes:,} bytes, or {MOST_FILES:,} files"
    return DataError(str(path), found, f"an archive of images holds no more than {MOST_GROWTH} times its own size")


def _unreadable(path: Path, error: BaseException) -> DataError:
    if isinstance(error, OSError) and error.strerror and not isinstance(error, tarfile.TarError):
        return DataError(str(path), f"cannot be read: {error.strerror}", NEEDED)
    return DataError(str(path), f"a damaged archive ({error})", "make it again")


def _plain(name: str) -> str:
    return PurePosixPath(name).as_posix()


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part in SYSTEM_FOLDERS for part in PurePosixPath(name).parts)


def _is_archive(path: Path) -> bool:
    return _is_tar(path) or _is_zip(path)


def _is_tar(path: Path) -> bool:
    return path.name.lower().endswith(tuple(suffix for suffix in ARCHIVE_SUFFIXES if suffix != ".zip"))


def _is_zip(path: Path) -> bool:
    return path.name.lower().endswith(".zip")
