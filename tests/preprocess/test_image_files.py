"""Folders and archives of images: what is found in them, in which order, and what is refused."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from equipoise.core.preprocessing import ImagePreprocessing
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import DataError
from equipoise.preprocess import image_files as module
from equipoise.preprocess.image_files import image_files, is_images
from equipoise.preprocess.image_rows import image_chunks, image_rows
from equipoise.preprocess.images import ImagePreprocessor
from picturing import COLOURS, encoded, picture_folder

CONTENT = encoded(np.zeros((4, 4, 3), np.uint8))
SETTINGS = ImagePreprocessing(layout="NHWC", dtype="uint8", input="image", do_rescale=False)
SPEC = ModelSpec(inputs=(TensorSpec(name="image", dtype="uint8", shape=(None, 8, 8, 3)),), outputs=())


def tar_of(path: Path, names: list[str], content: bytes = CONTENT, **fields: object) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for field, value in fields.items():
                setattr(member, field, value)
            archive.addfile(member, io.BytesIO(content))
    return path


def zip_of(path: Path, names: list[str], content: bytes = CONTENT) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return path


def test_the_class_is_the_folder(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "pictures", 2)
    (folder / "red" / "deeper").mkdir()
    (folder / "red" / "deeper" / "more.JPG").write_bytes(CONTENT)
    (folder / "red" / "notes.txt").write_text("no image")
    for hidden in (folder / "red" / "._000.png", folder / ".DS_Store", folder / "blue" / ".thumbs.jpg"):
        hidden.write_bytes(b"")
    files = image_files(folder)
    assert files.class_names == COLOURS
    assert files.names[:2] == ("blue/000.png", "blue/001.png")
    assert files.names[-1] == "red/deeper/more.JPG"
    assert files.classes is not None
    assert files.classes[-1] == "red"
    assert files.skipped == ("red/notes.txt",)
    assert "1 files" in files.notes[0]
    assert next(iter(files.contents())) == (folder / files.names[0]).read_bytes()
    assert files.called(1) == str(folder / "blue" / "001.png")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar", "a.zip"])
def test_archives_hold_what_a_folder_holds(tmp_path: Path, name: str) -> None:
    folder = picture_folder(tmp_path / "pictures", 3)
    path = tmp_path / name
    if name.endswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(folder, "pictures")
            for file in sorted(folder.rglob("*")):
                archive.write(file, f"pictures/{file.relative_to(folder)}")
            archive.writestr("__MACOSX/pictures/red/._000.png", b"")
    else:
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
            archive.add(folder, "./pictures")
    before = set(tmp_path.iterdir())
    files, plain = image_files(path), image_files(folder)
    assert files.class_names == COLOURS
    assert sorted(files.names) == [f"pictures/{each}" for each in plain.names]
    contents = dict(zip(files.names, files.contents(), strict=True))
    assert [contents[f"pictures/{each}"] for each in plain.names] == list(plain.contents())
    assert set(tmp_path.iterdir()) == before
    assert "pictures/" in files.called(0)


def test_images_beside_each_other_have_no_class(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(CONTENT)
    assert image_files(tmp_path).classes is None
    assert image_files(tmp_path / "one.png").names == ("one.png",)
    assert image_files(tar_of(tmp_path / "a.tar", ["all/1.png", "all/2.png"])).classes is None
    (tmp_path / "red").mkdir()
    (tmp_path / "red" / "two.png").write_bytes(CONTENT)
    with pytest.raises(DataError, match=r"1 images lie in no class's folder, one\.png"):
        image_files(tmp_path)


@pytest.mark.parametrize("name", ["../red/1.png", "/etc/1.png", "red/../../1.png", "C:/1.png", "..\\red\\1.png"])
@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str, make: object) -> None:
    path = tmp_path / ("a.tar" if make is tar_of else "a.zip")
    make(path, ["red/0.png", name])  # type: ignore[operator]
    with pytest.raises(DataError, match="leads out of the archive"):
        image_files(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = tar_of(tmp_path / "a.tar", ["red/0.png"], b"", type=kind, linkname="/etc/passwd")
    with pytest.raises(DataError, match="a link or a device"):
        image_files(path)


def test_links_in_a_zip_and_to_folders_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("red/0.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="a link or a device"):
        image_files(tmp_path / "a.zip")
    folder = picture_folder(tmp_path / "pictures", 1)
    os.symlink(folder / "red", folder / "pink")
    with pytest.raises(DataError, match="a link to a folder"):
        image_files(folder)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_an_archive_that_grows_without_end_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FREE_BYTES", 1000)
    names = ["red/0.png", "red/ballast.bin"]
    path = (zip_of if name.endswith("zip") else tar_of)(tmp_path / name, names, b"\0" * 4_000_000)
    with pytest.raises(DataError, match="unpacks to more than"):
        image_files(path)


def test_damaged_and_wrong_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tar_of(tmp_path / "a.tar.gz", ["red/0.png", "red/1.png"], os.urandom(3000)).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.tar").write_text("no archive")
    (tmp_path / "text.zip").write_text("no archive")
    for name in ("cut.tar.gz", "text.tar", "text.zip"):
        with pytest.raises(DataError, match="damaged archive"):
            image_files(tmp_path / name)
    with pytest.raises(DataError, match="nothing is there"):
        image_files(tmp_path / "gone.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images among 0 files"):
        image_files(tmp_path / "empty")
    with pytest.raises(DataError, match="more than once"):
        image_files(tar_of(tmp_path / "twice.tar", ["red/0.png", "red/0.png"]))
    monkeypatch.setattr(module, "MOST_FILE_BYTES", 1000)
    with pytest.raises(DataError, match=r"red/0\.png: a file of 3,000 bytes"):
        list(image_files(tmp_path / "a.tar.gz").contents())


def test_rows_come_in_order_from_several_threads(tmp_path: Path) -> None:
    for number in range(150):
        (tmp_path / f"{number:03}.png").write_bytes(encoded(np.full((8, 8, 3), number, np.uint8)))
    files, preprocessor = image_files(tmp_path), ImagePreprocessor(SETTINGS)
    rows = np.concatenate([feeds["image"] for feeds in image_rows(files, preprocessor, 3)])
    assert rows[:, 0, 0, 0].tolist() == list(range(150))
    chunks = list(image_chunks(files, preprocessor, SPEC, 40_000, 2))
    assert [chunk.rows for chunk in chunks] == [150]
    assert chunks[0].names == files.names


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    for number in range(70):
        side = 9 if number >= 64 else 8
        (tmp_path / f"{number:03}.png").write_bytes(encoded(np.zeros((side, side, 3), np.uint8)))
    with pytest.raises(DataError, match=r"064\.png: an image that becomes \[9, 9, 3\]"):
        list(image_rows(image_files(tmp_path), ImagePreprocessor(SETTINGS), 2))


def test_names_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / os.fsdecode(b"\xff.png")).write_bytes(CONTENT)
    (tmp_path / "plain" / os.fsdecode(b"\xfe.txt")).write_bytes(b"")
    files = image_files(tmp_path / "plain")
    assert files.called(0).endswith("/?.png")
    assert files.skipped == ("?.txt",)
    assert list(files.contents()) == [CONTENT]
    strange = tmp_path / "classes" / os.fsdecode(b"\xff")
    strange.mkdir(parents=True)
    (strange / "0.png").write_bytes(CONTENT)
    with pytest.raises(DataError, match="no text in UTF-8"):
        image_files(tmp_path / "classes")


def test_what_is_one_of_images(tmp_path: Path) -> None:
    assert is_images(tmp_path)
    assert is_images(Path("a.TAR.GZ"))
    assert is_images(Path("a.JPeG"))
    assert not is_images(Path("a.npz"))
