"""The study's folder: what finished survives, what was cut off is ignored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equipoise.errors import BriefError
from equipoise.store.openings import check_register, open_certify
from equipoise.store.study import JOURNAL, StudyFolder, alone_in

IDENTITY = {"brief": "a" * 64, "data": "b" * 64}


def test_finished_actions_are_recalled_by_a_later_sitting(tmp_path: Path) -> None:
    first = StudyFolder(tmp_path, IDENTITY)
    first.record("k1", {"rows": 3}, elapsed_s=1.5)
    second = StudyFolder(tmp_path, IDENTITY)
    entry = second.recall("k1")
    assert entry is not None
    assert (entry.value, entry.elapsed_s) == ({"rows": 3}, 1.5)
    assert second.recall("k2") is None
    assert second.elapsed_s == 1.5


def test_a_line_that_was_cut_off_is_ignored_and_the_next_one_is_whole(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path, IDENTITY)
    study.record("k1", 1, elapsed_s=1)
    with (tmp_path / JOURNAL).open("a") as journal:
        journal.write('{"key": "k2", "elap')
    again = StudyFolder(tmp_path, IDENTITY)
    assert again.recall("k2") is None
    again.record("k3", 3, elapsed_s=2)
    last = StudyFolder(tmp_path, IDENTITY)
    assert [entry.value for key in ("k1", "k3") if (entry := last.recall(key))] == [1, 3]


def test_another_study_is_refused_by_what_differs(tmp_path: Path) -> None:
    StudyFolder(tmp_path, IDENTITY)
    with pytest.raises(BriefError, match="another data"):
        StudyFolder(tmp_path, {**IDENTITY, "data": "c" * 64})


def test_arrays_and_artifacts_are_kept_by_name_and_digest(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path, IDENTITY)
    study.save_arrays("outputs", {"label": np.array(["a", "bc"], dtype=object), "p": np.eye(2)})
    loaded = study.load_arrays("outputs")
    assert loaded["label"].tolist() == ["a", "bc"]
    assert np.array_equal(loaded["p"], np.eye(2))
    for _ in range(2):
        made = study.new_folder()
        (made / "model.onnx").write_bytes(b"x")
        study.keep_artifact(made, "d" * 64)
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == ["d" * 64]


def test_openings_count_other_studies_only(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    assert open_certify("rows", "study-1", url) == 0
    assert open_certify("rows", "study-1", url) == 0, "resuming is free"
    assert open_certify("rows", "study-2", url) == 1
    assert open_certify("other rows", "study-2", url) == 0


def test_a_damaged_journal_and_missing_arrays_are_refused_by_name(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path, IDENTITY)
    with pytest.raises(BriefError, match=r"nothing\.npz: it is missing"):
        study.load_arrays("nothing")
    with (tmp_path / JOURNAL).open("a") as journal:
        journal.write("garbage\n")
    with pytest.raises(BriefError, match="line 2 is damaged"):
        StudyFolder(tmp_path, IDENTITY)


def test_a_folder_is_worked_in_by_one_at_a_time(tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(BriefError, match="another process"), alone_in(tmp_path):
        pass
    with alone_in(tmp_path):
        pass


@pytest.mark.parametrize("url", ["garbage", "sqlite:////nowhere/at/all/store.db"])
def test_a_register_that_cannot_be_used_is_named(url: str) -> None:
    for use in (check_register, lambda place: open_certify("rows", "study", place)):
        with pytest.raises(BriefError, match="EQUIPOISE_STORE"):
            use(url)
