from __future__ import annotations

import numpy as np

from equipoise.preprocess.rows import Rows
from equipoise.preprocess.synthetic import synthetic_rows


def rows() -> Rows:
    town = np.array(["Ulm"] * 20 + ["Bonn"] * 10 + ["a secret"] * 9 + [None], dtype=object)
    return Rows(
        feeds={
            "town": town[:, None],
            "name": np.array([f"person {index}" for index in range(40)], dtype=object)[:, None],
            "age": np.linspace(20, 60, 40).astype(np.int64)[:, None],
            "income": np.where(np.arange(40) < 5, np.nan, np.arange(40.0))[:, None],
            "x": np.stack([np.arange(40.0), -np.arange(40.0)], axis=1).astype(np.float32),
            "nothing": np.full((40, 1), np.nan),
            "image": np.full((40, 2, 2), 7, np.uint8) + np.arange(4, dtype=np.uint8).reshape(2, 2),
            "flag": np.zeros((40, 1), dtype=bool),
        },
        target=None,
    )


def test_drawn_rows_keep_to_what_is_common() -> None:
    drawn = synthetic_rows(rows(), 200, seed=3)
    assert set(drawn["town"].ravel()) == {"Ulm", "Bonn"}
    assert set(drawn["name"].ravel()) == {"synthetic"}
    assert 20 <= drawn["age"].min() < 25 < 55 < drawn["age"].max() <= 60
    assert 5 <= drawn["income"].min() < drawn["income"].max() <= 39
    assert drawn["x"][:, 0].min() >= 0 >= drawn["x"][:, 1].max()
    assert set(np.unique(drawn["image"])) == {7, 8, 9, 10}
    assert np.isfinite(drawn["nothing"]).all()


def test_shapes_and_dtypes_are_the_models() -> None:
    real, drawn = rows().feeds, synthetic_rows(rows(), 5, seed=3)
    assert {name: (array.dtype, array.shape[1:]) for name, array in drawn.items()} == {
        name: (array.dtype, array.shape[1:]) for name, array in real.items()
    }
    again = synthetic_rows(rows(), 5, seed=3)
    assert all((drawn[name] == again[name]).all() for name in drawn)
