"""A whole study in which a corruption decides: the cheapest form of a forest is right on clean rows alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equipoise.flow.optimize import optimize_from

BUDGET = "90s"


def _write_digits(folder: Path) -> None:
    """A forest for scikit-learn's digits, the linear student that it taught, and other rows."""
    import skops.io
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    forest = RandomForestClassifier(200, random_state=0).fit(x[:800], y[:800])
    student = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
    skops.io.dump(forest, folder / "forest.skops")
    skops.io.dump(student.fit(x[:800], forest.predict(x[:800])), folder / "student.skops")
    np.savez(folder / "digits.npz", x=x[800:], label=y[800:])


@pytest.mark.slow
def test_a_fragile_form_is_blocked_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_digits(tmp_path)
    monkeypatch.chdir(tmp_path)
    options = {"data": "digits.npz", "alternative": ["student.skops"], "max_drop": 0.05, "budget": BUDGET}
    clean, _ = optimize_from(Path("forest.skops"), options, out=tmp_path / "clean")
    assert clean.robustness == ()
    blamed = [each.reason for each in clean.rejected if "student" in each.name and "blocked by" in each.reason]
    assert blamed == []

    result, folder = optimize_from(
        Path("forest.skops"), options | {"corrupt": ["unit_x10:0.1"]}, out=tmp_path / "corrupted"
    )
    blamed = [each.reason for each in result.rejected if each.name.startswith("student.skops @")]
    assert blamed
    assert all("blocked by unit_x10 (worse" in reason for reason in blamed if "loses" in reason or "gains" in reason)
    assert any("blocked by unit_x10 (worse" in reason for reason in blamed)
    assert result.chosen is None or not result.chosen.name.startswith("student.skops @")
    shown = {each.chosen: each for each in result.robustness}
    assert shown[False].candidate.startswith("student.skops")
    assert 'id="robustness-refused"' in (folder / "report.html").read_text()
    if result.decision == "replace":
        assert shown[True].split == "certify"
        assert not any(each.blocks for each in shown[True].figures)
        assert result.flips is not None
        assert {each.kind for each in result.flips.counts} == {"all", "class"}
        truth = np.load("digits.npz")["label"]
        assert [str(truth[each.row]) for each in result.flips.rows] == [each.truth for each in result.flips.rows]
        assert all(each.before == each.truth != each.after for each in result.flips.rows)
        assert all(each.content is None for each in result.flips.rows)
