"""Corrupted rows of a study: in the split of their rows, with claims of their own, and only what the model can take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from equipoise.corrupt.rows import STRENGTH
from equipoise.errors import DataError
from equipoise.flow import corrupting
from equipoise.flow.corrupting import Corrupted, with_corruptions
from equipoise.flow.evidence import MAIN, ROW, numbered
from equipoise.flow.prepare import Prepared, prepare
from equipoise.ingest.brief import brief_from_options
from equipoise.ingest.corruptions import corruptions
from equipoise.preprocess.rows import Rows
from equipoise.store.study import StudyFolder

N = 600
Images = Callable[..., Corrupted]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Reads and divides a table for a pipeline that takes no missing values and knows its categories."""
    import pandas as pd
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    folder = tmp_path_factory.mktemp("corrupting")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"pay": rng.gamma(2.0, 500.0, N), "age": rng.integers(18, 90, N), "job": rng.choice(["clerk", "nurse"], N)}
    )
    answer = np.where(frame["pay"] / 20 + frame["age"] > 100, "old", "young").astype(object)
    columns = make_column_transformer((StandardScaler(), ["pay", "age"]), (OneHotEncoder(), ["job"]))
    skops.io.dump(make_pipeline(columns, LogisticRegression()).fit(frame, answer), folder / "m.skops")
    frame.assign(label=answer).to_csv(folder / "d.csv", index=False)

    brief = brief_from_options(
        model=str(folder / "m.skops"), data=str(folder / "d.csv"), corrupt=["all", "offset:5:0.2"]
    )
    return prepare(brief, StudyFolder(tmp_path_factory.mktemp("study"), {}))


def test_what_the_model_rejects_does_not_apply_and_is_noted(every: Prepared) -> None:
    assert every.judge is not None
    made = [each.set_name for each in every.judge.corruptions]
    assert made == ["offset:5", "unit_x10", "unit_x0.1", "offset"]
    notes = [note for note in every.warnings if "does not apply" in note]
    assert [note.split()[2] for note in notes] == ["missing_values", "category_typos"]
    assert "the model rejects such rows" in notes[0]
    assert "NaN" in notes[0]


@pytest.mark.parametrize("split", ["search", "certify"])
def test_corrupted_rows_stay_in_the_split_of_their_rows(every: Prepared, split: str) -> None:
    rows = every.material.splits[split]
    main = rows.population == MAIN
    numbers = set(rows.extra[ROW][main].tolist())
    other = every.material.splits["certify" if split == "search" else "search"]
    assert numbers.isdisjoint(other.extra[ROW].tolist())
    assert every.judge is not None
    for each in every.judge.corruptions:
        corrupted = rows.population == each.set_name
        assert set(rows.extra[ROW][corrupted].tolist()) == numbers
        assert set(rows.extra[STRENGTH][corrupted].tolist()) == ({5} if each.strength else {1, 2, 3, 4, 5})
    assert set(rows.extra[STRENGTH][main].tolist()) == {0}
    # The first rows, which a short budget is left with, are of every set.
    assert len(set(rows.population[:60].tolist())) == 1 + len(every.judge.corruptions)


def test_rows_keep_their_numbers_in_the_data_file(every: Prepared) -> None:
    import pandas as pd

    pay = pd.read_csv(every.brief.data.path)["pay"].to_numpy()
    for split in ("search", "certify"):
        rows = every.material.splits[split]
        main = rows.population == MAIN
        assert np.allclose(rows.feeds["pay"][main].ravel(), pay[rows.extra[ROW][main]])


def test_a_corrupted_row_is_its_row_but_for_what_was_done_to_it(every: Prepared) -> None:
    rows = every.material.splits["certify"]
    main = {int(row): place for place, row in enumerate(rows.extra[ROW]) if rows.population[place] == MAIN}
    places = np.flatnonzero(rows.population == "unit_x10")
    before = np.array([main[int(row)] for row in rows.extra[ROW][places]])
    assert rows.target is not None
    assert (rows.target[places] == rows.target[before]).all()
    assert (rows.feeds["job"][places] == rows.feeds["job"][before]).all()
    ratio = rows.feeds["pay"][places] / rows.feeds["pay"][before]
    assert set(np.round(ratio.ravel(), 6).tolist()) == {1.0, 10.0}


def test_every_set_is_a_claim_with_its_own_margin(every: Prepared) -> None:
    assert every.judge is not None
    rows = every.material.splits["certify"]
    baseline = {"probabilities": np.full((rows.n, 2), 0.5)}
    claims = {claim.name: claim for claim in every.judge.evidence(baseline, "certify", rows.n).claims}
    assert {name: claim.margin.drop for name, claim in claims.items()} == {
        "main": 0.01, "offset:5": 0.2, "unit_x10": 0.01, "unit_x0.1": 0.01, "offset": 0.01,
    }  # fmt: skip
    assert {claim.kind for name, claim in claims.items() if name != "main"} == {"corruption"}
    assert all(len(claim.rows) == every.splits.certify for claim in claims.values())


@pytest.fixture
def images(every: Prepared, tmp_path: Path) -> Images:
    """Corrupts rows of random images, which needs no model."""
    rng = np.random.default_rng(0)
    splits = {
        split: numbered(
            Rows({"x": rng.integers(0, 256, (n, 8, 8), np.uint8)}, None, {}, np.full(n, MAIN, dtype=object))
        )
        for split, n in (("search", 40), ("certify", 60))
    }

    def run(*corrupt: str) -> Corrupted:
        data = every.brief.data.model_copy(update={"corrupt": corruptions(list(corrupt), "--corrupt")})
        brief = every.brief.model_copy(update={"data": data})
        return with_corruptions(brief, splits, every.material.baseline, StudyFolder(tmp_path, {}))

    return run


def test_few_rows_of_each_where_all_would_take_too_much(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrupting, "MOST_BYTES", 2 * 25 * 64)
    found = images("contrast", "brightness:1")
    assert found.splits["certify"].n == 60 + 2 * 25
    assert found.notes[0].startswith("each corrupted set holds 25 of the 60 certify rows")


def test_a_corruption_of_another_kind_is_refused(images: Images) -> None:
    with pytest.raises(DataError, match=r"--corrupt typos does not fit it: .* those of: images"):
        images("typos")


def test_the_seed_decides(images: Images) -> None:
    first, again = (images("gaussian_noise", "all:2").splits["certify"] for _ in range(2))
    assert np.array_equal(first.feeds["x"], again.feeds["x"])
    assert first.population.tolist() == again.population.tolist()
    search = images("gaussian_noise").splits["search"]
    assert search.n == 80


def test_without_corruptions_nothing_is_touched(images: Images) -> None:
    assert images().splits["search"].n == 40
